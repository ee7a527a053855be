// The centrifuge client against the chat of the server, behind which an application decides.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { afterEach, test } from "node:test";
import { ChatClient, Received, closeAll, event } from "./chat.mjs";
import { withConfig, withServer } from "./server.mjs";

/** Runs `body` with an application that answers events by these functions, and what it was asked. */
async function withApplication(name, events, toml, body) {
  const asked = [];
  const application = createServer(async (request, response) => {
    let text = "";
    for await (const part of request) text += part;
    const kind = request.url.slice(1);
    const question = JSON.parse(text);
    asked.push({ kind, question, headers: request.headers });
    response.setHeader("Content-Type", "application/json");
    response.end(JSON.stringify(events[kind](question, request.headers)));
  });
  await new Promise((resolve) => application.listen(0, "127.0.0.1", resolve));
  const config = `${toml}
[[application]]
name = "app"
endpoints = ["http://127.0.0.1:${application.address().port}/{event}"]
events = [${Object.keys(events).map((event) => `"${event}"`)}]
headers = ["Cookie"]
timeout = "20s"
total_timeout = "25s"
`;
  try {
    await withConfig(config, (file) =>
      withServer(`proxy-${name}`, ["--config", file], (server) => body(server, asked)));
  } finally {
    application.closeAllConnections();
    application.close();
  }
}

afterEach(closeAll);

const EVENTS = {
  connect: ({ data }, headers) => data?.user
    ? { result: { user: data.user, info: { name: data.user }, data: { cookie: headers.cookie }, subs: { news: { data: "since monday" } } } }
    : { disconnect: { code: 4501, reason: "who are you" } },
  rpc: ({ user, method, data }) => method === "double"
    ? { result: { data: { user, number: 2 * data.number } } }
    : { error: { code: 404, message: `no ${method}` } },
  subscribe: ({ user, channel, data }) => channel === `of-${user}` || data?.key === "open"
    ? { result: { info: { key: data?.key ?? null }, data: { channel } } }
    : { error: { code: 403, message: "not yours" } },
  message: ({ data }) => data.leave
    ? { disconnect: { code: 4502, reason: "as you wish" } }
    : data.text ? {} : { error: { code: 400, message: "says nothing" } },
  publish: ({ data }) => data.text.includes("rude")
    ? { error: { code: 450, message: "be nice" } }
    : { result: { data: { ...data, text: data.text.toUpperCase() } } },
};

for (const protobuf of [false, true]) {
  const encoding = protobuf ? "protobuf" : "json";
  /** The client that speaks bytes passes them on as they are. */
  const say = (value) => (protobuf ? new TextEncoder().encode(JSON.stringify(value)) : value);
  const heard = (value) => (protobuf ? JSON.parse(new TextDecoder().decode(value)) : value);
  const as = (user) => ({ protobuf, data: say({ user }), headers: { Cookie: "session=7" } });

  test(`the application lets clients in and answers their calls (${encoding})`, () =>
    withApplication(`connect-${encoding}`, EVENTS, "", async (server, asked) => {
      const ann = new ChatClient(server, as("ann"));
      const news = event(ann.centrifuge, "subscribed");
      const connected = await ann.connect();
      assert.deepEqual(heard(connected.data), { cookie: "session=7" });
      const { channel, data } = await news;
      assert.deepEqual([channel, heard(data)], ["news", "since monday"]);
      const called = await ann.centrifuge.rpc("double", say({ number: 21 }));
      assert.deepEqual(heard(called.data), { user: "ann", number: 42 });
      await assert.rejects(ann.centrifuge.rpc("triple", say({})), { code: 404, message: "no triple" });
      const [{ question, headers }] = asked;
      assert.deepEqual([question.client, question.protocol], [connected.client, encoding]);
      assert.equal(headers.cookie, "session=7");

      const nobody = new ChatClient(server, { protobuf });
      const refused = event(nobody.centrifuge, "disconnected");
      nobody.centrifuge.connect();
      const { code, reason } = await refused;
      assert.deepEqual([code, reason], [4501, "who are you"]);
    }));

  test(`the application decides who subscribes and what is published (${encoding})`, () =>
    withApplication(`channels-${encoding}`, EVENTS, "", async (server) => {
      const [ann, bob] = [await ChatClient.open(server, as("ann")), await ChatClient.open(server, as("bob"))];
      const own = await ann.subscribe("of-ann");
      assert.deepEqual(heard(own.begun.data), { channel: "of-ann" });
      const sub = bob.centrifuge.newSubscription("of-ann");
      const refused = event(sub, "unsubscribed");
      sub.subscribe();
      assert.deepEqual([(await refused).code, sub.state], [403, "unsubscribed"]);
      bob.centrifuge.removeSubscription(sub);

      const guest = await bob.subscribe("of-ann", { data: say({ key: "open" }) });
      await assert.rejects(guest.sub.publish(say({ text: "rude words" })), { code: 450 });
      await guest.sub.publish(say({ text: "hello" }));
      const [publication] = await own.received.atLeast(1);
      assert.deepEqual([heard(publication.data), publication.info.user], [{ text: "HELLO" }, "bob"]);
      assert.deepEqual(heard(publication.info.chanInfo), { key: "open" });
      const news = new Received();
      ann.centrifuge.on("publication", (publication) => news.push(publication));
      await bob.centrifuge.publish("news", say({ text: "it rains" }));
      const [told] = await news.atLeast(1);
      assert.deepEqual([told.channel, heard(told.data)], ["news", { text: "IT RAINS" }]);
    }));
}

for (const options of [{}, { protobuf: true }, { transport: "http_stream" }, { transport: "sse" }]) {
  const name = options.transport ?? (options.protobuf ? "protobuf" : "json");
  const say = (value) => (options.protobuf ? new TextEncoder().encode(JSON.stringify(value)) : value);

  test(`the application hears messages, and may end their client (${name})`, () =>
    withApplication(`messages-${name}`, EVENTS, "", async (server, asked) => {
      const ann = await ChatClient.open(server, { ...options, data: say({ user: "ann" }) });
      const left = event(ann.centrifuge, "disconnected");
      for (const text of ["one", "", "two"]) {
        await ann.centrifuge.send(say({ text }));
        await ann.centrifuge.rpc("double", say({ number: 1 }));
      }
      await ann.centrifuge.send(say({ leave: true }));
      const { code, reason } = await left;
      assert.deepEqual([code, reason], [4502, "as you wish"]);
      const messages = asked.filter(({ kind }) => kind === "message").map(({ question }) => question);
      assert.deepEqual(messages.map(({ data }) => data), [{ text: "one" }, { text: "" }, { text: "two" }, { leave: true }]);
      assert.deepEqual([messages[0].user, messages[0].transport], ["ann", options.transport ?? "websocket"]);
    }));
}

// It subscribes in the frame in which it connects, before the application has said who it is.
test("a client comes back through the application, and recovers what it missed", () =>
  withApplication("recovery", EVENTS, "", async (server, asked) => {
    const ann = await ChatClient.open(server, { data: { user: "ann" } });
    const bob = await ChatClient.open(server, { data: { user: "bob" } });
    const own = await ann.subscribe("of-ann");
    const back = event(own.sub, "subscribed");
    ann.kill();
    for (let n = 1; n <= 3; n += 1) await bob.centrifuge.publish("of-ann", { text: `m${n}` });
    assert.equal((await back).recovered, true);
    const all = await own.received.atLeast(3);
    assert.deepEqual(all.map(({ data, offset }) => [data.text, offset]), [["M1", 1], ["M2", 2], ["M3", 3]]);
    const of = (kind) => asked.filter((one) => one.kind === kind).length;
    assert.deepEqual([of("connect"), of("subscribe")], [3, 2]);
  }));
