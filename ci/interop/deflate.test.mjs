// permessage-deflate between the server and ws, message by message.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Client, describe, same } from "./client.mjs";
import { echoes, kinds, noise, prose } from "./payloads.mjs";
import { opcodes, RawClient, frame, request } from "./raw.mjs";
import { withConfig, withServer } from "./server.mjs";

const MIB = 1 << 20;
const SIZES = [0, 1, 2, 125, 126, 127, 255, 256, 257, 1023, 1024, 4096, 32767, 32768, 32769, 65535, 65536, 65537, 300_000, MIB];
const SMALL = SIZES.filter((size) => size <= 65537);
const IN_FLIGHT = 512 << 10; // below the bytes that may wait for a connection
const WINDOW_BITS = [8, 9, 10, 11, 12, 13, 14, 15];
const TIGHT = "level = 9\nmem_level = 1\nwindow_bits = 9\nmin_size = 0\n";
const MODES = ["shared", "dedicated"];

const echoUrl = (server) => `ws://127.0.0.1:${server.port}/echo`;

async function echoed(client, message, note = "") {
  client.send(message);
  const answer = await client.next();
  assert.ok(same(answer, message), `${describe(message)} came back as ${describe(answer)} ${note}`);
}

async function echoesAll(client, sizes) {
  let seed = 1;
  for (const size of sizes) {
    for (const message of kinds(size, seed++)) await echoed(client, message, client.answer);
  }
}

for (const mode of MODES) {
  test(`${mode}: ws negotiates it unasked, and every size and sort comes back`, () =>
    withServer(`echo-${mode}`, ["--deflate", mode], async (server) => {
      const client = await Client.open(echoUrl(server));
      assert.equal(client.ws.extensions, "permessage-deflate");
      const takesOver = !client.answer.includes("no_context_takeover");
      assert.equal(takesOver, mode === "dedicated", client.answer);
      await echoesAll(client, SIZES);
      assert.equal(await client.close(), 1000);
    }));

  test(`${mode}: each parameter is granted or declined, and kept to`, () =>
    withServer(`parameters-${mode}`, ["--deflate", mode], async (server) => {
      for (const perMessageDeflate of offers()) {
        const note = JSON.stringify(perMessageDeflate);
        const client = await Client.open(echoUrl(server), { perMessageDeflate });
        const { serverNoContextTakeover, clientNoContextTakeover, serverMaxWindowBits, clientMaxWindowBits } = perMessageDeflate;
        if (serverMaxWindowBits === 8) {
          // zlib cannot compress with a window of 256 bytes, so the offer is declined.
          assert.equal(client.ws.extensions, "", note);
        } else {
          assert.equal(client.ws.extensions, "permessage-deflate", note);
          assert.equal(parameter(client, "server_no_context_takeover"), serverNoContextTakeover || mode === "shared" || undefined, note);
          assert.equal(parameter(client, "client_no_context_takeover"), clientNoContextTakeover || mode === "shared" || undefined, note);
          assert.equal(parameter(client, "server_max_window_bits"), serverMaxWindowBits, note);
          assert.ok((parameter(client, "client_max_window_bits") ?? 15) <= (clientMaxWindowBits ?? 15), note);
        }
        await echoesAll(client, SMALL);
        assert.equal(await client.close(), 1000, note);
      }
    }));

  test(`${mode}: the least window and memory, with every message compressed`, () =>
    withConfig(`[deflate]\nmode = "${mode}"\n${TIGHT}`, (file) =>
      withServer(`tight-${mode}`, ["--config", file], async (server) => {
        const client = await Client.open(echoUrl(server), { perMessageDeflate: { threshold: 0 } });
        assert.equal(parameter(client, "server_max_window_bits"), 9);
        await echoesAll(client, SMALL);
        await client.close();
      })));

  test(`${mode}: what repeats is small on the wire, both ways`, () =>
    withServer(`wire-${mode}`, ["--deflate", mode], async (server) => {
      for (const message of [prose(MIB, 7), Buffer.from(prose(MIB, 8)), Buffer.alloc(MIB, "ab")]) {
        const client = await Client.open(echoUrl(server));
        await echoed(client, message);
        for (const bytes of [client.tcp.bytesRead, client.tcp.bytesWritten]) {
          assert.ok(bytes < MIB / 2, `${bytes} bytes for ${describe(message)}`);
        }
        await client.close();
      }
    }));

  test(`${mode}: hundreds of messages on their way keep their order`, () =>
    withServer(`flight-${mode}`, ["--deflate", mode], async (server) => {
      const client = await Client.open(echoUrl(server), { perMessageDeflate: { threshold: 0 } });
      const messages = [];
      for (let i = 0; i < 400; i += 1) messages.push(...kinds((i * i * 7) % 9000, i).slice(0, 3));
      const waiting = [];
      let bytes = 0;
      const receive = async () => {
        const expected = waiting.shift();
        bytes -= Buffer.byteLength(expected);
        assert.ok(same(await client.next(), expected), describe(expected));
      };
      for (const message of messages) {
        while (bytes > IN_FLIGHT) await receive();
        client.send(message);
        waiting.push(message);
        bytes += Buffer.byteLength(message);
      }
      while (waiting.length > 0) await receive();
      await client.close();
    }));

  test(`${mode}: fragments of a compressed message, with pings between them`, () =>
    withServer(`fragments-${mode}`, ["--deflate", mode], async (server) => {
      const client = await Client.open(echoUrl(server), { perMessageDeflate: { threshold: 0 } });
      for (const size of [10, 1000, 100_000]) {
        const message = echoes(size, size);
        const pieces = [message.subarray(0, 1), message.subarray(1, size / 2), Buffer.alloc(0), message.subarray(size / 2)];
        let pongs = 0;
        client.ws.on("pong", () => { pongs += 1; });
        pieces.forEach((piece, i) => {
          client.send(piece, { binary: true, compress: true, fin: i === pieces.length - 1 });
          client.ws.ping(String(i));
        });
        assert.ok(same(await client.next(), message), describe(message));
        // The last ping comes after the message.
        await echoed(client, "after the pings");
        assert.equal(pongs, pieces.length);
        client.ws.removeAllListeners("pong");
      }
      await client.close();
    }));
}

test("off: nothing is negotiated, and a compressed frame is a violation", () =>
  withServer("off", ["--deflate", "off"], async (server) => {
    const client = await Client.open(echoUrl(server));
    assert.equal(client.ws.extensions, "");
    await echoesAll(client, SIZES);
    await client.close();

    const raw = await RawClient.open(server.port);
    await raw.write(request("/echo", { "Sec-WebSocket-Extensions": "permessage-deflate" }));
    assert.equal((await raw.head()).status, 101);
    await raw.write(frame(opcodes.binary, noise(10, 1), true));
    assert.equal(await raw.closeCode(), 1002);
    await raw.ended;
  }));

test("a client that offers nothing gets nothing compressed", () =>
  withServer("plain", ["--deflate", "dedicated"], async (server) => {
    const client = await Client.open(echoUrl(server), { perMessageDeflate: false });
    assert.equal(client.ws.extensions, "");
    await echoesAll(client, SMALL);
    await client.close();
  }));

function* offers() {
  for (const serverNoContextTakeover of [false, true]) {
    for (const clientNoContextTakeover of [undefined, true]) yield { serverNoContextTakeover, clientNoContextTakeover, threshold: 0 };
  }
  for (const bits of WINDOW_BITS) {
    yield { serverMaxWindowBits: bits, threshold: 0 };
    yield { clientMaxWindowBits: bits, threshold: 0 };
    yield { serverMaxWindowBits: bits, clientMaxWindowBits: 23 - bits, serverNoContextTakeover: true, clientNoContextTakeover: true, threshold: 0 };
  }
  for (const threshold of [1, 1024, 2 * MIB]) yield { threshold, clientNoContextTakeover: true };
}

/** A parameter of the answer: undefined if it is not there, true if it has no value. */
function parameter(client, name) {
  const match = new RegExp(`;\\s*${name}(?:=(\\d+))?(?:;|$)`).exec(client.answer);
  if (!match) return undefined;
  return match[1] === undefined ? true : Number(match[1]);
}
