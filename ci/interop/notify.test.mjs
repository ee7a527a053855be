// What the server tells others of a chat of centrifuge clients: a receiver of webhooks
// on Node's http, and a mail server that is not ours (smtp-server).
import assert from "node:assert/strict";
import { createHmac, timingSafeEqual } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import { afterEach, test } from "node:test";
import { simpleParser } from "mailparser";
import { SMTPServer } from "smtp-server";
import { ChatClient, Received, SECRET, closeAll, token } from "./chat.mjs";
import { withConfig, withServer } from "./server.mjs";

const BETWEEN_US = "a secret between the two of us";
const PATIENCE = 20_000;

const opened = [];
afterEach(async () => {
  closeAll();
  for (const close of opened.splice(0)) await close();
});

/** A receiver: what came and was signed well is in `received`; `answer` decides about each. */
async function receiver(port = 0) {
  const received = new Received();
  const hook = { received, answer: async () => 200 };
  const server = createServer(async (request, response) => {
    const parts = [];
    for await (const part of request) parts.push(part);
    const body = Buffer.concat(parts);
    if (!isSigned(request.headers["x-hioload-signature"], body)) {
      response.writeHead(400).end();
      return;
    }
    const status = await hook.answer(received.all.length);
    if (status === 200) received.push(JSON.parse(body));
    response.writeHead(status).end();
  });
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  hook.port = server.address().port;
  hook.close = () => new Promise((resolve) => { server.close(resolve); server.closeAllConnections(); });
  opened.push(hook.close);
  return hook;
}

/** As the guide says: the time and the body, by the secret, not long ago. */
function isSigned(header, body) {
  const { t, v1 } = Object.fromEntries((header ?? "").split(",").map((part) => part.split("=")));
  const expected = createHmac("sha256", BETWEEN_US).update(`${t}.`).update(body).digest();
  const given = Buffer.from(v1 ?? "", "hex");
  const isNew = Math.abs(Date.now() / 1000 - Number(t)) < 300;
  return isNew && given.length === expected.length && timingSafeEqual(given, expected);
}

/** A mail server with a user; what came is in `received`. */
async function mailServer() {
  const received = new Received();
  const server = new SMTPServer({
    authMethods: ["PLAIN", "LOGIN"],
    allowInsecureAuth: true,
    disabledCommands: ["STARTTLS"],
    onAuth: ({ username, password }, session, done) =>
      (username === "chat" && password === "the password" ? done(null, { user: username }) : done(new Error("who?"))),
    onData: (stream, session, done) => {
      simpleParser(stream).then((mail) => {
        const { mailFrom, rcptTo } = session.envelope;
        received.push({ from: mailFrom.address, to: rcptTo.map(({ address }) => address), mail });
        done();
      }, done);
    },
  });
  server.on("error", () => {});
  await new Promise((resolve) => { server.listen(0, "127.0.0.1", resolve); });
  opened.push(() => new Promise((resolve) => { server.close(resolve); }));
  return { received, port: server.server.address().port };
}

const OPEN = `
[channel]
allow_subscribe = "user"
allow_publish = "subscriber"
`;

const webhook = (port, more = "") => `
[[webhook]]
name = "app"
url = "http://127.0.0.1:${port}/hook"
secret = "${BETWEEN_US}"
batch_wait = "10ms"
backoff_min = "50ms"
backoff_max = "200ms"
retries = 100
${more.includes("events") ? "" : 'events = ["mention"]'}
${more}
`;

const mail = (port) => `
[smtp]
host = "127.0.0.1"
port = ${port}
tls = "none"
user = "chat"
password = "the password"
from = "Chat <chat@example.org>"
[[mail]]
name = "mentions"
events = ["mention"]
to = "{user}@example.org"
subject = "{from} asks for you in {channel}"
`;

function withChat(name, toml, body) {
  const config = `[client]\ntoken_secret = "${SECRET}"\n${OPEN}${toml}`;
  return withConfig(config, (file) => withServer(`notify-${name}`, ["--config", file], body));
}

const join = (server, user) => ChatClient.open(server, { token: token({ sub: user }) });

/** The number of a line of /metrics that has all of these. */
async function metric(server, ...parts) {
  const { body } = await server.get("/metrics");
  const line = body.split("\n").find((one) => !one.startsWith("#") && parts.every((part) => one.includes(part)));
  return Number(line?.split(" ").at(-1));
}

async function becomes(expected, actual) {
  const end = Date.now() + PATIENCE;
  let last;
  while (Date.now() < end) {
    last = await actual();
    if (last === expected) return;
  }
  assert.equal(last, expected);
}

test("who is mentioned and away gets one mail, and the application one signed request", async () => {
  const [hook, post] = [await receiver(), await mailServer()];
  await withChat("mention", webhook(hook.port) + mail(post.port), async (server) => {
    const [ann] = [await join(server, "ann"), await join(server, "bob")];
    const { sub, received } = await ann.subscribe("room");
    await sub.publish({ text: "Bob is here", mentions: ["bob"] });
    await sub.publish({ text: "Gr\u00fc\u00dfe \u{1F600}", mentions: ["carol", "bob"] });
    await received.atLeast(2);

    const [batch] = await hook.received.atLeast(1);
    assert.deepEqual(batch.events.map(({ type, user, mentioned, channel, data }) => ({ type, user, mentioned, channel, text: data.text })), [
      { type: "mention", user: "ann", mentioned: "carol", channel: "room", text: "Gr\u00fc\u00dfe \u{1F600}" },
    ]);
    assert.equal(batch.events[0].client, ann.connected.client);

    const [letter] = await post.received.atLeast(1);
    assert.deepEqual([letter.from, letter.to], ["chat@example.org", ["carol@example.org"]]);
    assert.equal(letter.mail.subject, "ann asks for you in room");
    assert.equal(letter.mail.text.trim(), "ann wrote in room:\n\nGr\u00fc\u00dfe \u{1F600}");
    assert.equal(letter.mail.from.text, '"Chat" <chat@example.org>');

    await sub.publish({ text: "once more", mentions: ["carol"] });
    await hook.received.atLeast(2);
    await becomes(1, () => metric(server, "events_total", 'sink="mail"', "held_back"));
    assert.equal(post.received.all.length, 1);
    assert.equal(await metric(server, "events_total", 'sink="webhook"', "sent"), 2);
  });
});

test("what happens while the receiver is down is delivered, once it is up", async () => {
  const first = await receiver();
  await first.close();
  await withChat("down", webhook(first.port), async (server) => {
    const { sub } = await (await join(server, "ann")).subscribe("room");
    for (const n of [1, 2, 3]) await sub.publish({ n, mentions: ["carol"] });
    await becomes(true, async () => await metric(server, "notify_retries_total") >= 2);
    const hook = await receiver(first.port);
    let busy = 2;
    hook.answer = async () => (busy-- > 0 ? 503 : 200);
    await becomes(3, () => metric(server, "events_total", "sent"));
    const events = hook.received.all.flatMap((batch) => batch.events);
    assert.deepEqual(events.map(({ data }) => data.n), [1, 2, 3]);
    assert.equal(new Set(events.map(({ id }) => id)).size, 3);
    assert.equal(await metric(server, "events_total", "dropped"), 0);
  });
});

test("a slow receiver costs what its queue can not hold, and the chat nothing", async () => {
  const hook = await receiver();
  let release;
  const released = new Promise((resolve) => { release = resolve; });
  hook.answer = async () => { await released; return 200; };
  const more = 'events = ["publish"]\nqueue = 20\nbatch_max = 1\ntimeout = "1min"';
  await withChat("slow", webhook(hook.port, more), async (server) => {
    const [ann, bob] = [await join(server, "ann"), await join(server, "bob")];
    const { sub } = await ann.subscribe("room");
    const { received } = await bob.subscribe("room");
    await sub.publish({ n: 0 });
    await becomes(1, () => metric(server, "hioload_notify_underway{"));
    // That one is at the receiver, and twenty wait.
    for (let n = 1; n < 200; n += 1) await sub.publish({ n });
    const all = await received.atLeast(200);
    assert.deepEqual(all.map(({ data }) => data.n), Array.from({ length: 200 }, (_, n) => n));
    await becomes(179, () => metric(server, "events_total", "dropped"));
    assert.equal(await metric(server, "hioload_notify_queued{"), 20);
    release();
    await hook.received.atLeast(21);
  });
});

test("a stop delivers what waits", async () => {
  const [hook, post] = [await receiver(), await mailServer()];
  const more = 'events = ["mention", "disconnect"]';
  const toml = webhook(hook.port, more).replace("10ms", "1min") + mail(post.port);
  await withChat("stop", toml, async (server) => {
    const { sub } = await (await join(server, "ann")).subscribe("room");
    await sub.publish({ text: "See you", mentions: ["carol"] });
    assert.equal(hook.received.all.length, 0);
    // And now it is stopped.
  });
  const events = hook.received.all.flatMap((batch) => batch.events);
  assert.deepEqual(events.map(({ type }) => type), ["mention", "disconnect"]);
  assert.equal(post.received.all.length, 1);
});
