// The centrifuge client in its Protobuf encoding, alone and beside the JSON one.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { ChatClient, Received, SECRET, closeAll, event, inSeconds, token } from "./chat.mjs";
import { withConfig, withServer } from "./server.mjs";

/** A server that takes tokens and lets users do everything. */
function withTokens(name, body) {
  const config = `[client]
token_secret = "${SECRET}"
[channel]
allow_subscribe = "user"
allow_publish = "subscriber"
allow_presence = "subscriber"
allow_history = "subscriber"
`;
  return withConfig(config, (file) => withServer(`protobuf-${name}`, ["--config", file], body));
}

afterEach(closeAll);

const bytes = (value) => new TextEncoder().encode(JSON.stringify(value));
const value = (data) => JSON.parse(new TextDecoder().decode(data));
const open = (server, sub, claims = {}) => ChatClient.open(server, { protobuf: true, token: token({ sub, ...claims }) });

test("a client connects, subscribes, publishes and asks in Protobuf", () =>
  withTokens("all", async (server) => {
    const [ann, bob] = [await open(server, "ann", { info: { name: "Ann" } }), await open(server, "bob")];
    assert.equal(ann.protocol, "centrifuge-protobuf");
    const heard = await bob.subscribe("room", { joinLeave: true });
    const [joins, leaves] = [new Received(), new Received()];
    heard.sub.on("join", ({ info }) => { if (info.user !== "bob") joins.push(info); });
    heard.sub.on("leave", ({ info }) => leaves.push(info));
    const said = await ann.subscribe("room");
    assert.equal(said.begun.recoverable, true);
    const [joined] = await joins.atLeast(1);
    assert.deepEqual([joined.client, joined.user, value(joined.connInfo)], [ann.connected.client, "ann", { name: "Ann" }]);

    for (let n = 1; n <= 5; n += 1) await said.sub.publish(bytes({ n }));
    const all = await heard.received.atLeast(5);
    assert.deepEqual(all.map(({ data, offset }) => [value(data).n, offset]), [[1, 1], [2, 2], [3, 3], [4, 4], [5, 5]]);
    assert.equal(all[0].info.user, "ann");

    const { clients } = await heard.sub.presence();
    assert.deepEqual(Object.keys(clients).sort(), [ann.connected.client, bob.connected.client].sort());
    assert.deepEqual(await heard.sub.presenceStats(), { numClients: 2, numUsers: 2 });
    const { epoch, offset, publications } = await heard.sub.history({ limit: 2, reverse: true });
    assert.deepEqual([offset, publications.map(({ data }) => value(data).n)], [5, [5, 4]]);
    const since = await heard.sub.history({ limit: -1, since: { offset: 3, epoch } });
    assert.deepEqual(since.publications.map((one) => one.offset), [4, 5]);
    await assert.rejects(heard.sub.history({ limit: 1, since: { offset: 3, epoch: "other" } }), { code: 112 });
    await assert.rejects(ann.centrifuge.publish("nowhere:room", bytes(1)), { code: 102 });
    await assert.rejects(ann.centrifuge.rpc("none", bytes({})), { code: 104 });

    ann.kill();
    const [left] = await leaves.atLeast(1);
    assert.equal(left.client, ann.connected.client);
  }));

test("after its connection was cut a client has every publication once", () =>
  withTokens("recovery", async (server) => {
    const [ann, bob] = [await open(server, "ann"), await open(server, "bob")];
    const [said, heard] = [await ann.subscribe("storm"), await bob.subscribe("storm")];
    let count = 0;
    for (let round = 0; round < 6; round += 1) {
      const again = event(heard.sub, "subscribed");
      bob.kill();
      for (let i = 0; i < 20; i += 1) {
        count += 1;
        const published = said.sub.publish(Uint8Array.of(count, 0xff, 0));
        if (i % 5 === 0) await published;
      }
      const { wasRecovering, recovered } = await again;
      assert.deepEqual([wasRecovering, recovered], [true, true]);
    }
    const all = await heard.received.atLeast(count);
    assert.deepEqual(all.map(({ data }) => [...data]), Array.from({ length: count }, (_, i) => [i + 1, 0xff, 0]));
  }));

test("a connection and a subscription stay with new tokens", () =>
  withTokens("refresh", async (server) => {
    const [asked, subAsked] = [new Received(), new Received()];
    const ann = await ChatClient.open(server, {
      protobuf: true,
      token: token({ sub: "ann", exp: inSeconds(2) }),
      getToken: async () => { asked.push(0); return token({ sub: "ann", exp: inSeconds(2) }); },
    });
    let lost = 0;
    ann.centrifuge.on("connecting", () => { lost += 1; });
    const { sub, received } = await ann.subscribe("$own", {
      getToken: async ({ channel }) => { subAsked.push(0); return token({ sub: "ann", channel, info: { rank: 1 }, exp: inSeconds(2) }); },
    });
    await asked.atLeast(2);
    await subAsked.atLeast(3);
    await sub.publish(bytes("still here"));
    const [publication] = await received.atLeast(1);
    assert.deepEqual(value(publication.info.chanInfo), { rank: 1 });
    assert.equal(lost, 0);
  }));

test("the server subscribes a client to what its token names", () =>
  withTokens("server-side", async (server) => {
    const news = new ChatClient(server, { protobuf: true, token: token({ sub: "ann", channels: ["news"] }) });
    const [received, subscribed] = [new Received(), new Received()];
    news.centrifuge.on("publication", ({ channel, data }) => received.push([channel, value(data)]));
    news.centrifuge.on("subscribed", ({ channel }) => subscribed.push(channel));
    await news.connect();
    assert.deepEqual(await subscribed.atLeast(1), ["news"]);
    const bob = await open(server, "bob");
    const { sub } = await bob.subscribe("news");
    await sub.publish(bytes(1));
    await received.atLeast(1);
    const again = event(news.centrifuge, "connected");
    news.kill();
    await sub.publish(bytes(2));
    await again;
    await sub.publish(bytes(3));
    assert.deepEqual(await received.atLeast(3), [["news", 1], ["news", 2], ["news", 3]]);
  }));

test("clients of both encodings hear each other in one room", () =>
  withTokens("mixed", async (server) => {
    const json = await ChatClient.open(server, { token: token({ sub: "ann" }) });
    const binary = await open(server, "bob");
    const [one, other] = [await json.subscribe("room", { joinLeave: true }), await binary.subscribe("room", { joinLeave: true })];
    const [jsonLeft, binaryJoined] = [new Received(), new Received()];
    one.sub.on("leave", ({ info }) => jsonLeft.push(info.user));
    other.sub.on("join", ({ info }) => { if (info.user === "eve") binaryJoined.push(info.user); });
    await one.sub.publish({ from: "json", text: "a\nb \u{1F600}" });
    await other.sub.publish(new TextEncoder().encode('{\n  "from": "protobuf"\n}'));
    const [atJson, atBinary] = [await one.received.atLeast(2), await other.received.atLeast(2)];
    const expected = [{ from: "json", text: "a\nb \u{1F600}" }, { from: "protobuf" }];
    assert.deepEqual(atJson.map(({ data }) => data), expected);
    assert.deepEqual(atBinary.map(({ data }) => value(data)), expected);
    assert.equal(new TextDecoder().decode(atBinary[1].data), '{\n  "from": "protobuf"\n}');
    for (const all of [atJson, atBinary]) {
      assert.deepEqual(all.map(({ offset, info }) => [offset, info.user]), [[1, "ann"], [2, "bob"]]);
    }
    const eve = await ChatClient.open(server, { token: token({ sub: "eve" }) });
    await eve.subscribe("room");
    await binaryJoined.atLeast(1);

    // What JSON has no place for ends clients that speak nothing else, alone.
    const gone = event(json.centrifuge, "disconnected");
    await other.sub.publish(Uint8Array.of(0, 0xff));
    assert.equal((await gone).code, 3506);
    assert.deepEqual([...(await other.received.atLeast(3))[2].data], [0, 0xff]);
  }));

test("a stop is told with 3001, after which clients come back", () =>
  withServer("protobuf-stop", ["--dev"], async (server) => {
    const clients = [await ChatClient.open(server), await ChatClient.open(server, { protobuf: true })];
    const away = clients.map(({ centrifuge }) => event(centrifuge, "connecting"));
    const back = clients.map(({ centrifuge }) => event(centrifuge, "connected"));
    assert.equal(await server.stop("SIGTERM"), 0);
    for (const { code, reason } of await Promise.all(away)) assert.deepEqual([code, reason], [3001, "shutdown"]);
    await server.start();
    await Promise.all(back);
  }));
