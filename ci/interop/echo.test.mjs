// What a plain ws client does beside sending: pings, closes, and what it must not.
import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { Client, same, soon } from "./client.mjs";
import { noise, prose } from "./payloads.mjs";
import { withServer } from "./server.mjs";

const MIB = 1 << 20;
const CLOSES = [[1000, ""], [1001, "away"], [1011, "\u00e9".repeat(61)], [3000, "x".repeat(123)], [4999, "last"]];

for (const perMessageDeflate of [true, false]) {
  const name = perMessageDeflate ? "compressed" : "plain";

  test(`${name}: pings are answered with what they hold`, () =>
    withServer(`pings-${name}`, [], async (server) => {
      const client = await Client.open(`ws://127.0.0.1:${server.port}/echo`, { perMessageDeflate });
      for (const payload of [Buffer.alloc(0), noise(1, 1), noise(125, 2)]) {
        const pong = once(client.ws, "pong");
        client.ws.ping(payload);
        assert.ok((await soon(pong, "pong"))[0].equals(payload));
      }
      assert.equal(await client.close(), 1000);
    }));

  test(`${name}: a close comes back with its code`, () =>
    withServer(`closes-${name}`, [], async (server) => {
      for (const [code, reason] of CLOSES) {
        const client = await Client.open(`ws://127.0.0.1:${server.port}/echo`, { perMessageDeflate });
        client.ws.close(code, reason);
        assert.equal(await soon(client.ended, "close"), code);
      }
    }));

  test(`${name}: too large a message and text that is none end it with their codes`, () =>
    withServer(`wrong-${name}`, [], async (server) => {
      const bystander = await Client.open(`ws://127.0.0.1:${server.port}/echo`, { perMessageDeflate });
      const whole = noise(MIB, 1);
      for (const [message, options, expected] of [
        [noise(MIB + 1, 1), { binary: true }, 1009],
        [Buffer.alloc(2 * MIB), { binary: true }, 1009],
        [Buffer.from([0x61, 0xff, 0xfe]), { binary: false }, 1007],
      ]) {
        const client = await Client.open(`ws://127.0.0.1:${server.port}/echo`, { perMessageDeflate });
        client.send(whole);
        assert.ok(same(await client.next(), whole));
        client.send(message, options);
        assert.equal(await soon(client.ended, "close"), expected);
        const line = prose(1000, expected);
        bystander.send(line);
        assert.ok(same(await bystander.next(), line));
      }
      assert.equal(await bystander.close(), 1000);
    }));
}
