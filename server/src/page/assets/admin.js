// The admin page: what the server says of itself each second, and what can be asked of it.

import { $, Store, el, say } from "./dom.js";
import { Plot, amount, svg } from "./plot.js";

const EVERY = 1_000, LISTS_EVERY = 3, LISTS_RARELY = 15, MANY_CLIENTS = 10_000;
const SHOWN_CHANNELS = 200, SHOWN_CLIENTS = 200, SECONDS = 300, TIMEOUT = 8_000;
const FORCE_NO_RECONNECT = { code: 3503, reason: "disconnected by the operator" };

const session = new Store("sessionStorage");
let token = session.get("admin");
let run = 0;

// ---- What is asked of the server

class Refused extends Error {}
class Failed extends Error {}

async function ask(path, options = {}) {
  const headers = { Authorization: `Bearer ${token}` };
  const answer = await fetch(path, { ...options, headers, cache: "no-store", signal: AbortSignal.timeout(TIMEOUT) });
  if (answer.status === 401) throw new Refused("The token is wrong.");
  return answer;
}

async function call(method, fields = {}) {
  const answer = await ask(`/admin/api/${method}`, { method: "POST", body: JSON.stringify(fields) });
  if (!answer.ok) throw new Failed((await answer.text()).trim());
  const { result, error } = await answer.json();
  if (error) throw new Failed(`${error.message} (${error.code})`);
  return result;
}

/** `/metrics` as sums of each metric, and by shard. */
async function metrics() {
  const text = await (await ask("/metrics")).text();
  const found = new Map();
  for (const line of text.split("\n")) {
    const match = /^(\w+)(?:\{([^}]*)\})? (\S+)$/.exec(line);
    if (!match) continue;
    const [, name, labels = "", number] = match;
    const one = found.get(name) ?? { all: 0, shards: [] };
    const shard = /shard="(\d+)"/.exec(labels)?.[1];
    one.all += Number(number);
    if (shard !== undefined) one.shards[shard] = (one.shards[shard] ?? 0) + Number(number);
    found.set(name, one);
  }
  return (name) => found.get(name) ?? { all: 0, shards: [] };
}

/** `null` until the shards have answered for the first time. */
async function state() {
  const answer = await ask("/admin/state");
  return answer.ok ? answer.json() : null;
}

// ---- Drawing

const plots = {
  connections: ["Connections", "WebSockets", [""], "count"],
  messages: ["Messages", "per second", ["in", "out"], "count"],
  bytes: ["Traffic", "per second", ["in", "out"], "bytes"],
  queued: ["Waiting to be sent", "all connections", [""], "bytes"],
};
for (const [name, [title, unit, names, kind]] of Object.entries(plots)) {
  plots[name] = new Plot($(`plot-${name}`), { title, unit, names, kind, seconds: SECONDS });
}

let before = null;

/** How fast a counter grows, all together and by shard; `null` when that is not known. */
function rates(read, now) {
  const seconds = before && (now - before.now) / 1e3;
  return (name) => {
    const is = read(name), was = before?.read(name);
    const rate = (a, b) => (seconds && b !== undefined && a >= b ? (a - b) / seconds : null);
    return { all: rate(is.all, was?.all), shards: is.shards.map((value, shard) => rate(value, was?.shards[shard])) };
  };
}

function age(seconds) {
  const parts = [[86_400, "d"], [3_600, "h"], [60, "min"]];
  for (const [size, unit] of parts) if (seconds >= size) return `${Math.floor(seconds / size)} ${unit}`;
  return `${seconds} s`;
}

function cell(value, cls = "") {
  const node = el("td", cls);
  if (value instanceof Node) node.append(value);
  else node.textContent = value;
  return node;
}

function fill(body, rows, none) {
  if (!rows.length) {
    const empty = cell(none, "quiet");
    empty.colSpan = 10;
    rows = [[empty]];
  }
  body.replaceChildren(...rows.map((cells) => { const row = el("tr"); row.append(...cells); return row; }));
}

let overview = { clients: null, users: null, channels: null, uptime: null, version: "" };

function showNumbers(read, rate) {
  const numbers = [
    ["Connections", amount(read("hioload_connections").all)],
    ["Messages in/s", amount(rate("hioload_messages_received_total").all)],
    ["Messages out/s", amount(rate("hioload_messages_sent_total").all)],
    ["Users", amount(overview.users)],
    ["Channels", amount(overview.channels)],
    ["Waiting to be sent", amount(read("hioload_send_bytes_pending").all, "bytes")],
    ["Memory of buffers", amount(read("hioload_pool_bytes").all, "bytes")],
    ["Uptime", overview.uptime === null ? "–" : age(overview.uptime)],
  ];
  $("numbers").replaceChildren(...numbers.map(([name, value]) => {
    const one = el("div");
    one.append(el("dt", "", name), el("dd", "", value));
    return one;
  }));
}

function showPlots(read, rate) {
  plots.connections.add([read("hioload_connections").all]);
  plots.messages.add([rate("hioload_messages_received_total").all, rate("hioload_messages_sent_total").all]);
  plots.bytes.add([rate("hioload_bytes_received_total").all, rate("hioload_bytes_sent_total").all]);
  plots.queued.add([read("hioload_send_bytes_pending").all]);
}

function bar(parts, most) {
  const picture = svg("svg", { "aria-hidden": "true", viewBox: "0 0 100 10", preserveAspectRatio: "none" }, svg("rect", { width: 100, height: 10 }));
  let x = 0;
  for (const [cls, value] of parts) {
    const width = most > 0 ? (value ?? 0) / most * 100 : 0;
    picture.append(svg("rect", { class: cls, x, width, height: 10 }));
    x += width;
  }
  return picture;
}

function showShards(reports, read, rate) {
  const [came, went] = [rate("hioload_messages_received_total"), rate("hioload_messages_sent_total")];
  const turns = rate("hioload_turns_total"), memory = read("hioload_pool_bytes");
  const load = (shard) => (came.shards[shard] ?? 0) + (went.shards[shard] ?? 0);
  const most = Math.max(1, ...reports.map(({ shard }) => load(shard)));
  fill($("shards"), reports.map(({ shard, answered, age_ms: old, state: said }) => {
    const condition = !answered && old > 5_000 ? ["does not answer", "bad"] : said?.stopping ? ["stopping", "bad"] : said?.queues.backlog.some((n) => n > 0) ? ["behind", "bad"] : ["well", ""];
    return [
      cell(String(shard)),
      cell(bar([["in", came.shards[shard]], ["out", went.shards[shard]]], most), "bar"),
      cell(amount(said?.connections.websocket), "n"),
      cell(amount(came.shards[shard]), "n"), cell(amount(went.shards[shard]), "n"), cell(amount(turns.shards[shard]), "n"),
      cell(amount(said?.queues.inbox), "n"), cell(amount(said?.queues.send_bytes, "bytes"), "n"), cell(amount(memory.shards[shard], "bytes"), "n"),
      cell(...condition),
    ];
  }), "The shards are asked.");
}

function showSlow(slowest) {
  const rows = slowest.filter(({ pending }) => pending > 0).map(({ peer, pending, shard, age_s: seconds, paused, closing }) => [
    cell(peer ?? "unknown", "name"), cell(amount(pending, "bytes"), "n"), cell(String(shard), "n"), cell(age(seconds), "n"),
    cell(closing ? "closing" : paused.length ? `not read from: ${paused.join(", ")}` : "open"),
  ]);
  fill($("slow"), rows, "Nobody is behind.");
}

let channels = [];

function showChannels() {
  const wanted = $("filter").value.trim().toLowerCase();
  const found = channels.filter(([name]) => name.toLowerCase().includes(wanted));
  const focused = document.activeElement?.dataset?.channel;
  fill($("channels"), found.slice(0, SHOWN_CHANNELS).map(([name, clients]) => {
    const button = el("button", "link", name);
    button.type = "button";
    button.dataset.channel = name;
    button.addEventListener("click", () => showPeople(name));
    return [cell(button, "name"), cell(amount(clients), "n")];
  }), channels.length ? "No channel's name contains that." : "Nobody is subscribed to anything.");
  if (focused !== undefined) [...$("channels").querySelectorAll("button")].find((one) => one.dataset.channel === focused)?.focus();
  const shown = Math.min(found.length, SHOWN_CHANNELS);
  say($("channels-remark"), channels.length > shown ? `${shown} of ${channels.length}, those with most subscribers first` : "");
}

async function lists() {
  const { nodes: [node] } = await call("info");
  overview = { clients: node.num_clients, users: node.num_users, channels: node.num_channels, uptime: node.uptime };
  // Rows are not taken from under somebody's fingers.
  if (!$("people").hidden && !$("clients").contains(document.activeElement)) await people();
  try {
    const told = (await call("channels")).channels;
    channels = Object.entries(told).map(([name, { num_clients: clients }]) => [name, clients]);
    channels.sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0]));
    showChannels();
  } catch (error) {
    if (!(error instanceof Failed)) throw error;
    say($("channels-remark"), `The list can not be had: ${error.message}`);
  }
}

let lookedAt = "";

async function showPeople(channel) {
  lookedAt = channel;
  $("people").hidden = false;
  say($("people-title"), `In ${channel}`);
  $("publish-channel").value = channel;
  $("user-channel").value = channel;
  await people();
}

/** Who is in the channel that is looked at. */
async function people() {
  const channel = lookedAt;
  try {
    const { presence } = await call("presence", { channel });
    if (channel !== lookedAt) return;
    const everybody = Object.values(presence).sort((a, b) => (a.user ?? "").localeCompare(b.user ?? ""));
    say($("people-remark"), everybody.length > SHOWN_CLIENTS ? `${SHOWN_CLIENTS} of ${everybody.length} clients.` : "");
    fill($("clients"), everybody.slice(0, SHOWN_CLIENTS).map(({ user = "", client }) => {
      const acts = el("div");
      for (const [label, act] of user ? [["Unsubscribe", () => unsubscribe(user, channel)], ["Disconnect", () => disconnect(user)]] : []) {
        const button = el("button", "wash", label);
        button.type = "button";
        button.setAttribute("aria-label", `${label} ${user}`);
        button.addEventListener("click", act);
        acts.append(button);
      }
      return [cell(user || "nobody in particular", user ? "name" : "name quiet"), cell(client.slice(0, 8), "client"), cell(acts, "acts")];
    }), "Nobody is here.");
  } catch (error) {
    if (error instanceof Refused) return signOut(error.message);
    say($("people-remark"), `The server does not say who is here: ${error.message}`);
    fill($("clients"), [], "Not known.");
  }
}

// ---- Actions

function result(text, isFailure = false) {
  $("result").classList.toggle("failed", isFailure);
  $("result").textContent = text;
  $("result").scrollIntoView({ block: "nearest" });
}

async function sure(title, text, yes) {
  const dialog = $("sure");
  say($("sure-title"), title);
  say($("sure-text"), text);
  say($("sure-yes"), yes);
  dialog.returnValue = "no";
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  return dialog.returnValue === "yes";
}

async function act(task) {
  try {
    result(await task());
    await lists();
  } catch (error) {
    if (error instanceof Refused) return signOut(error.message);
    result(error instanceof Failed ? `The server refused: ${error.message}` : "The server does not answer. Look whether it was done before you try again.", true);
  }
}

async function disconnect(user) {
  if (!await sure(`Disconnect ${user}?`, `All connections of ${user} are closed with ${FORCE_NO_RECONNECT.code}, after which clients do not come back by themselves.`, "Disconnect")) return;
  await act(async () => {
    await call("disconnect", { user, disconnect: FORCE_NO_RECONNECT });
    return `All connections of ${user} were closed.`;
  });
}

async function unsubscribe(user, channel) {
  if (!await sure(`Unsubscribe ${user}?`, `All connections of ${user} leave the channel ${channel}. They may join again.`, "Unsubscribe")) return;
  await act(async () => {
    await call("unsubscribe", { user, channel });
    return `${user} is not subscribed to ${channel} any more.`;
  });
}

async function publish() {
  const channel = $("publish-channel").value.trim(), text = $("publish-data").value;
  let data = { text, ts: Date.now() };
  if ($("publish-as").value === "json") {
    try { data = JSON.parse(text); } catch (error) { return result(`That is no JSON: ${error.message}`, true); }
  }
  if (!await sure(`Publish to ${channel}?`, "Everybody who is subscribed gets it, as from the server.", "Publish")) return;
  await act(async () => {
    const { offset } = await call("publish", { channel, data });
    $("publish-data").value = "";
    return offset ? `Published to ${channel} as number ${offset}.` : `Published to ${channel}.`;
  });
}

$("publish").addEventListener("submit", (event) => { event.preventDefault(); publish(); });
$("user").addEventListener("submit", (event) => {
  event.preventDefault();
  const user = $("user-name").value.trim(), channel = $("user-channel").value.trim();
  if (event.submitter?.value === "disconnect") return disconnect(user);
  if (channel) return unsubscribe(user, channel);
  result("Name the channel that the user is to be taken out of.", true);
  $("user-channel").focus();
});
$("filter").addEventListener("input", showChannels);
$("refresh").addEventListener("click", () => act(async () => { await lists(); return "The list is fresh."; }));
$("people-shut").addEventListener("click", () => { $("people").hidden = true; $("filter").focus(); });

// ---- In and out, and each second

async function beat(count) {
  const [read, told] = await Promise.all([metrics(), state()]);
  const now = performance.now();
  const rate = rates(read, now);
  const every = overview.clients >= MANY_CLIENTS ? LISTS_RARELY : LISTS_EVERY;
  if (count % every === 0) await lists();
  showNumbers(read, rate);
  showPlots(read, rate);
  if (told) {
    showShards(told.shards, read, rate);
    showSlow(told.slowest);
  }
  before = { read, now };
}

function link(state, text) {
  document.body.dataset.link = state;
  say($("link"), text);
}

async function watch() {
  run += 1;
  const mine = run;
  for (let count = 0; mine === run; count += 1) {
    const began = performance.now();
    try {
      await beat(count);
      if (mine !== run) return;
      link("connected", "Live");
      $("banner").hidden = true;
    } catch (error) {
      if (mine !== run) return;
      if (error instanceof Refused) return signOut("The server does not take this token any more.");
      link("waiting", "Offline");
      say($("banner"), "The server does not answer. What is shown is old; trying again each second.");
      $("banner").hidden = false;
      Object.values(plots).forEach((plot, at) => plot.add(at === 1 || at === 2 ? [null, null] : [null]));
      before = null;
    }
    await new Promise((resolve) => setTimeout(resolve, Math.max(100, EVERY - (performance.now() - began))));
  }
}

function signOut(fault = "") {
  run += 1;
  token = "";
  session.delete("admin");
  $("board").hidden = true;
  $("sign-out").hidden = true;
  $("door").hidden = false;
  link("ended", "Not signed in");
  say($("door-fault"), fault);
  $("token").focus();
}

async function signIn(given) {
  if (/[^\x21-\x7e]/.test(given)) return signOut("The token is wrong: tokens have visible ASCII characters only.");
  token = given;
  try {
    await ask("/admin/state");
  } catch (error) {
    if (error instanceof Refused) return signOut(`${error.message} Look at the server's configuration, or at what it printed when it started.`);
    // It is not the token's fault; watching says so.
  }
  session.set("admin", token);
  say($("door-fault"), "");
  $("door").hidden = true;
  $("board").hidden = false;
  $("sign-out").hidden = false;
  watch();
}

$("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  const given = $("token").value.trim();
  $("token").value = "";
  signIn(given);
});
$("sign-out").addEventListener("click", () => signOut());
if (token) signIn(token);
else $("token").focus();
