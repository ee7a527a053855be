// The centrifuge client with deltas of publications, in both encodings.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { ChatClient, Wire, closeAll, event } from "./chat.mjs";
import { withConfig, withServer } from "./server.mjs";

const CONFIG = `[client]
insecure = true
[channel]
history_size = 1000
allowed_delta_types = ["fossil"]
`;

const withDeltas = (name, body) =>
  withConfig(CONFIG, (file) => withServer(`delta-${name}`, ["--config", file], body));

afterEach(closeAll);

/** A document of some KiB, of which publication after publication a few values change. */
function document(n) {
  const rows = Array.from({ length: 30 }, (_, row) => ({
    row, name: `row ${row} of a table – \u00e9\u{1f600}`, price: row === n % 30 ? 1000 + n : 1000 - row, open: (row + n) % 7 > 0,
  }));
  return { n, rows, mood: n % 2 ? "\u00e9" : "\u00ea", last: n % 50 === 0 ? "x".repeat(n) : null };
}

const ways = [
  { name: "json" }, { name: "protobuf", protobuf: true },
  { name: "http_stream", transport: "http_stream" },
  { name: "http_stream and protobuf", transport: "http_stream", protobuf: true },
  { name: "sse", transport: "sse" },
];
for (const { name, ...options } of ways) {
  const say = (value) => (options.protobuf ? new TextEncoder().encode(JSON.stringify(value)) : value);
  const heard = (value) => (options.protobuf ? JSON.parse(new TextDecoder().decode(value)) : value);

  test(`200 publications of a changing document arrive as they were (${name})`, () =>
    withDeltas(`all-${name.replaceAll(" ", "-")}`, async (server) => {
      const ann = await ChatClient.open(server);
      const bob = await ChatClient.open(server, options);
      const plain = await ann.subscribe("room");
      const room = await bob.subscribe("room", { delta: "fossil" });
      for (let n = 0; n < 200; n += 1) await plain.sub.publish(document(n));
      const all = await room.received.atLeast(200);
      assert.deepEqual(all.map(({ data }) => heard(data)), Array.from({ length: 200 }, (_, n) => document(n)));
      assert.deepEqual(all.map(({ offset }) => offset), Array.from({ length: 200 }, (_, n) => n + 1));
      assert.deepEqual((await plain.received.atLeast(200)).map(({ data }) => data), all.map(({ data }) => heard(data)));
      const { numFullPayloads, numDeltaPayloads, bytesReceived, bytesDecoded } = room.sub.deltaStats();
      assert.deepEqual([numFullPayloads, numDeltaPayloads], [1, 199]);
      assert.ok(bytesReceived * 4 < bytesDecoded, `${bytesReceived} of ${bytesDecoded} bytes`);
    }));

  test(`after its connection was cut a client goes on with what is right (${name})`, () =>
    withDeltas(`cut-${name.replaceAll(" ", "-")}`, async (server) => {
      const ann = await ChatClient.open(server);
      const wire = options.transport ? await Wire.to(server) : null;
      const bob = await ChatClient.open(server, { ...options, wire });
      const room = await bob.subscribe("room", { delta: "fossil" });
      for (let n = 0; n < 60; n += 1) {
        if (n % 20 === 10) {
          await room.received.atLeast(n);
          const back = event(room.sub, "subscribed");
          bob.kill();
          await ann.centrifuge.publish("room", document(n));
          assert.equal((await back).recovered, true);
        } else {
          await ann.centrifuge.publish("room", document(n));
        }
      }
      const all = await room.received.atLeast(60);
      assert.deepEqual(all.map(({ data }) => heard(data)), Array.from({ length: 60 }, (_, n) => document(n)));
      assert.ok(room.sub.deltaStats().numDeltaPayloads > 40, JSON.stringify(room.sub.deltaStats()));
    }));

  test(`publications of clients in either encoding follow each other (${name})`, () =>
    withDeltas(`mixed-${name.replaceAll(" ", "-")}`, async (server) => {
      const sayers = [await ChatClient.open(server), await ChatClient.open(server, { protobuf: true })];
      const bob = await ChatClient.open(server, options);
      const room = await bob.subscribe("room", { delta: "fossil" });
      const bytes = (n) => new TextEncoder().encode(JSON.stringify(document(n), null, 1));
      for (let n = 0; n < 40; n += 1) await sayers[n % 2].centrifuge.publish("room", n % 2 ? bytes(n) : document(n));
      const all = await room.received.atLeast(40);
      assert.deepEqual(all.map(({ data }) => heard(data)), Array.from({ length: 40 }, (_, n) => document(n)));
      assert.ok(room.sub.deltaStats().numDeltaPayloads > 0);
      // What is asked for is as it was published.
      const { publications } = await room.sub.history({ limit: 1 });
      assert.deepEqual(heard(publications[0].data), document(0));
      await room.sub.publish(say("the end"));
      assert.equal(heard((await room.received.atLeast(41))[40].data), "the end");
    }));
}

test("where they are not allowed a client that asks for deltas gets publications", () =>
  withServer("delta-none", ["--dev"], async (server) => {
    const ann = await ChatClient.open(server);
    const room = await ann.subscribe("room", { delta: "fossil" });
    for (let n = 0; n < 3; n += 1) await room.sub.publish(document(n));
    const all = await room.received.atLeast(3);
    assert.deepEqual(all.map(({ data }) => data), [0, 1, 2].map(document));
    assert.equal(room.sub.deltaStats().numPublications, 0);
  }));
