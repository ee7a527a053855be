// centrifuge clients whose events can be waited for, and tokens for them.
import { createHmac } from "node:crypto";
import { Centrifuge } from "centrifuge";
import { Centrifuge as BinaryCentrifuge } from "centrifuge/build/protobuf";
import WebSocket from "ws";
import { soon } from "./client.mjs";

const open = new Set();
export const SECRET = "a secret for the tests alone";

/** A JWT with these claims, HS256. */
export function token(claims, secret = SECRET) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part(claims)}`;
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}

/** Seconds of the Unix clock, so long from now. */
export const inSeconds = (seconds) => Math.floor(Date.now() / 1000) + seconds;

/** The next event of this name. */
export function event(emitter, name) {
  return soon(new Promise((resolve) => emitter.once(name, resolve)), name);
}

/** Ends all clients: those of a test that failed would come back for ever. */
export function closeAll() {
  for (const client of open) client.close();
  open.clear();
}

/** A client whose connection can be cut as a network would. */
export class ChatClient {
  #socket = null;

  /** With `protobuf` among the options it speaks that encoding. */
  constructor(server, { protobuf = false, ...options } = {}) {
    const owner = this;
    open.add(this);
    class Socket extends WebSocket {
      constructor(...args) {
        super(...args);
        owner.#socket = this;
      }
    }
    const Codec = protobuf ? BinaryCentrifuge : Centrifuge;
    this.centrifuge = new Codec(`ws://127.0.0.1:${server.port}/connection/websocket`, {
      websocket: Socket, minReconnectDelay: 20, maxReconnectDelay: 200, ...options,
    });
  }

  static async open(server, options) {
    const client = new ChatClient(server, options);
    await client.connect();
    return client;
  }

  async connect() {
    const connected = event(this.centrifuge, "connected");
    this.centrifuge.connect();
    this.connected = await connected;
    return this.connected;
  }

  /** A subscription that has begun, with what it gets in `received`. */
  async subscribe(channel, options = {}) {
    const sub = this.centrifuge.newSubscription(channel, { minResubscribeDelay: 20, maxResubscribeDelay: 200, ...options });
    const received = new Received();
    sub.on("publication", (publication) => received.push(publication));
    const subscribed = event(sub, "subscribed");
    sub.subscribe();
    return { sub, received, begun: await subscribed };
  }

  /** The subprotocol that the server chose. */
  get protocol() { return this.#socket.protocol; }

  kill() { this.#socket.terminate(); }

  close() { this.centrifuge.disconnect(); }
}

/** What has arrived, and a way to wait for more. */
export class Received {
  all = [];
  #waiting = [];

  push(item) {
    this.all.push(item);
    this.#waiting = this.#waiting.filter(({ count, resolve }) => this.all.length < count || resolve());
  }

  /** Everything, once it is so many. */
  async atLeast(count) {
    if (this.all.length < count) {
      await soon(new Promise((resolve) => { this.#waiting.push({ count, resolve }); }), `${count} items, only ${this.all.length}`);
    }
    return this.all;
  }
}
