// Centrifugo's client protocol in its JSON encoding: one WebSocket that comes back by
// itself, and subscriptions that take up where they were.

const RETRY_FIRST = 300, RETRY_MAX = 15_000, STABLE = 3_000;
const OPEN_TIMEOUT = 10_000, REPLY_TIMEOUT = 10_000, PING_GRACE = 10_000;
const ENDED_BY_US = 1000;

const UNAUTHORIZED = 101, ALREADY_SUBSCRIBED = 105, TOKEN_EXPIRED = 109;
const CLOSED_INVALID_TOKEN = 3500;
const RESUBSCRIBE_FROM = 2500;

/** A code says that coming back would be no use. */
const isTerminal = (code) => (code >= 3500 && code < 4000) || (code >= 4500 && code < 5000);

function why(code, reason, wasConnected) {
  if (code === 1001 || code === 3001) return "the server is restarting";
  return reason || (wasConnected ? "the connection was lost" : "the server can not be reached");
}

/** A command failed: by its code in the protocol, or 0 without an answer. */
export class CommandError extends Error {
  constructor(code, message, isTemporary = false) {
    super(message);
    this.code = code;
    this.isTemporary = isTemporary;
  }
}

/**
 * States: "connecting", "connected", "waiting" (for the next attempt at `retryAt`),
 * "ended" (by `why`; `needsToken` if another token could help). `onState` hears of each.
 */
export class Client {
  state = "ended";
  id = "";
  why = "";
  needsToken = false;
  retryAt = 0;
  onState = () => {};

  #url;
  #token;
  #socket = null;
  #subscriptions = new Map();
  #replies = new Map();
  #lastId = 0;
  #outbox = [];
  #attempts = 0;
  #connectedAt = 0;
  #ping = 0;
  #pongs = false;
  #timers = { retry: 0, open: 0, silence: 0 };

  /** `token()` is what the server is told of who this is; empty: nothing. */
  constructor(url, token) {
    this.#url = url;
    this.#token = token;
  }

  connect() {
    this.#detach();
    this.needsToken = false;
    this.#enter("connecting");
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    socket.onopen = () => this.#opened();
    socket.onmessage = ({ data }) => this.#received(data);
    socket.onclose = ({ code, reason }) => this.#closed(code, reason);
    this.#timers.open = setTimeout(() => this.#closed(0, "the server does not answer"), OPEN_TIMEOUT);
  }

  /** Now, if it waits for its next attempt. */
  retry() {
    if (this.state === "waiting") this.connect();
  }

  /** The network says that it is gone; the socket would notice much later. */
  lose() {
    if (this.state === "connected") this.#closed(0, "the network is gone");
  }

  disconnect(why = "") {
    this.#detach();
    this.why = why;
    this.#enter("ended");
  }

  /** Sends a command; the result, or a `CommandError`. */
  request(name, fields) {
    if (this.state !== "connected") return Promise.reject(new CommandError(0, "not connected", true));
    return this.#command(name, fields);
  }

  /**
   * Subscribes now and after each reconnect. `events` has some of subscribed(result),
   * publication(publication), join(info), leave(info), lost(), ended(error).
   */
  subscribe(channel, events, { joinLeave = false } = {}) {
    const sub = { channel, events, joinLeave, state: "lost", position: null };
    this.#subscriptions.set(channel, sub);
    if (this.state === "connected") this.#begin(sub);
  }

  unsubscribe(channel) {
    const sub = this.#subscriptions.get(channel);
    if (!sub) return;
    this.#subscriptions.delete(channel);
    if (this.state === "connected" && sub.state !== "lost") this.#command("unsubscribe", { channel }).catch(() => {});
  }

  #command(name, fields) {
    this.#lastId += 1;
    const id = this.#lastId;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#replies.delete(id);
        reject(new CommandError(0, "the server does not answer", true));
      }, REPLY_TIMEOUT);
      this.#replies.set(id, { name, resolve, reject, timer });
      this.#send({ id, [name]: fields });
    });
  }

  /** What is said in one turn goes in one frame. */
  #send(message) {
    this.#outbox.push(JSON.stringify(message));
    if (this.#outbox.length > 1) return;
    queueMicrotask(() => {
      const frame = this.#outbox.join("\n");
      this.#outbox = [];
      if (frame && this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(frame);
    });
  }

  async #opened() {
    clearTimeout(this.#timers.open);
    const token = this.#token(), socket = this.#socket;
    try {
      const told = await this.#command("connect", { ...(token && { token }), name: "hioload-page" });
      this.id = told.client;
      this.why = "";
      this.#connectedAt = performance.now();
      this.#ping = told.ping ?? 0;
      this.#pongs = told.pong === true;
      this.#hear();
      this.#enter("connected");
      for (const sub of this.#subscriptions.values()) this.#begin(sub);
    } catch (error) {
      if (this.#socket !== socket) return;
      const wantsToken = error.code === UNAUTHORIZED || error.code === TOKEN_EXPIRED;
      if (!wantsToken) return this.#closed(0, error.message);
      this.needsToken = true;
      this.disconnect(error.code === TOKEN_EXPIRED ? "the token has expired" : "the server wants a token");
    }
  }

  #received(frame) {
    if (typeof frame !== "string") return;
    this.#hear();
    for (const line of frame.split("\n")) {
      if (!line) continue;
      let message;
      try { message = JSON.parse(line); } catch { return this.#closed(0, "the server sends no JSON"); }
      if (message === null || typeof message !== "object") continue;
      if (message.id) this.#replied(message);
      else if (message.push) this.#pushed(message.push);
      else if (this.#pongs) this.#send({});
    }
  }

  /** The server pings; who hears nothing for longer has no connection. */
  #hear() {
    if (!this.#ping) return;
    clearTimeout(this.#timers.silence);
    this.#timers.silence = setTimeout(() => this.#closed(0, "the server has fallen silent"), this.#ping * 1e3 + PING_GRACE);
  }

  #replied({ id, error, ...result }) {
    const asked = this.#replies.get(id);
    if (!asked) return;
    this.#replies.delete(id);
    clearTimeout(asked.timer);
    if (error) asked.reject(new CommandError(error.code, error.message, error.temporary === true));
    else asked.resolve(result[asked.name] ?? {});
  }

  #pushed(push) {
    const sub = this.#subscriptions.get(push.channel);
    if (!sub) return;
    if (push.pub) this.#published(sub, push.pub);
    else if (push.join) sub.events.join?.(push.join.info);
    else if (push.leave) sub.events.leave?.(push.leave.info);
    else if (push.unsubscribe) {
      sub.state = "lost";
      sub.events.lost?.();
      if (push.unsubscribe.code >= RESUBSCRIBE_FROM) return this.#begin(sub);
      this.#subscriptions.delete(push.channel);
      sub.events.ended?.(new CommandError(push.unsubscribe.code, "the server ended the subscription"));
    }
  }

  /** Hands a publication on, unless its number says that it is here already. */
  #published(sub, publication) {
    const { offset } = publication;
    if (sub.position && offset) {
      if (offset <= sub.position.offset) return;
      sub.position.offset = offset;
    }
    sub.events.publication?.(publication);
  }

  async #begin(sub) {
    sub.state = "beginning";
    const { channel, joinLeave, position } = sub;
    const socket = this.#socket;
    const recover = position && { recover: true, epoch: position.epoch, offset: position.offset };
    try {
      const told = await this.#command("subscribe", { channel, ...(joinLeave && { join_leave: true }), ...recover });
      if (this.#subscriptions.get(channel) !== sub) return;
      sub.state = "subscribed";
      const isSame = position?.epoch === told.epoch;
      for (const publication of told.recovered ? told.publications ?? [] : []) this.#published(sub, publication);
      sub.position = told.recoverable ? { epoch: told.epoch ?? "", offset: told.offset ?? 0 } : null;
      sub.events.subscribed?.({ isFirst: !position, recovered: told.recovered === true, isSameEpoch: isSame });
    } catch (error) {
      if (this.#subscriptions.get(channel) !== sub || this.#socket !== socket) return;
      if (error.code === ALREADY_SUBSCRIBED) {
        // A reply came too late: where it began is not known, so it begins again.
        await this.#command("unsubscribe", { channel }).catch(() => {});
        if (this.#socket === socket) this.#begin(sub);
        return;
      }
      if (error.isTemporary) {
        setTimeout(() => {
          if (this.#subscriptions.get(channel) === sub && this.#socket === socket) this.#begin(sub);
        }, 1_000);
        return;
      }
      this.#subscriptions.delete(channel);
      sub.events.ended?.(error);
    }
  }

  #closed(code, reason) {
    this.#detach();
    const wasConnected = this.#connectedAt > 0;
    if (wasConnected && performance.now() - this.#connectedAt >= STABLE) this.#attempts = 0;
    this.#connectedAt = 0;
    // Attempts in vain are no news of why it was lost.
    if (wasConnected || reason || !this.why) this.why = why(code, reason, wasConnected);
    if (isTerminal(code)) {
      this.needsToken = code === CLOSED_INVALID_TOKEN;
      return this.#enter("ended");
    }
    const most = Math.min(RETRY_MAX, RETRY_FIRST * 2 ** Math.min(this.#attempts, 10));
    const delay = most / 2 + Math.random() * most / 2;
    this.#attempts += 1;
    this.retryAt = performance.now() + delay;
    this.#timers.retry = setTimeout(() => this.connect(), delay);
    this.#enter("waiting");
  }

  /** Forgets the socket, and everything that was to come on it. */
  #detach() {
    Object.values(this.#timers).forEach(clearTimeout);
    const socket = this.#socket;
    this.#socket = null;
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close(ENDED_BY_US);
    }
    this.#outbox = [];
    this.#ping = 0;
    const replies = [...this.#replies.values()];
    this.#replies.clear();
    for (const { reject, timer } of replies) {
      clearTimeout(timer);
      reject(new CommandError(0, "the connection was lost", true));
    }
    for (const sub of this.#subscriptions.values()) {
      if (sub.state === "subscribed") sub.events.lost?.();
      sub.state = "lost";
    }
  }

  #enter(state) {
    this.state = state;
    this.onState(state);
  }
}
