// centrifuge clients whose events can be waited for, and tokens for them.
import { createHmac } from "node:crypto";
import net from "node:net";
import { Centrifuge } from "centrifuge";
import { Centrifuge as BinaryCentrifuge } from "centrifuge/build/protobuf";
import { EventSource } from "eventsource";
import WebSocket from "ws";
import { soon } from "./client.mjs";

const open = new Set();
const wires = new Set();
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
  for (const wire of wires) wire.close();
  wires.clear();
}

/** A client whose connection can be cut as a network would. */
export class ChatClient {
  #socket = null;

  #wire = null;

  /**
   * With `protobuf` among the options it speaks that encoding; with `transport` it uses one
   * that needs no upgrade, after it has tried those of `before`, and through a `wire` if it is
   * to be cut.
   */
  constructor(server, { protobuf = false, transport = null, before = [], wire = null, ...options } = {}) {
    const owner = this;
    open.add(this);
    class Socket extends WebSocket {
      constructor(...args) {
        super(...args);
        owner.#socket = this;
      }
    }
    const Codec = protobuf ? BinaryCentrifuge : Centrifuge;
    if (transport) {
      const origin = wire?.origin ?? server.origin;
      this.#wire = wire;
      this.centrifuge = new Codec([...before, { transport, endpoint: `${origin}/connection/${transport}` }], {
        emulationEndpoint: `${origin}/emulation`, eventsource: EventSource, websocket: WebSocket, minReconnectDelay: 20, maxReconnectDelay: 200, ...options,
      });
      return;
    }
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

  kill() { this.#wire ? this.#wire.cut() : this.#socket.terminate(); }

  close() { this.centrifuge.disconnect(); }
}

/** The way to a server, which can be cut as a network would. */
export class Wire {
  #sockets = new Set();
  #listener = null;

  static async to(server) {
    const wire = new Wire();
    wire.#listener = net.createServer((near) => {
      const far = net.connect(server.port, "127.0.0.1");
      for (const [from, to] of [[near, far], [far, near]]) {
        wire.#sockets.add(from);
        from.pipe(to);
        from.on("error", () => to.destroy());
        from.on("close", () => { wire.#sockets.delete(from); to.destroy(); });
      }
    });
    await new Promise((resolve) => { wire.#listener.listen(0, "127.0.0.1", resolve); });
    wires.add(wire);
    return wire;
  }

  get origin() { return `http://127.0.0.1:${this.#listener.address().port}`; }

  cut() { for (const socket of this.#sockets) socket.destroy(); }

  close() {
    this.#listener.close();
    this.cut();
  }
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
