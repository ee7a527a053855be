// A ws client whose messages can be waited for one by one.
import { once } from "node:events";
import WebSocket from "ws";

const PATIENCE = 20_000;

/** A promise that fails when it takes too long, and says for what. */
export function soon(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no ${what} within ${PATIENCE} ms`)), PATIENCE);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

export class Client {
  #waiting = [];
  #arrived = [];

  constructor(url, options) {
    this.ws = new WebSocket(url, options);
    this.ended = new Promise((resolve) => {
      this.ws.on("error", (error) => { this.error = error; });
      this.ws.on("close", (code) => {
        resolve(code);
        for (const { reject } of this.#waiting.splice(0)) reject(this.error ?? new Error(`closed with ${code}`));
      });
    });
    this.ws.on("upgrade", (response) => {
      this.answer = response.headers["sec-websocket-extensions"] ?? "";
      this.tcp = response.socket;
    });
    // Text arrives as a string, so that a comparison includes the kind.
    this.ws.on("message", (data, binary) => {
      const message = binary ? data : data.toString();
      const taker = this.#waiting.shift();
      if (taker) taker.resolve(message); else this.#arrived.push(message);
    });
  }

  static async open(url, options) {
    const client = new Client(url, options);
    await once(client.ws, "open");
    return client;
  }

  send(message, options) { this.ws.send(message, options); }

  async next() {
    if (this.#arrived.length > 0) return this.#arrived.shift();
    if (this.ws.readyState !== WebSocket.OPEN) throw this.error ?? new Error("the connection has ended");
    return soon(new Promise((resolve, reject) => { this.#waiting.push({ resolve, reject }); }), "message");
  }

  get unread() { return this.#arrived.length; }

  async close() {
    this.ws.close(1000);
    return this.ended;
  }
}

/** Whether two messages are the same, kind and bytes; never prints a megabyte. */
export function same(actual, expected) {
  return typeof expected === "string" ? actual === expected : Buffer.isBuffer(actual) && expected.equals(actual);
}

export function describe(message) {
  const kind = typeof message === "string" ? "text" : "binary";
  return `${kind} of ${Buffer.byteLength(message)} B`;
}
