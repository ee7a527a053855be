// The chat page: rooms on one connection, and what is seen of them.

import { Client } from "./client.js";
import { $, Store, el, lines, oneLine, random, say } from "./dom.js";
import { NAME_MAX, Room, TEXT_MAX } from "./room.js";
import { outgoingRow, row, showPeople, showTyping } from "./view.js";

const ROOMS_MAX = 20, ROWS_MAX = 500, CHANNEL_MAX = 100, TYPING_EVERY = 3_000;
const HOME = "lobby", TYPING = "typing:";

const kept = new Store("localStorage"), session = new Store("sessionStorage");
const ADJECTIVES = ["Amber", "Brisk", "Calm", "Clever", "Cosmic", "Gentle", "Lucky", "Mellow", "Nimble", "Quiet", "Sunny", "Swift"];
const ANIMALS = ["Badger", "Falcon", "Fox", "Heron", "Koala", "Lynx", "Marten", "Otter", "Panda", "Puffin", "Robin", "Wren"];
const pick = (list) => list[random(list.length)];

// ---- Who this is

const me = {
  identity: "token",
  name: oneLine(kept.get("name"), NAME_MAX) || `${pick(ADJECTIVES)} ${pick(ANIMALS)}`,
  user: "",
  token: session.get("token"),
  /** Whether the server tells the others the name. */
  isNamed() { return this.identity === "claimed" || Boolean(this.token); },
  is(author, client) { return author.client === client || (this.user !== "" && author.user === this.user); },
};
kept.set("name", me.name);

const base64 = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

/** What a token says; nothing if it is none. */
function claims(token) {
  try {
    const bytes = Uint8Array.from(atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes)) ?? {};
  } catch { return {}; }
}

/** The token to connect with. Where nobody needs one, an unsigned one says the name. */
function token() {
  if (me.token) {
    const { sub, info } = claims(me.token);
    me.user = typeof sub === "string" ? sub : "";
    me.name = oneLine(typeof info?.name === "string" ? info.name : me.user, NAME_MAX) || me.name;
    return me.token;
  }
  if (me.identity !== "claimed") {
    me.user = "";
    return "";
  }
  me.user = me.name;
  return `${base64('{"alg":"HS256"}')}.${base64(JSON.stringify({ sub: me.name, info: { name: me.name } }))}.`;
}

// ---- The connection and the rooms

const client = new Client(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/connection/websocket`, token);
const rooms = new Map();
let room = null;
let typingChannel = "", lastTyped = -Infinity;
let pinned = true, latest = null;

client.onState = (state) => {
  document.body.dataset.link = state;
  if (state === "connected") showSelf();
  if (state === "ended" && client.needsToken) openDoor(me.token ? `The server refused it: ${client.why}.` : "");
  showLink();
};

function changed(of, what, item) {
  if (what === "item" && item.kind === "message" && !item.isMine && (of !== room || document.hidden || !pinned)) {
    of.unread += 1;
    showRooms();
    showUnread();
  }
  if (of !== room) {
    if (what === "state") showRooms();
    return;
  }
  if (what === "item") addRow(item);
  else if (what === "items") showItems();
  else if (what === "outgoing") showOutgoing();
  else if (what === "people") showPeople(room, me, isMe);
  else if (what === "typing") showTyping(room);
  else if (what === "state") { showState(); showItemsAround(); }
}

const isMe = (someone) => me.is(someone, client.id);

function join(channel) {
  if (rooms.has(channel)) return rooms.get(channel);
  const added = new Room(client, channel, me, changed);
  rooms.set(channel, added);
  added.join();
  keepRooms();
  return added;
}

function leave(channel) {
  rooms.get(channel)?.leave();
  rooms.delete(channel);
  keepRooms();
  if (!rooms.size) join(HOME);
  if (room.channel === channel) location.hash = encodeURIComponent(rooms.keys().next().value);
  else showRooms();
}

const keepRooms = () => kept.set("channels", JSON.stringify([...rooms.keys()]));

function keptRooms() {
  try {
    const list = JSON.parse(kept.get("channels"));
    return list.filter((one) => typeof one === "string" && one && cleanChannel(one) === one).slice(0, ROOMS_MAX);
  } catch { return []; }
}

/** A channel's name as people type it. */
const cleanChannel = (text) => oneLine(text, CHANNEL_MAX).replace(/^#+/, "").replace(/\s+/g, "-");

function channelOfAddress() {
  try { return cleanChannel(decodeURIComponent(location.hash.slice(1))); } catch { return ""; }
}

function enter(channel) {
  if (room?.channel === channel) return;
  if (channel.startsWith(TYPING)) {
    say($("join-fault"), `Channels “${TYPING}…” are for saying who types. Choose another name.`);
    if (room) return history.replaceState(null, "", `#${encodeURIComponent(room.channel)}`);
    channel = HOME;
  }
  if (!rooms.has(channel) && rooms.size >= ROOMS_MAX) {
    say($("join-fault"), `You are in ${ROOMS_MAX} channels. Leave one first.`);
    if (room) history.replaceState(null, "", `#${encodeURIComponent(room.channel)}`);
    return;
  }
  say($("join-fault"), "");
  if (room) room.draft = $("text").value;
  room = join(channel);
  if (room.state === "ended") room.join();
  room.unread = 0;
  pinned = true;
  $("text").value = room.draft;
  watchTyping();
  say($("room"), channel);
  say($("hail"), `Welcome to #${channel}`);
  showItems();
  showOutgoing();
  showRooms();
  showPeople(room, me, isMe);
  showTyping(room);
  showState();
  showUnread();
  measure();
}

/** Who types is said in a namespace that keeps nothing, in the channel looked at only. */
function watchTyping() {
  if (typingChannel) client.unsubscribe(typingChannel);
  // A private channel takes a token of its own.
  typingChannel = room.channel.startsWith("$") ? "" : TYPING + room.channel;
  if (!typingChannel) return;
  const of = room;
  client.subscribe(typingChannel, {
    publication: (publication) => of.types(publication),
    ended: () => { if (of === room) typingChannel = ""; },
  });
}

function typed() {
  const now = performance.now();
  if (!typingChannel || client.state !== "connected" || now - lastTyped < TYPING_EVERY) return;
  lastTyped = now;
  client.request("publish", { channel: typingChannel, data: me.isNamed() ? {} : { name: me.name } }).catch(() => {});
}

// ---- Drawing

function showItems() {
  const list = room.items;
  // It is not news; only what comes from now on is.
  const log = $("rows");
  log.setAttribute("aria-live", "off");
  log.replaceChildren(...list.map((item, at) => row(item, list[at - 1], false)));
  latest = list.at(-1) ?? null;
  requestAnimationFrame(() => log.setAttribute("aria-live", "polite"));
  showItemsAround();
  if (pinned) toBottom();
}

// Rows are gathered and appended once per frame, so that a flood costs one layout.
let drawing = [], drawTimer = 0;

function addRow(item) {
  drawing.push(item);
  if (drawing.length > ROWS_MAX) drawing.shift();
  drawTimer ||= document.hidden ? setTimeout(paint, 200) : requestAnimationFrame(paint);
}

function paint() {
  drawTimer = 0;
  const log = $("rows");
  const current = new Set(room.items);
  for (const item of drawing) {
    // It may be of the room before, or drawn with all others since.
    if (!current.has(item) || item === latest || room.items.indexOf(item) <= room.items.indexOf(latest)) continue;
    log.append(row(item, latest, true));
    latest = item;
  }
  drawing = [];
  while (log.childElementCount > ROWS_MAX) log.firstElementChild.remove();
  showItemsAround();
  if (pinned) toBottom();
}

function showItemsAround() {
  $("empty").hidden = room.state === "joining" || room.items.some(({ kind }) => kind === "message") || room.outgoing.length > 0;
  $("earlier").hidden = !room.hasEarlier || room.state !== "joined" || room.items.length >= ROWS_MAX;
}

function showOutgoing() {
  const acts = { again: (message) => room.again(message), discard: (message) => room.discard(message) };
  const focused = $("own").contains(document.activeElement);
  $("own").replaceChildren(...room.outgoing.map((message) => outgoingRow(message, acts)));
  if (focused) $("text").focus();
  showItemsAround();
  if (pinned) toBottom();
}

function showState() {
  const ended = room.state === "ended" ? room.explain(room.error, "join this channel") : "";
  say($("out-why"), ended);
  $("out").hidden = !ended;
  say($("hint"), ended ? "" : "Messages are kept here for a while, for who comes later. Send the link to bring someone in.");
  $("text").disabled = room.state === "ended";
  $("copy").hidden = room.state === "ended";
  say($("hail"), ended ? `You are not in #${room.channel}` : `Welcome to #${room.channel}`);
  showRooms();
  showLink();
  measure();
  showPeople(room, me, isMe);
}

function showRooms() {
  $("rooms").replaceChildren(...[...rooms.values()].map(({ channel, unread, state }) => {
    const item = el("li"), link = el("a", state === "ended" ? "is-out" : unread ? "has-unread" : "");
    link.href = `#${encodeURIComponent(channel)}`;
    if (channel === room?.channel) link.setAttribute("aria-current", "page");
    link.append(el("span", "", channel));
    if (unread) {
      const count = el("b", "count", unread > 99 ? "99+" : String(unread));
      count.append(el("span", "sr", " unread"));
      link.append(count);
    }
    const out = el("button", "", "×");
    out.type = "button";
    out.setAttribute("aria-label", `Leave ${channel}`);
    out.addEventListener("click", () => leave(channel));
    item.append(link, out);
    return item;
  }));
}

function showUnread() {
  const here = room.unread, all = [...rooms.values()].reduce((sum, { unread }) => sum + unread, 0);
  document.title = `${all ? `(${all > 99 ? "99+" : all}) ` : ""}#${room.channel} · hioload chat`;
  $("jump").hidden = pinned || !here;
  $("elsewhere").hidden = all - here === 0;
  say($("elsewhere"), all - here > 99 ? "99+" : String(all - here));
}

const toBottom = () => { $("log").scrollTop = $("log").scrollHeight; };

function showSelf() {
  $("name").value = me.name;
  $("name").readOnly = Boolean(me.token);
  $("identify").hidden = me.identity === "claimed" || me.identity === "nobody";
  say($("identify"), me.token ? "Use another token" : "Use a token");
}

const LINKS = { connecting: "Connecting", connected: "Connected", waiting: "Offline", ended: "Offline" };

function showLink() {
  say($("link"), LINKS[client.state]);
  const isDown = client.state === "waiting" || client.state === "ended";
  // An attempt that follows another is no news.
  $("banner").hidden = !isDown && (client.state === "connected" || $("banner").hidden);
  if (!isDown) return say($("when"), "Trying now.");
  const sentence = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
  if (client.state === "ended") {
    say($("why"), me.identity === "nobody"
      ? "The chat is off on this server. Start it with --dev on this machine, or set token_secret in [client] of its configuration."
      : client.needsToken ? `You are not connected: ${client.why}. Bring a token to come in.`
        : `You were disconnected: ${client.why}. Reconnect when that is settled.`);
    say($("when"), "");
    say($("retry"), client.needsToken ? "Use a token" : "Reconnect now");
    $("retry").hidden = me.identity === "nobody";
    return;
  }
  say($("why"), sentence(client.why));
  const seconds = Math.ceil((client.retryAt - performance.now()) / 1e3);
  say($("when"), seconds > 0 ? `Trying again in ${seconds} s.` : "Trying now.");
  say($("retry"), "Reconnect now");
  $("retry").hidden = false;
}

function measure() {
  const box = $("text");
  box.style.height = "0";
  box.style.height = `${box.scrollHeight}px`;
  box.style.overflowY = box.scrollHeight > 180 ? "auto" : "hidden";
  $("send").disabled = !box.value.trim() || box.disabled;
  const left = TEXT_MAX - box.value.length;
  hint(left <= 200 ? `${left} left` : "");
  if (pinned) toBottom();
}

function hint(text) {
  say($("left"), text);
  $("left").hidden = !text;
}

// ---- What people do

function submit() {
  const text = lines($("text").value, TEXT_MAX);
  if (!text || $("text").disabled) return;
  if (!room.say(text)) return hint("Too many messages wait. Reconnect first.");
  pinned = true;
  lastTyped = -Infinity;
  $("text").value = "";
  measure();
}

function drawer(isOpen) {
  $("side").classList.toggle("open", isOpen);
  $("menu").setAttribute("aria-expanded", String(isOpen));
  if (isOpen) $("shut").focus();
  else if ($("side").contains(document.activeElement)) $("menu").focus();
}

function openDoor(fault) {
  say($("door-fault"), fault);
  if (!$("door").open) $("door").showModal();
  $("token").focus();
}

function reconnect() {
  if (client.needsToken) openDoor("");
  else if (client.state === "waiting") client.retry();
  else client.connect();
}

$("come-in").addEventListener("submit", (event) => {
  event.preventDefault();
  me.token = $("token").value.trim();
  $("token").value = "";
  session.set("token", me.token);
  $("door").close();
  client.connect();
});
$("door-shut").addEventListener("click", () => $("door").close());
$("identify").addEventListener("click", () => openDoor(""));
$("composer").addEventListener("submit", (event) => { event.preventDefault(); submit(); $("text").focus(); });
$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); submit(); }
});
$("text").addEventListener("input", () => {
  measure();
  if ($("text").value.trim()) typed();
});
$("name").addEventListener("keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); $("text").focus(); } });
$("name").addEventListener("change", () => {
  const name = oneLine($("name").value, NAME_MAX);
  if (name && name !== me.name && !me.token) {
    me.name = name;
    kept.set("name", name);
    // The server knows a client by what it said when it came.
    if (me.identity === "claimed") client.connect();
  }
  showSelf();
});
$("go").addEventListener("submit", (event) => {
  event.preventDefault();
  const next = cleanChannel($("other").value);
  if (!next) return say($("join-fault"), "Type a channel's name first.");
  $("other").value = "";
  location.hash = encodeURIComponent(next);
  drawer(false);
  $("text").focus();
});
$("rooms").addEventListener("click", (event) => { if (event.target.closest("a")) drawer(false); });
$("menu").addEventListener("click", () => drawer(true));
$("shut").addEventListener("click", () => drawer(false));
document.addEventListener("keydown", (event) => { if (event.key === "Escape" && $("side").classList.contains("open")) drawer(false); });
document.addEventListener("pointerdown", (event) => {
  if ($("side").classList.contains("open") && !$("side").contains(event.target)) { event.preventDefault(); drawer(false); }
});
const isRead = () => { if (pinned && !document.hidden && room.unread) { room.unread = 0; showRooms(); } showUnread(); };
$("log").addEventListener("scroll", () => {
  const box = $("log");
  pinned = box.scrollHeight - box.scrollTop - box.clientHeight < 60;
  isRead();
}, { passive: true });
new ResizeObserver(() => { if (pinned) toBottom(); }).observe($("log"));
$("jump").addEventListener("click", () => { pinned = true; toBottom(); isRead(); $("text").focus(); });
$("rejoin").addEventListener("click", () => { room.join(); $("text").focus(); });
$("retry").addEventListener("click", reconnect);
$("earlier").addEventListener("click", async () => {
  const box = $("log"), below = box.scrollHeight - box.scrollTop;
  pinned = false;
  try { await room.earlier(); } catch { hint("The server did not answer. Try again."); }
  box.scrollTop = box.scrollHeight - below;
});
$("copy").addEventListener("click", async () => {
  const link = `${location.origin}/#${encodeURIComponent(room.channel)}`;
  try {
    await navigator.clipboard.writeText(link);
    say($("copy"), "Link copied");
  } catch { say($("copy"), link); }
  setTimeout(() => say($("copy"), "Copy link to this channel"), 4e3);
});
addEventListener("hashchange", () => enter(channelOfAddress() || HOME));
addEventListener("online", () => client.retry());
addEventListener("offline", () => client.lose());
document.addEventListener("visibilitychange", () => { if (!document.hidden && room) { client.retry(); isRead(); } });
addEventListener("pageshow", (event) => { if (event.persisted && client.state !== "connected") client.connect(); });
addEventListener("pagehide", () => { if (client.state !== "ended") client.disconnect("the page was left"); });
setInterval(() => {
  if (room) showTyping(room);
  if (client.state === "waiting") showLink();
}, 1e3);

async function begin() {
  for (let attempt = 0; ; attempt += 1) {
    try {
      const answer = await fetch("/assets/identity.json", { cache: "no-store" });
      me.identity = (await answer.json()).identity;
      break;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, Math.min(15e3, 500 * 2 ** attempt)));
    }
  }
  for (const channel of keptRooms()) join(channel);
  enter(channelOfAddress() || rooms.keys().next().value || HOME);
  showSelf();
  if (me.identity === "nobody") client.disconnect("the chat is off");
  else if (me.identity === "token" && !me.token) {
    client.disconnect("this server wants a token");
    client.needsToken = true;
    showLink();
    openDoor("");
  } else client.connect();
  if (matchMedia("(pointer: fine)").matches && !$("door").open) $("text").focus();
}
begin();
