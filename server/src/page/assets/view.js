// How a room's messages and people look. What was received only ever becomes text.

import { $, el, say } from "./dom.js";

const SAME_BREATH = 300_000, PEOPLE_SHOWN = 100;
const OUTGOING = { waiting: "Waiting for the connection", sending: "Sending", sent: "", failed: "Not sent." };

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { weekday: "short", hour: "2-digit", minute: "2-digit" });

const hue = (text) => {
  let hash = 7;
  for (const letter of text) hash = (hash * 31 + letter.codePointAt(0)) % 9973;
  return (hash * 47) % 360;
};
const initial = (name) => (/[\p{L}\p{N}]/u.exec(name)?.[0] ?? Array.from(name)[0] ?? "?").toUpperCase();

function avatar({ name }) {
  const node = el("span", "avatar", initial(name));
  node.style.setProperty("--hue", hue(name));
  node.setAttribute("aria-hidden", "true");
  return node;
}

function richText(text) {
  const paragraph = el("p", "text");
  paragraph.dir = "auto";
  for (const part of text.split(/(https?:\/\/[^\s<>"']{1,400}[^\s<>"'.,;:!?)\]])/)) {
    if (/^https?:\/\//.test(part) && URL.canParse(part)) {
      const link = el("a", "", part);
      link.href = part;
      link.target = "_blank";
      link.rel = "noopener noreferrer nofollow";
      paragraph.append(link);
    } else if (part) paragraph.append(part);
  }
  return paragraph;
}

function head({ author, isMine, ts }) {
  const who = el("div", "who"), name = el("b", isMine ? "sr" : "", isMine ? "You" : author.name);
  name.style.setProperty("--hue", hue(author.name));
  who.append(name);
  if (ts) {
    const isToday = new Date(ts).toDateString() === new Date().toDateString();
    const time = el("time", "", (isToday ? clock : day).format(ts));
    time.dateTime = new Date(ts).toISOString();
    who.append(time);
  }
  return who;
}

/** One item, after the one before it. */
export function row(item, before, isNew) {
  const fresh = isNew && !document.hidden ? " new" : "";
  if (item.kind === "note") return el("div", `note${fresh}`, item.text);
  const follows = before?.kind === "message" && before.author.name === item.author.name
    && before.isMine === item.isMine && item.ts - before.ts < SAME_BREATH;
  const node = el("div", `msg${fresh}${item.isMine ? " mine" : ""}${follows ? "" : " first"}${item.author.isServer ? " server" : ""}`);
  const body = el("div");
  if (!follows) body.append(head(item));
  body.append(richText(item.text || "(nothing)"));
  if (!item.isMine) node.append(follows ? el("span") : avatar(item.author));
  node.append(body);
  return node;
}

/** One of our own that the server has not given back yet. */
export function outgoingRow(message, { again, discard }) {
  const node = el("div", `msg mine first ${message.state}`);
  const body = el("div");
  body.append(richText(message.text));
  const state = el("span", "state", OUTGOING[message.state]);
  if (message.state === "failed") {
    state.setAttribute("role", "alert");
    state.textContent = `Not sent. ${message.error}`;
    for (const [label, act] of [["Try again", again], ["Discard", discard]]) {
      const button = el("button", "", label);
      button.type = "button";
      button.addEventListener("click", () => act(message));
      state.append(button);
    }
  }
  if (state.textContent) body.append(state);
  node.append(body);
  return node;
}

/** Who is there, each once however many connections they have; how many. */
export function showPeople(room, me, isMe) {
  const byName = new Map();
  for (const someone of room.people.values()) {
    const known = byName.get(someone.name);
    if (known) known.count += 1;
    else byName.set(someone.name, { ...someone, count: 1 });
  }
  for (const someone of byName.values()) if (isMe(someone)) someone.remark = "you";
  const order = (someone) => (someone.remark ? 0 : 1);
  const everybody = [...byName.values()].sort((a, b) => order(a) - order(b) || a.name.localeCompare(b.name));
  const list = everybody.slice(0, PEOPLE_SHOWN).map((someone) => {
    const item = el("li", "person");
    const remark = someone.remark ?? (someone.count > 1 ? `${someone.count} times` : "");
    item.append(avatar(someone), el("b", "", someone.remark ? me.name : someone.name));
    if (remark) item.append(el("small", "", remark));
    return item;
  });
  if (everybody.length > PEOPLE_SHOWN) list.push(el("li", "person", `and ${everybody.length - PEOPLE_SHOWN} more`));
  if (!room.peopleKnown) list.splice(0, list.length, el("li", "quiet", { joined: "You may not see who is here.", joining: "Not known yet.", ended: "You are not in it." }[room.state]));
  $("people").replaceChildren(...list);
  const count = everybody.length;
  say($("count"), !room.peopleKnown ? "" : count <= 1 ? "only you" : `${count} people`);
}

export function showTyping(room) {
  const now = performance.now();
  for (const [client, { until }] of room.typing) if (until < now) room.typing.delete(client);
  const names = [...new Set([...room.typing.values()].map(({ name }) => name))];
  const text = names.length > 2 ? "Several people are typing" : names.length === 2 ? `${names.join(" and ")} are typing` : names.length ? `${names[0]} is typing` : "";
  say($("typing"), text);
}

