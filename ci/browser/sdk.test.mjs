// The centrifuge client in a real browser, on pages of another origin, in both encodings.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, afterEach, before, test } from "node:test";
import { Member, Origin, SECRET, inSeconds, token } from "./sdk.mjs";
import { ServerProcess } from "./server.mjs";
import { Tabs, Wire, artifacts, binary } from "./tabs.mjs";

const KEY = "a-key-for-the-tests-alone";
const UNREACHABLE = /WebSocket connection to .* failed|ERR_CONNECTION_(REFUSED|RESET|CLOSED)|ERR_EMPTY_RESPONSE/;
const OTHERS = /WebSocket connection to .* failed: .*403/;

const tabs = new Tabs(), wire = new Wire(), origin = new Origin(), stranger = new Origin();
const home = mkdtempSync(path.join(tmpdir(), "hioload-sdk-"));
const endpoint = (of) => `${of.origin.replace("http", "ws")}/connection/websocket`;
let server;
let members = [];

/** Somebody with a token for this user. */
async function open(encoding, user, { at = server, claims = {}, ...options } = {}) {
  const member = await Member.open(tabs, origin, encoding, endpoint(at), { first: token({ sub: user, ...claims }), ...options });
  members.push(member);
  return member;
}

async function api(method, body) {
  const response = await fetch(`${server.origin}/api/${method}`, { method: "POST", headers: { "X-API-Key": KEY }, body: JSON.stringify(body) });
  assert.equal(response.status, 200);
  const { result, error } = await response.json();
  assert.equal(error, undefined, method);
  return result;
}

const numbers = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

before(async () => {
  await Promise.all([origin.start(), stranger.start()]);
  const file = path.join(home, "server.toml");
  writeFileSync(file, `[client]
token_secret = "${SECRET}"
allowed_origins = ["${origin.url}"]
[api]
key = "${KEY}"
[channel]
allow_subscribe = "user"
allow_publish = "subscriber"
allow_presence = "subscriber"
allow_history = "subscriber"
history_size = 1000
persist = true
[persistence]
path = ${JSON.stringify(path.join(home, "history.redb"))}
`);
  server = new ServerProcess(binary, path.join(artifacts, "browser-sdk-server.log"), ["--config", file]);
  await server.start();
  await wire.start(server.port);
  await tabs.start();
});

after(async () => {
  await tabs.stop();
  wire.stop();
  origin.stop();
  stranger.stop();
  await server?.stop("SIGKILL");
  rmSync(home, { recursive: true, force: true });
});

afterEach(async () => {
  await Promise.all(members.map((member) => member.close()));
  members = [];
  tabs.excused = null;
  wire.mend();
});

for (const encoding of ["json", "protobuf"]) {
  test(`${encoding}: a page connects with a token, subscribes, publishes and asks`, async () => {
    const room = `${encoding}-room`;
    const [ann, bob] = await Promise.all([open(encoding, "ann", { claims: { info: { name: "Ann" } } }), open(encoding, "bob")]);
    const { recoverable } = await bob.subscribe(room, { joinLeave: true });
    assert.equal(recoverable, true);
    await ann.subscribe(room);
    const joins = await bob.atLeast(room, "join", 1);
    if (joins.at(-1).info.user === "bob") joins.push((await bob.atLeast(room, "join", 2)).at(-1));
    const [{ client: first }, { client: second }] = [(await ann.told("", "connected"))[0], (await bob.told("", "connected"))[0]];
    const { client, user, connInfo } = joins.at(-1).info;
    assert.deepEqual([client, user, connInfo], [first, "ann", { name: "Ann" }]);

    for (const n of numbers(1, 5)) assert.deepEqual(await ann.publish(room, { n, text: "a\nb \u{1F600}" }), {});
    for (const member of [ann, bob]) {
      const all = await member.atLeast(room, "publication", 5);
      assert.deepEqual(all.map(({ data, offset, info }) => [data.n, offset, info.user]), numbers(1, 5).map((n) => [n, n, "ann"]));
      assert.equal(all[0].data.text, "a\nb \u{1F600}");
    }
    const { clients } = await bob.ask(room, "presence");
    assert.deepEqual(Object.keys(clients).sort(), [first, second].sort());
    assert.equal(clients[first].user, "ann");
    assert.deepEqual(await bob.ask(room, "presenceStats"), { numClients: 2, numUsers: 2 });
    const latest = await bob.ask(room, "history", { limit: 2, reverse: true });
    assert.deepEqual([latest.offset, latest.publications.map(({ data }) => data.n)], [5, [5, 4]]);
    const since = await bob.ask(room, "history", { limit: -1, since: { offset: 3, epoch: latest.epoch } });
    assert.deepEqual(since.publications.map(({ offset }) => offset), [4, 5]);
    assert.deepEqual(await bob.ask(room, "history", { limit: 1, since: { offset: 3, epoch: "other" } }), { refused: 112 });

    await ann.close();
    members.shift();
    const [left] = await bob.atLeast(room, "leave", 1);
    assert.equal(left.info.client, first);
  });

  test(`${encoding}: after its connection was cut a page has every publication once`, async () => {
    const room = `${encoding}-storm`;
    const [ann, bob] = await Promise.all([open(encoding, "ann"), open(encoding, "bob", { at: wire })]);
    await ann.subscribe(room);
    await bob.subscribe(room);
    tabs.excused = UNREACHABLE;
    let said = 0;
    for (let round = 1; round <= 3; round += 1) {
      wire.cut();
      await bob.atLeast(room, "subscribing", round + 1);
      for (let i = 0; i < 10; i += 1) { said += 1; await ann.publish(room, said); }
      wire.mend();
      const { wasRecovering, recovered } = (await bob.atLeast(room, "subscribed", round + 1)).at(-1);
      assert.deepEqual([wasRecovering, recovered], [true, true]);
      said += 1;
      await ann.publish(room, said);
    }
    const all = await bob.atLeast(room, "publication", said);
    assert.deepEqual(all.map(({ data, offset }) => [data, offset]), numbers(1, said).map((n) => [n, n]));
  });

  test(`${encoding}: a page recovers across a stop and a kill of the server`, async () => {
    const room = `${encoding}-kept`;
    const [ann, bob] = await Promise.all([open(encoding, "ann"), open(encoding, "bob", { claims: { channels: [room] } })]);
    await ann.subscribe(room);
    await bob.atLeast("", "subscribed", 1);
    tabs.excused = UNREACHABLE;
    let said = 0;
    for (const [round, signal] of ["SIGTERM", "SIGKILL"].entries()) {
      for (let i = 0; i < 5; i += 1) { said += 1; await ann.publish(room, said); }
      assert.equal(await server.stop(signal), signal === "SIGTERM" ? 0 : null);
      await server.start();
      // Perhaps before any of the pages is back.
      said += 1;
      await api("publish", { channel: room, data: said });
      for (const begins of [await ann.atLeast(room, "subscribed", round + 2), await bob.atLeast("", "subscribed", round + 2)]) {
        const { wasRecovering, recovered } = begins.at(-1);
        assert.deepEqual([wasRecovering, recovered], [true, true], signal);
      }
      const { code, reason } = (await ann.atLeast("", "connecting", round + 2)).at(-1);
      if (signal === "SIGTERM") assert.deepEqual([code, reason], [3001, "shutdown"]);
    }
    for (const all of [await ann.atLeast(room, "publication", said), await bob.atLeast("", "publication", said)]) {
      assert.deepEqual(all.map(({ data, offset }) => [data, offset]), numbers(1, said).map((n) => [n, n]));
    }
  });

  test(`${encoding}: the server subscribes, unsubscribes and disconnects a page`, async () => {
    const [room, news] = [`${encoding}-led`, `${encoding}-news`];
    const [ann, bob] = [`${encoding}-ann`, `${encoding}-bob`];
    const [led, own] = await Promise.all([open(encoding, ann, { claims: { channels: [news] } }), open(encoding, bob)]);
    assert.equal((await led.atLeast("", "subscribed", 1))[0].channel, news);
    await own.subscribe(room);
    await api("subscribe", { user: ann, channel: room });
    assert.equal((await led.atLeast("", "subscribed", 2))[1].channel, room);
    await api("publish", { channel: room, data: { n: 1 }, tags: { from: "app" } });
    const [{ channel, data, tags }] = await led.atLeast("", "publication", 1);
    assert.deepEqual([channel, data, tags], [room, { n: 1 }, { from: "app" }]);
    await own.atLeast(room, "publication", 1);

    await api("unsubscribe", { user: ann, channel: room });
    assert.equal((await led.atLeast("", "unsubscribed", 1))[0].channel, room);
    await api("unsubscribe", { user: bob, channel: room });
    assert.equal((await own.atLeast(room, "unsubscribed", 1))[0].code, 2000);
    await api("disconnect", { user: bob });
    assert.deepEqual(await own.atLeast("", "disconnected", 1), [{ code: 3503, reason: "force disconnect" }]);
    await api("disconnect", { user: ann, disconnect: { code: 3011, reason: "come again" } });
    assert.deepEqual((await led.atLeast("", "connecting", 2))[1], { code: 3011, reason: "come again" });
    await led.atLeast("", "connected", 2);
  });

  test(`${encoding}: a page stays with new tokens, and begins with one for an expired one`, async () => {
    const asked = [];
    const freshToken = (channel) => {
      asked.push(channel);
      return token(channel ? { sub: "ann", channel, info: { rank: 1 }, exp: inSeconds(2) } : { sub: "ann", exp: inSeconds(2) });
    };
    const ann = await open(encoding, "ann", { claims: { exp: inSeconds(-10) }, freshToken });
    assert.deepEqual(asked, [""]);
    const own = `$${encoding}-own`;
    await ann.subscribe(own, { refreshes: true });
    await until(() => asked.filter((one) => one === "").length >= 3 && asked.filter((one) => one === own).length >= 3);
    await ann.publish(own, "still here");
    const [{ info }] = await ann.atLeast(own, "publication", 1);
    assert.deepEqual(info.chanInfo, { rank: 1 });
    // The one of the expired token, at the beginning.
    assert.equal((await ann.told("", "connected")).length, 1);
    assert.equal((await ann.told(own, "subscribed")).length, 1);
  });

  test(`${encoding}: a page that may not is told why`, async () => {
    const forged = await open(encoding, "ann", { first: token({ sub: "ann" }, "another secret than theirs"), connect: false });
    await forged.tab.evaluate(() => chat.client.connect());
    assert.deepEqual(await forged.atLeast("", "disconnected", 1), [{ code: 3500, reason: "invalid token" }]);
    const ann = await open(encoding, "ann");
    for (const [channel, code] of [["nowhere:room", 102], ["$secret", 103], ["room#bob", 103]]) {
      await ann.tab.evaluate((channel) => chat.subscribe(channel, channel === "$secret" ? { token: "" } : {}), channel);
      assert.equal((await ann.atLeast(channel, "unsubscribed", 1))[0].code, code, channel);
    }
    await ann.subscribe("room");
    assert.equal((await ann.publish("room", "x".repeat(60_000))).refused, undefined);
    await ann.publish("room", "x".repeat(70_000));
    const [{ code }] = await ann.atLeast("", "disconnected", 1);
    assert.equal(code, 3);
  });
}

test("a page of an origin that is not allowed is refused before it connects", async () => {
  tabs.excused = OTHERS;
  const member = await Member.open(tabs, stranger, "json", endpoint(server), { first: token({ sub: "eve" }), connect: false });
  members.push(member);
  const refused = member.tab.waitForEvent("console", (message) => OTHERS.test(message.text()));
  await member.tab.evaluate(() => chat.client.connect());
  await refused;
  assert.deepEqual(await member.told("", "connected"), []);
});

test("the console stayed clean", () => {
  assert.deepEqual(tabs.complaints, []);
});

async function until(holds) {
  const deadline = Date.now() + 20_000;
  while (!holds()) {
    assert.ok(Date.now() < deadline, `not within 20 s: ${holds}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
