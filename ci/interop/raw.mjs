// A client that writes exactly the bytes it is told to.
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import net from "node:net";

const FIN = 0x80;
const RSV1 = 0x40;
const MASKED = 0x80;
export const opcodes = { text: 1, binary: 2, close: 8, ping: 9, pong: 10 };

export function request(path, headers = {}) {
  const lines = [
    `GET ${path} HTTP/1.1`, "Host: 127.0.0.1", "Upgrade: websocket", "Connection: Upgrade",
    "Sec-WebSocket-Version: 13", `Sec-WebSocket-Key: ${randomBytes(16).toString("base64")}`,
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
  ];
  return Buffer.from(lines.join("\r\n") + "\r\n\r\n");
}

/** A whole message in one masked frame; `compressed` sets RSV1. */
export function frame(opcode, payload, compressed = false) {
  const first = FIN | (compressed ? RSV1 : 0) | opcode;
  let head;
  if (payload.length < 126) {
    head = Buffer.from([first, MASKED | payload.length]);
  } else if (payload.length < 1 << 16) {
    head = Buffer.from([first, MASKED | 126, 0, 0]);
    head.writeUInt16BE(payload.length, 2);
  } else {
    head = Buffer.alloc(10);
    head.set([first, MASKED | 127]);
    head.writeBigUInt64BE(BigInt(payload.length), 2);
  }
  const key = randomBytes(4);
  const masked = Buffer.from(payload);
  for (let i = 0; i < masked.length; i += 1) masked[i] ^= key[i & 3];
  return Buffer.concat([head, key, masked]);
}

export class RawClient {
  constructor(port) {
    this.received = Buffer.alloc(0);
    this.socket = net.connect({ port, host: "127.0.0.1", noDelay: true });
    this.socket.on("data", (bytes) => { this.received = Buffer.concat([this.received, bytes]); });
    this.socket.on("error", (error) => { this.error = error; });
    this.ended = new Promise((resolve) => this.socket.once("close", resolve));
  }

  static async open(port) {
    const client = new RawClient(port);
    await once(client.socket, "connect");
    return client;
  }

  /** Answers once the bytes were given to the kernel. */
  write(bytes) { return new Promise((resolve) => this.socket.write(bytes, resolve)); }

  async #until(parse) {
    for (;;) {
      const value = parse();
      if (value !== undefined) return value;
      if (this.socket.destroyed || this.socket.readableEnded) throw this.error ?? new Error("the connection ended first");
      await Promise.race([once(this.socket, "data"), this.ended]);
    }
  }

  #take(size) {
    const bytes = this.received.subarray(0, size);
    this.received = this.received.subarray(size);
    return bytes;
  }

  /** The answer's head, with its status. */
  async head() {
    const text = await this.#until(() => {
      const end = this.received.indexOf("\r\n\r\n");
      return end < 0 ? undefined : this.#take(end + 4).toString("latin1");
    });
    return { status: Number(text.split(" ")[1]), text };
  }

  /** The next frame of the server, which never masks. */
  async frame() {
    return this.#until(() => {
      if (this.received.length < 2) return undefined;
      const [first, short] = this.received;
      const headSize = short === 127 ? 10 : short === 126 ? 4 : 2;
      if (this.received.length < headSize) return undefined;
      const size = short === 127 ? Number(this.received.readBigUInt64BE(2)) : short === 126 ? this.received.readUInt16BE(2) : short;
      if (this.received.length < headSize + size) return undefined;
      this.#take(headSize);
      return { opcode: first & 0x0f, compressed: (first & RSV1) !== 0, payload: this.#take(size) };
    });
  }

  async closeCode() {
    const { opcode, payload } = await this.frame();
    if (opcode !== opcodes.close) throw new Error(`opcode ${opcode} instead of a close`);
    return payload.readUInt16BE(0);
  }
}
