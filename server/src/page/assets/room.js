// What this page knows of one channel: what was said, what waits to be sent, who is there.

import { lines, oneLine } from "./dom.js";

export const TEXT_MAX = 4_000, NAME_MAX = 32;
const ITEMS_MAX = 500, OUTGOING_MAX = 50, PAGE = 50, CONFIRM_WITHIN = 12_000;
const TYPING_SHOWN = 5_000, NOTED_PEOPLE_MAX = 20, PEOPLE_TYPING_MAX = 50;

const isText = (value) => typeof value === "string";

/** Who a client is, by what the server says of it. */
export function person(info, claimed = "") {
  if (!info) return { client: "", user: "", name: "Server", isServer: true };
  const named = info.conn_info?.name;
  const name = oneLine(isText(named) ? named : info.user || claimed, NAME_MAX);
  return { client: info.client, user: info.user ?? "", name: name || `Guest ${String(info.client).slice(0, 4)}` };
}

/** Anybody may publish anything: what is no message of this page is shown as it is. */
function written(data) {
  if (isText(data)) return { text: data };
  if (data !== null && typeof data === "object" && isText(data.text)) {
    const { id, text, ts, name } = data;
    return { text, id: isText(id) && id.length <= 40 ? id : "", ts: Number.isFinite(ts) ? ts : 0, name: isText(name) ? name : "" };
  }
  return { text: JSON.stringify(data) ?? "" };
}

/**
 * A room tells `changed(what, item)` about "items" (all anew), "item" (one more),
 * "outgoing", "people", "typing", "state".
 */
export class Room {
  state = "joining";
  error = null;
  items = [];
  outgoing = [];
  people = new Map();
  peopleKnown = false;
  typing = new Map();
  unread = 0;
  hasEarlier = false;
  draft = "";

  #client;
  #me;
  #changed;
  #epoch = 0;
  #last = 0;
  #known = new Set();
  #turn = 0;

  constructor(client, channel, me, changed) {
    this.channel = channel;
    this.#client = client;
    this.#me = me;
    this.#changed = (what, item) => changed(this, what, item);
  }

  join() {
    this.#enter("joining");
    this.#client.subscribe(this.channel, {
      subscribed: (how) => this.#subscribed(how),
      publication: (publication) => this.#published(publication),
      join: (info) => this.#came(info),
      leave: (info) => this.#left(info),
      lost: () => this.#lost(),
      ended: (error) => this.#ended(error),
    }, { joinLeave: true });
  }

  /** What was on its way is sent again, unless recovery brings it. */
  #lost() {
    this.#turn += 1;
    for (const message of this.outgoing) {
      if (message.state === "failed") continue;
      clearTimeout(message.timer);
      message.state = "waiting";
    }
    this.#enter("joining");
    this.#changed("outgoing");
  }

  #ended(error) {
    this.#turn += 1;
    this.error = error;
    for (const message of this.outgoing) this.#failed(message, "You are not in this channel any more.");
    this.#enter("ended");
  }

  leave() {
    this.#client.unsubscribe(this.channel);
    for (const message of this.outgoing) clearTimeout(message.timer);
  }

  /** Says something as soon as possible. `false`: too much waits already. */
  say(text) {
    if (this.outgoing.length >= OUTGOING_MAX) return false;
    const id = Array.from(crypto.getRandomValues(new Uint8Array(9)), (byte) => byte.toString(36).padStart(2, "0")).join("");
    const message = { id, text: lines(text, TEXT_MAX), ts: Date.now(), state: "waiting", error: "", timer: 0 };
    this.outgoing.push(message);
    if (this.state === "joined") this.#send(message);
    this.#changed("outgoing");
    return true;
  }

  /** Under the same id: whoever has it from the first time shows it once. */
  again(message) {
    message.error = "";
    if (this.state === "joined") this.#send(message);
    else message.state = "waiting";
    this.#changed("outgoing");
  }

  discard(message) {
    clearTimeout(message.timer);
    this.outgoing = this.outgoing.filter((other) => other !== message);
    this.#changed("outgoing");
  }

  async earlier() {
    const first = this.items.find(({ kind, epoch }) => kind === "message" && epoch === this.#epoch);
    const since = first && { since: { offset: first.offset, epoch: this.epochName } };
    const { publications = [] } = await this.#client.request("history", { channel: this.channel, limit: PAGE, reverse: true, ...since });
    this.hasEarlier = publications.length === PAGE;
    this.#merge(publications);
  }

  #send(message) {
    message.state = "sending";
    clearTimeout(message.timer);
    message.timer = setTimeout(() => this.#failed(message, "The server did not confirm it."), CONFIRM_WITHIN);
    const { id, text, ts } = message;
    const name = this.#me.isNamed() ? {} : { name: this.#me.name };
    this.#client.request("publish", { channel: this.channel, data: { id, text, ts, ...name } }).then(
      () => { if (message.state === "sending") { message.state = "sent"; this.#changed("outgoing"); } },
      (error) => {
        // Without an answer it may have come, which recovery will say.
        if (error.code) this.#failed(message, this.explain(error, "send here"));
      },
    );
  }

  #failed(message, why) {
    if (!this.outgoing.includes(message)) return;
    clearTimeout(message.timer);
    message.state = "failed";
    message.error = why;
    this.#changed("outgoing");
  }

  async #subscribed({ isFirst, recovered, isSameEpoch }) {
    if (!isFirst && !recovered && !isSameEpoch) this.#epoch += 1;
    this.#turn += 1;
    const turn = this.#turn;
    if (isFirst || !recovered) await this.#history(isFirst);
    if (turn !== this.#turn) return;
    this.error = null;
    this.#enter("joined");
    for (const message of this.outgoing) if (message.state !== "failed") this.#send(message);
    this.#changed("outgoing");
    this.#presence();
  }

  async #history(isFirst) {
    try {
      const last = this.#last;
      const past = await this.#client.request("history", { channel: this.channel, limit: PAGE, reverse: true });
      const { publications = [] } = past;
      this.epochName = past.epoch;
      const oldest = publications.at(-1)?.offset ?? 0;
      this.hasEarlier = publications.length === PAGE;
      if (!isFirst && (past.offset ?? 0) > 0 && oldest > last + 1) this.#note("Messages may be missing here: the server no longer has them.");
      this.#merge(publications);
    } catch (error) {
      if (error.code) this.#note("This server does not show you what was said before.");
    }
  }

  #merge(publications) {
    const fresh = publications.map((publication) => this.#item(publication)).filter(Boolean);
    if (!fresh.length) return;
    const place = (item) => item.epoch * 2 ** 40 + item.offset;
    this.items = [...this.items, ...fresh].sort((a, b) => place(a) - place(b)).slice(-ITEMS_MAX);
    this.#changed("items");
  }

  #published(publication) {
    const item = this.#item(publication);
    if (!item) return;
    this.typing.delete(item.author.client);
    this.#add(item);
    this.#changed("typing");
  }

  /** A publication as it is shown; `null` if it is here already. */
  #item(publication) {
    const { text, id = "", ts = 0, name = "" } = written(publication.data);
    const author = person(publication.info, name);
    const offset = publication.offset ?? this.#last;
    const keys = [id && `${author.user}/${id}`, publication.offset && `${this.#epoch}:${offset}`].filter(Boolean);
    const isKnown = keys.some((key) => this.#known.has(key));
    for (const key of keys) this.#known.add(key);
    while (this.#known.size > 4 * ITEMS_MAX) this.#known.delete(this.#known.values().next().value);
    const own = this.outgoing.find((message) => message.id === id);
    const isOurs = own && this.#me.is(author, this.#client.id);
    if (isOurs) {
      clearTimeout(own.timer);
      this.outgoing = this.outgoing.filter((message) => message !== own);
      this.#changed("outgoing");
    }
    this.#last = Math.max(this.#last, offset);
    if (isKnown) return null;
    // A clock far from this one says nothing about when it was written.
    const isSound = ts > Date.now() - 7 * 86_400e3 && ts < Date.now() + 60e3;
    return {
      kind: "message", epoch: this.#epoch, offset, author, text: lines(text, TEXT_MAX),
      ts: isSound ? ts : 0, isMine: Boolean(isOurs) || this.#me.is(author, this.#client.id),
    };
  }

  #note(text) {
    this.#add({ kind: "note", epoch: this.#epoch, offset: this.#last, text });
  }

  #add(item) {
    this.items.push(item);
    if (this.items.length > ITEMS_MAX) this.items.splice(0, this.items.length - ITEMS_MAX);
    this.#changed("item", item);
  }

  async #presence() {
    try {
      const { presence = {} } = await this.#client.request("presence", { channel: this.channel });
      const known = this.people;
      this.people = new Map(Object.values(presence).map((info) => [info.client, person(info)]));
      for (const [client, { name }] of known) if (this.people.has(client)) this.people.get(client).name = name;
      this.peopleKnown = true;
    } catch { this.peopleKnown = false; }
    this.#changed("people");
  }

  #isThere(someone) {
    return [...this.people.values()].some(({ name }) => name === someone.name);
  }

  #came(info) {
    const someone = person(info);
    const isNew = !this.people.has(info.client) && !this.#isThere(someone);
    this.people.set(info.client, someone);
    if (isNew) this.#noteOf(someone, "joined");
    this.#changed("people");
  }

  #left(info) {
    const someone = this.people.get(info.client);
    this.people.delete(info.client);
    this.typing.delete(info.client);
    if (someone && !this.#isThere(someone)) this.#noteOf(someone, "left");
    this.#changed("people");
    this.#changed("typing");
  }

  /** In a small room it is of interest who comes; in a big one it would be all there is. */
  #noteOf(someone, what) {
    if (this.people.size <= NOTED_PEOPLE_MAX && !this.#me.is(someone, this.#client.id)) this.#note(`${someone.name} ${what}`);
  }

  /** Somebody types, as the typing channel of this room says. */
  types({ info, data }) {
    const someone = person(info, isText(data?.name) ? data.name : "");
    if (someone.isServer || someone.client === this.#client.id) return;
    if (this.typing.size >= PEOPLE_TYPING_MAX && !this.typing.has(someone.client)) return;
    this.typing.set(someone.client, { name: someone.name, until: performance.now() + TYPING_SHOWN });
    this.#changed("typing");
  }

  explain({ code, message }, what) {
    const namespace = this.channel.includes(":") ? this.channel.split(":")[0] : "";
    switch (code) {
      case 102: return `There are no channels “${namespace}:…” on this server. Choose another name.`;
      case 103: return `You may not ${what}. Ask who runs the server for the permission, or choose another channel.`;
      case 106: return "The server allows no more channels. Leave one first.";
      case 107: return "The server takes no channel of that name. Choose a shorter one.";
      case 108: return "The server does not offer that in this channel.";
      case 111: return "That was too fast for the server. Wait a moment and try again.";
      case 2000: return "The server has taken you out of this channel. You can join again.";
      default: return `The server says: ${message}. Try again in a moment.`;
    }
  }

  #enter(state) {
    this.state = state;
    this.#changed("state");
  }
}
