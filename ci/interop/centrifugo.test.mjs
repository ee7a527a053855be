// The centrifuge client, as applications use it, against the chat of the server.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { ChatClient, Received, SECRET, closeAll, event, inSeconds, token } from "./chat.mjs";
import { withConfig, withServer } from "./server.mjs";

/** A server that takes tokens, with these lines of configuration beside. */
function withTokens(name, toml, body) {
  const config = `[client]\ntoken_secret = "${SECRET}"\n${toml}`;
  return withConfig(config, (file) => withServer(`centrifugo-${name}`, ["--config", file], body));
}

afterEach(closeAll);

const OPEN = `
[channel]
allow_subscribe = "user"
allow_publish = "subscriber"
allow_presence = "subscriber"
allow_history = "subscriber"
`;

test("in development mode anybody connects, subscribes and publishes", () =>
  withServer("centrifugo-dev", ["--dev"], async (server) => {
    const [ann, bob] = [await ChatClient.open(server), await ChatClient.open(server)];
    assert.notEqual(ann.connected.client, bob.connected.client);
    const [heard, also] = [await ann.subscribe("room"), await bob.subscribe("room")];
    assert.equal(heard.begun.recoverable, true);
    for (let n = 1; n <= 5; n += 1) await ann.centrifuge.publish("room", { n, text: "a\nb \u{1F600}" });
    for (const { received } of [heard, also]) {
      const all = await received.atLeast(5);
      assert.deepEqual(all.map(({ data, offset }) => [data.n, offset]), [[1, 1], [2, 2], [3, 3], [4, 4], [5, 5]]);
      assert.equal(all[0].data.text, "a\nb \u{1F600}");
      assert.equal(all[0].info.client, ann.connected.client);
    }
    await assert.rejects(ann.centrifuge.rpc("none", {}), { code: 104 });
    await assert.rejects(ann.centrifuge.publish("nowhere:room", {}), { code: 102 });
    const done = event(also.sub, "unsubscribed");
    also.sub.unsubscribe();
    await done;
    await ann.centrifuge.publish("room", { n: 6 });
    await heard.received.atLeast(6);
    assert.equal(also.received.all.length, 5);
  }));

test("a token says who somebody is, to the others too", () =>
  withTokens("tokens", OPEN, async (server) => {
    const ann = await ChatClient.open(server, { token: token({ sub: "ann", info: { name: "Ann" } }) });
    const bob = await ChatClient.open(server, { token: token({ sub: "bob" }) });
    const heard = await bob.subscribe("room", { joinLeave: true });
    const [joins, leaves] = [new Received(), new Received()];
    // Its own join may be among them, or have come before.
    heard.sub.on("join", ({ info }) => { if (info.user !== "bob") joins.push(info); });
    heard.sub.on("leave", ({ info }) => leaves.push(info));
    const said = await ann.subscribe("room");
    assert.deepEqual(await joins.atLeast(1), [{ client: ann.connected.client, user: "ann", connInfo: { name: "Ann" } }]);
    await said.sub.publish("hello");
    const [publication] = await heard.received.atLeast(1);
    assert.equal(publication.info.user, "ann");
    assert.deepEqual(publication.info.connInfo, { name: "Ann" });

    const { clients } = await heard.sub.presence();
    assert.deepEqual(Object.keys(clients).sort(), [ann.connected.client, bob.connected.client].sort());
    assert.equal(clients[ann.connected.client].user, "ann");
    assert.deepEqual(await heard.sub.presenceStats(), { numClients: 2, numUsers: 2 });
    ann.kill();
    const [left] = await leaves.atLeast(1);
    assert.equal(left.client, ann.connected.client);
  }));

test("who has no valid token is told why", () =>
  withTokens("refusals", OPEN, async (server) => {
    const refused = async (options) => {
      const { centrifuge } = new ChatClient(server, options);
      const disconnected = event(centrifuge, "disconnected");
      centrifuge.connect();
      return disconnected;
    };
    assert.equal((await refused({})).code, 101);
    const forged = await refused({ token: token({ sub: "ann" }, "another secret than theirs") });
    assert.deepEqual(forged, { code: 3500, reason: "invalid token" });

    // An expired one is replaced by the application's next.
    let asked = 0;
    const ann = await ChatClient.open(server, {
      token: token({ sub: "ann", exp: inSeconds(-10) }),
      getToken: async () => { asked += 1; return token({ sub: "ann" }); },
    });
    assert.equal(asked, 1);
    await assert.rejects(ann.centrifuge.publish("elsewhere", {}), { code: 103 });
  }));

test("history is read forward and backward", () =>
  withTokens("history", `${OPEN}history_size = 8\n`, async (server) => {
    const ann = await ChatClient.open(server, { token: token({ sub: "ann" }) });
    const { sub, received } = await ann.subscribe("past");
    for (let n = 1; n <= 10; n += 1) await sub.publish(n);
    await received.atLeast(10);
    const numbers = async (options) => (await sub.history(options)).publications.map(({ data }) => data);
    const { epoch, offset, publications } = await sub.history();
    assert.deepEqual([offset, publications.length], [10, 0]);
    assert.deepEqual(await numbers({ limit: -1 }), [3, 4, 5, 6, 7, 8, 9, 10]);
    assert.deepEqual(await numbers({ limit: 3, reverse: true }), [10, 9, 8]);
    assert.deepEqual(await numbers({ limit: 2, since: { offset: 5, epoch } }), [6, 7]);
    assert.deepEqual(await numbers({ limit: 2, since: { offset: 5, epoch }, reverse: true }), [4, 3]);
    await assert.rejects(sub.history({ limit: 1, since: { offset: 5, epoch: "other" } }), { code: 112 });
  }));

test("after its connection was cut a client has every publication once", () =>
  withServer("centrifugo-recovery", ["--dev"], async (server) => {
    const KILLS = 12;
    const speaker = await ChatClient.open(server);
    const listeners = [];
    for (let i = 0; i < 4; i += 1) {
      const client = await ChatClient.open(server);
      const listener = { client, ...await client.subscribe("storm"), begins: [] };
      listener.sub.on("subscribed", ({ wasRecovering, recovered }) => listener.begins.push({ wasRecovering, recovered }));
      listeners.push(listener);
    }
    let said = 0;
    for (let round = 0; round < KILLS; round += 1) {
      const listener = listeners[round % listeners.length];
      const again = event(listener.sub, "subscribed");
      listener.client.kill();
      // Some before it is back, some just then, some later.
      for (let i = 0; i < 25; i += 1) {
        said += 1;
        const published = speaker.centrifuge.publish("storm", said);
        if (i % 5 === 0) await published;
      }
      await again;
    }
    for (const { received, begins } of listeners) {
      const all = await received.atLeast(said);
      assert.deepEqual(all.map(({ data }) => data), Array.from({ length: said }, (_, i) => i + 1));
      assert.equal(begins.length, KILLS / listeners.length);
      assert.ok(begins.every(({ wasRecovering, recovered }) => wasRecovering && recovered), JSON.stringify(begins));
    }
  }));

test("what is no longer kept is not claimed to be recovered", () =>
  withTokens("lost", `${OPEN}history_size = 5\n`, async (server) => {
    const [ann, bob] = await Promise.all(["ann", "bob"].map((sub) => ChatClient.open(server, { token: token({ sub }) })));
    const [said, heard] = [await ann.subscribe("room"), await bob.subscribe("room")];
    await said.sub.publish(0);
    await heard.received.atLeast(1);
    bob.centrifuge.disconnect();
    for (let n = 1; n <= 10; n += 1) await said.sub.publish(n);
    const again = event(heard.sub, "subscribed");
    await bob.connect();
    const { wasRecovering, recovered, streamPosition } = await again;
    assert.deepEqual([wasRecovering, recovered, streamPosition.offset], [true, false, 11]);
    await said.sub.publish(11);
    assert.deepEqual((await heard.received.atLeast(2)).map(({ data }) => data), [0, 11]);
  }));

test("a connection ends with its token", () =>
  withTokens("expired", `expired_close_delay = "0s"\n${OPEN}`, async (server) => {
    const ann = await ChatClient.open(server, { token: token({ sub: "ann", exp: inSeconds(3) }), getToken: () => new Promise(() => {}) });
    const ended = await event(ann.centrifuge, "connecting");
    assert.deepEqual([ended.code, ended.reason], [3005, "connection expired"]);
  }));

test("a connection stays with a new token", () =>
  withTokens("refresh", OPEN, async (server) => {
    const asked = new Received();
    const ann = await ChatClient.open(server, {
      token: token({ sub: "ann", exp: inSeconds(2) }),
      getToken: async () => { asked.push(0); return token({ sub: "ann", exp: inSeconds(2) }); },
    });
    let lost = 0;
    ann.centrifuge.on("connecting", () => { lost += 1; });
    const { sub, received } = await ann.subscribe("room");
    await asked.atLeast(3);
    await sub.publish("still here");
    await received.atLeast(1);
    assert.equal(lost, 0);
  }));

test("private channels take a token of their own", () =>
  withTokens("private", OPEN, async (server) => {
    const ann = await ChatClient.open(server, { token: token({ sub: "ann" }) });
    const refused = ann.centrifuge.newSubscription("$secret", { token: token({ sub: "bob", channel: "$secret" }) });
    const unsubscribed = event(refused, "unsubscribed");
    refused.subscribe();
    assert.equal((await unsubscribed).code, 103);
    ann.centrifuge.removeSubscription(refused);
    const asked = new Received();
    const { sub, received } = await ann.subscribe("$secret", {
      getToken: async ({ channel }) => { asked.push(channel); return token({ sub: "ann", channel, info: { rank: 1 }, exp: inSeconds(2) }); },
    });
    await sub.publish("psst");
    const [publication] = await received.atLeast(1);
    assert.deepEqual(publication.info.chanInfo, { rank: 1 });
    await asked.atLeast(2);
    await sub.publish("refreshed");
    await received.atLeast(2);
  }));

test("the server subscribes a client to what its token names", () =>
  withTokens("server-side", OPEN, async (server) => {
    const news = new ChatClient(server, { token: token({ sub: "ann", channels: ["news", "own#ann"] }) });
    const received = new Received();
    news.centrifuge.on("publication", (publication) => received.push(publication));
    const subscribed = new Received();
    news.centrifuge.on("subscribed", ({ channel }) => subscribed.push(channel));
    await news.connect();
    assert.deepEqual([...await subscribed.atLeast(2)].sort(), ["news", "own#ann"]);
    const bob = await ChatClient.open(server, { token: token({ sub: "bob" }) });
    const { sub } = await bob.subscribe("news");
    await sub.publish(1);
    assert.deepEqual((await received.atLeast(1)).map(({ channel, data }) => [channel, data]), [["news", 1]]);
    const again = event(news.centrifuge, "connected");
    news.kill();
    await sub.publish(2);
    await again;
    await sub.publish(3);
    assert.deepEqual((await received.atLeast(3)).map(({ data }) => data), [1, 2, 3]);
  }));

test("the application publishes, subscribes and ends connections over HTTP", () => {
  const key = "a-key-for-the-tests-alone";
  return withTokens("api", `${OPEN}[api]\nkey = "${key}"\n`, async (server) => {
    const call = async (method, body) => {
      const response = await fetch(`${server.origin}/api/${method}`, { method: "POST", headers: { "X-API-Key": key }, body: JSON.stringify(body) });
      assert.equal(response.status, 200);
      return (await response.json()).result;
    };
    const [ann, bob] = await Promise.all(["ann", "bob"].map((sub) => ChatClient.open(server, { token: token({ sub }) })));
    const received = new Received();
    ann.centrifuge.on("publication", (publication) => received.push(publication));
    const heard = await bob.subscribe("room");
    const subscribed = event(ann.centrifuge, "subscribed");
    assert.deepEqual(await call("subscribe", { user: "ann", channel: "room" }), {});
    assert.equal((await subscribed).channel, "room");
    const { offset } = await call("publish", { channel: "room", data: { n: 1 }, tags: { from: "app" } });
    assert.equal(offset, 1);
    const [told] = await received.atLeast(1);
    assert.deepEqual([told.channel, told.data, told.tags], ["room", { n: 1 }, { from: "app" }]);
    await heard.received.atLeast(1);
    assert.equal((await call("presence_stats", { channel: "room" })).num_users, 2);

    const unsubscribed = event(ann.centrifuge, "unsubscribed");
    await call("unsubscribe", { user: "ann", channel: "room" });
    assert.equal((await unsubscribed).channel, "room");
    const ended = event(heard.sub, "unsubscribed");
    await call("unsubscribe", { user: "bob", channel: "room" });
    assert.equal((await ended).code, 2000);

    const gone = event(bob.centrifuge, "disconnected");
    await call("disconnect", { user: "bob" });
    assert.deepEqual(await gone, { code: 3503, reason: "force disconnect" });
    const away = event(ann.centrifuge, "connecting");
    const back = event(ann.centrifuge, "connected");
    await call("disconnect", { user: "ann", disconnect: { code: 3011, reason: "come again" } });
    assert.deepEqual(await away, { code: 3011, reason: "come again" });
    await back;
    const [node] = (await call("info", {})).nodes;
    assert.deepEqual([node.num_clients, node.num_users], [1, 1]);
  });
});
