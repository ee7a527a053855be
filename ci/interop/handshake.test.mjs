// The opening handshake and frames, however TCP cuts them.
import assert from "node:assert/strict";
import { test } from "node:test";
import { noise, prose } from "./payloads.mjs";
import { opcodes, RawClient, frame, request } from "./raw.mjs";
import { withServer } from "./server.mjs";

const messages = [
  [opcodes.text, Buffer.from(prose(20, 1))],
  [opcodes.binary, noise(3000, 2)],
  [opcodes.text, Buffer.alloc(0)],
  [opcodes.binary, noise(126, 3)],
];
const frames = messages.map(([opcode, payload]) => frame(opcode, payload));

async function expectEchoes(raw) {
  for (const [opcode, payload] of messages) {
    const answer = await raw.frame();
    assert.equal(answer.opcode, opcode);
    assert.ok(answer.payload.equals(payload));
  }
}

test("frames in the segment of the handshake are answered", () =>
  withServer("pipelined", [], async (server) => {
    const raw = await RawClient.open(server.port);
    await raw.write(Buffer.concat([request("/echo"), ...frames, frame(opcodes.close, Buffer.from([0x03, 0xe8]))]));
    assert.equal((await raw.head()).status, 101);
    await expectEchoes(raw);
    assert.equal(await raw.closeCode(), 1000);
    await raw.ended;
    assert.equal(raw.received.length, 0);
  }));

test("a handshake and frames may come byte by byte", () =>
  withServer("bytewise", [], async (server) => {
    const raw = await RawClient.open(server.port);
    for (const byte of Buffer.concat([request("/echo"), ...frames])) await raw.write(Buffer.from([byte]));
    assert.equal((await raw.head()).status, 101);
    await expectEchoes(raw);
    raw.socket.destroy();
    await raw.ended;
  }));

test("a request, then the handshake with frames, on one connection in one segment", () =>
  withServer("keepalive", [], async (server) => {
    const raw = await RawClient.open(server.port);
    await raw.write(Buffer.concat([Buffer.from("HEAD /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"), request("/echo"), ...frames]));
    assert.equal((await raw.head()).status, 200);
    assert.equal((await raw.head()).status, 101);
    await expectEchoes(raw);
    raw.socket.destroy();
    await raw.ended;
  }));
