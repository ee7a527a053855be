// The centrifuge client over what needs no upgrade: an HTTP answer that goes on, in both
// encodings, and server-sent events. What it says goes to /emulation.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { ChatClient, Received, SECRET, Wire, closeAll, event, inSeconds, token } from "./chat.mjs";
import { withConfig, withServer } from "./server.mjs";

const KEY = "a-key-for-the-tests-alone";
const WAYS = [
  { name: "http_stream", transport: "http_stream", protobuf: false },
  { name: "http_stream-protobuf", transport: "http_stream", protobuf: true },
  { name: "sse", transport: "sse", protobuf: false },
];

/** A server that takes tokens and has an API. */
function withTokens(name, body) {
  const config = `api.key = "${KEY}"
[client]
token_secret = "${SECRET}"
[channel]
allow_subscribe = "user"
allow_publish = "subscriber"
allow_presence = "subscriber"
allow_history = "subscriber"
`;
  return withConfig(config, (file) => withServer(`streams-${name}`, ["--config", file], body));
}

async function call(server, method, body) {
  const response = await fetch(`${server.origin}/api/${method}`, { method: "POST", headers: { "X-API-Key": KEY }, body: JSON.stringify(body) });
  assert.equal(response.status, 200);
  return (await response.json()).result;
}

async function metric(server, name) {
  const { body } = await server.get("/metrics");
  return Number(new RegExp(`^${name} (\\d+)$`, "m").exec(body)[1]);
}

afterEach(closeAll);

for (const { name, ...way } of WAYS) {
  const write = (value) => (way.protobuf ? new TextEncoder().encode(JSON.stringify(value)) : value);
  const read = (data) => (way.protobuf ? JSON.parse(new TextDecoder().decode(data)) : data);
  const open = (server, sub, options = {}) => ChatClient.open(server, { ...way, token: token({ sub }), ...options });

  test(`${name}: a client connects, subscribes, publishes and asks`, () =>
    withTokens(`${name}-all`, async (server) => {
      const [ann, bob] = [await open(server, "ann"), await open(server, "bob")];
      assert.equal(ann.connected.transport, way.transport);
      assert.equal(await metric(server, "hioload_chat_streams"), 2);
      const heard = await bob.subscribe("room", { joinLeave: true });
      const [joins, leaves] = [new Received(), new Received()];
      heard.sub.on("join", ({ info }) => { if (info.user !== "bob") joins.push(info); });
      heard.sub.on("leave", ({ info }) => leaves.push(info));
      const said = await ann.subscribe("room");
      assert.equal((await joins.atLeast(1))[0].client, ann.connected.client);
      const text = "a\nb \u{1F600} \"\\ \u2028";
      for (let n = 1; n <= 20; n += 1) await said.sub.publish(write({ n, text }));
      const all = await heard.received.atLeast(20);
      assert.deepEqual(all.map(({ data, offset }) => [read(data).n, offset]), Array.from({ length: 20 }, (_, i) => [i + 1, i + 1]));
      assert.equal(read(all[0].data).text, text);
      assert.equal(all[0].info.user, "ann");
      const { clients } = await heard.sub.presence();
      assert.deepEqual(Object.values(clients).map(({ user }) => user).sort(), ["ann", "bob"]);
      assert.deepEqual(await heard.sub.presenceStats(), { numClients: 2, numUsers: 2 });
      const { offset, publications } = await heard.sub.history({ limit: 2, reverse: true });
      assert.deepEqual([offset, publications.map(({ data }) => read(data).n)], [20, [20, 19]]);
      await assert.rejects(ann.centrifuge.publish("nowhere:room", write(1)), { code: 102 });
      await assert.rejects(ann.centrifuge.rpc("none", write({})), { code: 104 });
      // One that is larger than what the client and the server read at once.
      const large = "\"x".repeat(12_000);
      await said.sub.publish(write({ n: 21, text: large }));
      assert.equal(read((await heard.received.atLeast(21))[20].data).text, large);
      ann.close();
      assert.equal((await leaves.atLeast(1))[0].client, ann.connected.client);
    }));

  test(`${name}: those on WebSockets are heard, and hear`, () =>
    withTokens(`${name}-mixed`, async (server) => {
      const ann = await open(server, "ann");
      const bob = await ChatClient.open(server, { token: token({ sub: "bob" }) });
      const [one, other] = [await ann.subscribe("room"), await bob.subscribe("room")];
      await one.sub.publish(write({ from: "ann" }));
      await other.sub.publish({ from: "bob" });
      const expected = [{ from: "ann" }, { from: "bob" }];
      assert.deepEqual((await one.received.atLeast(2)).map(({ data }) => read(data)), expected);
      assert.deepEqual((await other.received.atLeast(2)).map(({ data }) => data), expected);
    }));

  test(`${name}: after its connections were cut a client has every publication once`, () =>
    withTokens(`${name}-recovery`, async (server) => {
      const speaker = await ChatClient.open(server, { token: token({ sub: "ann" }) });
      const bob = await open(server, "bob", { wire: await Wire.to(server) });
      const [said, heard] = [await speaker.subscribe("storm"), await bob.subscribe("storm")];
      let count = 0;
      for (let round = 0; round < 6; round += 1) {
        const again = event(heard.sub, "subscribed");
        bob.kill();
        for (let i = 0; i < 20; i += 1) {
          count += 1;
          const published = said.sub.publish(count);
          if (i % 5 === 0) await published;
        }
        const { wasRecovering, recovered } = await again;
        assert.deepEqual([wasRecovering, recovered], [true, true]);
      }
      const all = await heard.received.atLeast(count);
      assert.deepEqual(all.map(({ data }) => read(data)), Array.from({ length: count }, (_, i) => i + 1));
    }));

  test(`${name}: the application subscribes, unsubscribes and ends connections`, () =>
    withTokens(`${name}-api`, async (server) => {
      const ann = await open(server, "ann");
      const received = new Received();
      ann.centrifuge.on("publication", (publication) => received.push(publication));
      const subscribed = event(ann.centrifuge, "subscribed");
      await call(server, "subscribe", { user: "ann", channel: "news" });
      assert.equal((await subscribed).channel, "news");
      await call(server, "publish", { channel: "news", data: { n: 1 } });
      assert.deepEqual(read((await received.atLeast(1))[0].data), { n: 1 });
      const unsubscribed = event(ann.centrifuge, "unsubscribed");
      await call(server, "unsubscribe", { user: "ann", channel: "news" });
      assert.equal((await unsubscribed).channel, "news");

      const [away, back] = [event(ann.centrifuge, "connecting"), event(ann.centrifuge, "connected")];
      await call(server, "disconnect", { user: "ann", disconnect: { code: 3011, reason: "come again" } });
      assert.deepEqual(await away, { code: 3011, reason: "come again" });
      await back;
      const gone = event(ann.centrifuge, "disconnected");
      await call(server, "disconnect", { user: "ann" });
      assert.deepEqual(await gone, { code: 3503, reason: "force disconnect" });
    }));

  test(`${name}: who has no valid token is told why, and one that expires is replaced`, () =>
    withTokens(`${name}-refused`, async (server) => {
      const refused = new ChatClient(server, { ...way, token: token({ sub: "ann" }, "another secret than theirs") });
      const disconnected = event(refused.centrifuge, "disconnected");
      refused.centrifuge.connect();
      assert.deepEqual(await disconnected, { code: 3500, reason: "invalid token" });
      const asked = new Received();
      const ann = await open(server, "ann", {
        token: token({ sub: "ann", exp: inSeconds(2) }),
        getToken: async () => { asked.push(0); return token({ sub: "ann", exp: inSeconds(2) }); },
      });
      let lost = 0;
      ann.centrifuge.on("connecting", () => { lost += 1; });
      const { sub, received } = await ann.subscribe("room");
      await asked.atLeast(2);
      await sub.publish(write("still here"));
      await received.atLeast(1);
      assert.equal(lost, 0);
    }));

  test(`${name}: pings are answered, and a stop is told with 3001, after which clients come back`, () =>
    withConfig(`[client]\ninsecure = true\nping = "1s"\npong = "900ms"\n`, (file) =>
      withServer(`streams-${name}-stop`, ["--config", file], async (server) => {
        const ann = await ChatClient.open(server, way);
        let lost = 0;
        ann.centrifuge.on("connecting", () => { lost += 1; });
        const { sub, received } = await ann.subscribe("room");
        const pongs = async () => Number(/hioload_chat_commands_total\{command="pong"\} (\d+)/.exec((await server.get("/metrics")).body)[1]);
        const deadline = Date.now() + 20_000;
        while (await pongs() < 2) {
          assert.ok(Date.now() < deadline, "no pongs");
          await new Promise((resolve) => setTimeout(resolve, 50));
        }
        assert.equal(lost, 0);
        const [away, back, again] = [event(ann.centrifuge, "connecting"), event(ann.centrifuge, "connected"), event(sub, "subscribed")];
        assert.equal(await server.stop("SIGTERM"), 0);
        assert.deepEqual(await away, { code: 3001, reason: "shutdown" });
        await server.start();
        await back;
        await again;
        await sub.publish(write("back"));
        await received.atLeast(1);
      })));
}

test("a client whose WebSocket is refused falls back", () =>
  withTokens("fallback", async (server) => {
    for (const transport of ["http_stream", "sse"]) {
      // A proxy that knows no upgrades would answer like this path.
      const before = [{ transport: "websocket", endpoint: `ws://127.0.0.1:${server.port}/health` }];
      const ann = await ChatClient.open(server, { transport, before, token: token({ sub: "ann" }) });
      assert.equal(ann.connected.transport, transport);
    }
  }));
