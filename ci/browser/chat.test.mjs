// The chat page in a real browser against the real server, on two shards.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import path from "node:path";
import { after, before, test } from "node:test";
import { ServerProcess } from "./server.mjs";
import { DESKTOP, PHONE, Tabs, Wire, artifacts, binary, overhang, shot } from "./tabs.mjs";

const ROOM = "harbour";
const SECRET = "a secret of this test alone, 32 bytes";
const UNREACHABLE = /WebSocket connection to .* failed|ERR_CONNECTION_(REFUSED|RESET|CLOSED)|ERR_EMPTY_RESPONSE/;

const tabs = new Tabs(), wire = new Wire();
let server, ada, grace;

const isLinked = (tab, ...links) => tab.locator(links.map((link) => `body[data-link=${link}]`).join(", ")).waitFor();

async function join(tab, room = ROOM, origin = server.origin) {
  await tab.goto(`${origin}/#${encodeURIComponent(room)}`);
  await isLinked(tab, "connected");
  await tab.locator("#people .person", { hasText: "you" }).waitFor();
}

async function say(tab, text) {
  await tab.locator("#text").fill(text);
  await tab.locator("#text").press("Enter");
}

const texts = (tab, of = "") => tab.locator(`#rows .msg${of} .text`).allInnerTexts();
const shows = (tab, text, of = "") => tab.locator(`#rows .msg${of} .text`, { hasText: text }).first().waitFor();
const lists = (tab, name) => tab.locator("#people .person", { hasText: name }).waitFor();
const nothingWaits = (tab) => tab.locator("#own:empty").waitFor({ state: "attached" });
const once = (list, text) => assert.equal(list.filter((one) => one === text).length, 1, `${text} in ${JSON.stringify(list)}`);

async function other(name, options, work, env = {}) {
  const one = new ServerProcess(binary, path.join(artifacts, `browser-server-${name}.log`), options, env);
  await one.start();
  try { await work(one); } finally { await one.stop("SIGTERM"); }
}

before(async () => {
  server = new ServerProcess(binary, path.join(artifacts, "browser-server.log"), ["--dev"]);
  await server.start();
  await wire.start(server.port);
  await tabs.start();
  ada = await tabs.open("Ada");
  grace = await tabs.open("Grace");
});

after(async () => {
  await tabs.stop();
  wire.stop();
  await server?.stop("SIGKILL");
});

test("the page asks only its own server, under a policy that allows nothing else", async () => {
  const { status, headers } = await server.get("/");
  assert.equal(status, 200);
  assert.equal(headers["content-type"], "text/html; charset=utf-8");
  const policy = headers["content-security-policy"];
  assert.match(policy, /default-src 'none'/);
  assert.doesNotMatch(policy, /unsafe|\*/);
  const asked = [];
  ada.on("request", (request) => asked.push(request.url()));
  await join(ada);
  ada.removeAllListeners("request");
  assert.ok(asked.length > 3);
  for (const url of asked) assert.ok(url.startsWith(`${server.origin}/`) || url.startsWith("data:"), url);
});

test("two people talk, in order, and each message shows once", async () => {
  await join(grace);
  await lists(ada, "Grace");
  await lists(grace, "Ada");
  await ada.locator(".note", { hasText: "Grace joined" }).waitFor();
  const said = Array.from({ length: 30 }, (_, i) => `line ${i}`);
  for (const line of said) await say(ada, line);
  await shows(grace, said.at(-1), ":not(.mine)");
  await nothingWaits(ada);
  assert.deepEqual(await texts(grace), said);
  assert.deepEqual(await texts(ada, ".mine"), said);
  await say(grace, "and back");
  await shows(ada, "and back", ":not(.mine)");
});

test("who comes later reads what was said before, and earlier still on demand", async () => {
  const tab = await tabs.open("Linus");
  await join(tab, "archive");
  for (let i = 0; i < 70; i += 1) await say(tab, `entry ${i}.`);
  await shows(tab, "entry 69.");
  const late = await tabs.open("Margaret");
  await join(late, "archive");
  await shows(late, "entry 69.");
  assert.deepEqual(await texts(late), Array.from({ length: 50 }, (_, i) => `entry ${i + 20}.`));
  await late.locator("#earlier").click();
  await shows(late, "entry 0.");
  assert.deepEqual(await texts(late), Array.from({ length: 70 }, (_, i) => `entry ${i}.`));
  await tab.context().close();
  await late.locator(".note", { hasText: "Linus left" }).waitFor();
  assert.equal(await late.locator("#people .person", { hasText: "Linus" }).count(), 0);
  await late.context().close();
});

test("who types is seen by the others, and not in what is kept", async () => {
  await ada.locator("#text").pressSequentially("On it");
  await grace.locator("#typing", { hasText: "Ada is typing" }).waitFor();
  assert.equal(await ada.locator("#typing").innerText(), "");
  await ada.locator("#text").press("Enter");
  await shows(grace, "On it");
  assert.equal(await grace.locator("#typing").innerText(), "");
});

test("markup stays text, and any script arrives intact", async () => {
  const written = ["<img src=x onerror=alert(1)><b>bold</b>", "<script>document.title='owned'</script>", "Привет, 世界, שלום, 👩‍👩‍👧‍👦 e\u0301", "\"quotes\" \\ and ' &amp;"];
  for (const line of written) {
    await say(ada, line);
    await shows(grace, line);
  }
  assert.deepEqual((await texts(grace)).slice(-written.length), written);
  assert.equal(await grace.locator(".msg .text :is(img, b, script)").count(), 0);
  assert.doesNotMatch(await grace.title(), /owned/);
  const eve = await tabs.open("<i>Eve</i>\u202e");
  await join(eve);
  await say(eve, "boo");
  await shows(ada, "boo");
  assert.equal(await ada.locator("#people :is(i, script)").count(), 0);
  assert.equal(await ada.locator(".msg .who b").last().innerText(), "<i>Eve</i>");
  await eve.context().close();
  await ada.locator("#text").fill("first");
  await ada.locator("#text").press("Shift+Enter");
  await ada.locator("#text").pressSequentially("second");
  await ada.locator("#text").press("Enter");
  await shows(grace, "second");
  assert.equal((await texts(grace)).at(-1), "first\nsecond");
});

test("publications that no page would write are shown as they are and do no harm", async () => {
  const odd = [1, [], { a: 1 }, { text: 7 }, "plain", { text: "fine", id: {}, ts: 1e300, name: [] }, { text: "\u0000 " }];
  await grace.evaluate(async (odd) => {
    const socket = new WebSocket(`ws://${location.host}/connection/websocket`);
    await new Promise((resolve) => { socket.onopen = resolve; });
    socket.send('{"id":1,"connect":{}}');
    odd.forEach((data, i) => socket.send(JSON.stringify({ id: i + 2, publish: { channel: "harbour", data } })));
    const ids = new Set();
    await new Promise((resolve) => {
      socket.onmessage = ({ data }) => { for (const line of data.split("\n")) ids.add(JSON.parse(line).id); if (ids.size > odd.length) resolve(); };
    });
    socket.close();
  }, odd);
  await say(ada, "still here");
  await shows(grace, "still here");
  assert.deepEqual((await texts(grace)).slice(-odd.length - 1), ["1", "[]", '{"a":1}', '{"text":7}', "plain", "fine", "(nothing)", "still here"]);
});

test("channels do not hear each other, and what is missed elsewhere is counted", async () => {
  await ada.locator("#other").fill("engine room");
  await ada.locator("#other").press("Enter");
  await ada.locator("#room", { hasText: "engine-room" }).waitFor();
  await lists(ada, "you");
  for (const line of ["one", "two", "three"]) await say(grace, line);
  await ada.locator("#rooms li", { hasText: ROOM }).locator(".count", { hasText: "3" }).waitFor();
  assert.match(await ada.title(), /^\(3\) #engine-room/);
  assert.deepEqual(await texts(ada), []);
  await ada.locator("#rooms a", { hasText: ROOM }).click();
  await shows(ada, "three");
  assert.equal(await ada.locator("#rooms .count").count(), 0);
  await ada.locator("button[aria-label='Leave engine-room']").click();
  assert.deepEqual(await ada.locator("#rooms a span:first-child").allInnerTexts(), [ROOM]);
});

test("a name that is changed is the name that others see", async () => {
  await grace.locator("#name").fill("Grace H.");
  await grace.locator("#name").press("Enter");
  await ada.locator("#people .person", { hasText: "Grace H." }).waitFor();
  await isLinked(grace, "connected");
  await say(grace, "it is me");
  await shows(ada, "it is me");
  assert.equal(await ada.locator(".msg .who b").last().innerText(), "Grace H.");
});

test("a killed connection comes back by itself with what was missed, and sends what waits, once", async () => {
  const tab = await tabs.open("Barbara");
  await join(tab, "cut", wire.origin);
  await join(ada, "cut");
  await say(tab, "before");
  await shows(ada, "before");
  await nothingWaits(tab);
  tabs.excused = UNREACHABLE;
  wire.cut();
  await isLinked(tab, "waiting", "connecting");
  for (const line of ["missed 1", "missed 2"]) await say(ada, line);
  await say(tab, "typed in the dark");
  await tab.locator("#own .msg.waiting").waitFor();
  await shot(tab, "chat-offline");
  wire.mend();
  await isLinked(tab, "connected");
  await shows(tab, "missed 2");
  await shows(ada, "typed in the dark");
  await nothingWaits(tab);
  assert.equal(await tab.locator("#banner").isVisible(), false);
  for (let i = 0; i < 5; i += 1) {
    await say(tab, `in flight ${i}`);
    wire.cut();
    await isLinked(tab, "waiting", "connecting");
    await say(ada, `meanwhile ${i}`);
    wire.mend();
    await isLinked(tab, "connected");
    await nothingWaits(tab);
    await shows(tab, `meanwhile ${i}`);
    await shows(ada, `in flight ${i}`);
  }
  tabs.excused = null;
  const [of, at] = [await texts(tab), await texts(ada)];
  for (const line of ["before", "missed 1", "missed 2", "typed in the dark", ...[0, 1, 2, 3, 4].flatMap((i) => [`in flight ${i}`, `meanwhile ${i}`])]) {
    once(of, line);
    once(at, line);
  }
  assert.deepEqual(of, at, "both have the same order");
  assert.equal(await tab.locator(".note", { hasText: "missing" }).count(), 0);
  await tab.context().close();
});

test("a killed server is announced, and what was typed meanwhile arrives once", async () => {
  await join(ada);
  tabs.excused = UNREACHABLE;
  await server.stop("SIGKILL");
  await Promise.all([isLinked(ada, "waiting"), isLinked(grace, "waiting")]);
  const was = (await texts(ada)).length;
  await say(ada, "written in the dark");
  await say(ada, "and another");
  await ada.locator("#own .msg.waiting").nth(1).waitFor();
  assert.equal(await ada.locator("#banner").isVisible(), true);
  await server.start();
  await Promise.all([isLinked(ada, "connected"), isLinked(grace, "connected")]);
  await shows(grace, "and another");
  await nothingWaits(ada);
  await say(grace, "got them");
  await shows(ada, "got them");
  await shows(grace, "got them");
  tabs.excused = null;
  assert.deepEqual((await texts(grace)).slice(-3), ["written in the dark", "and another", "got them"]);
  assert.deepEqual((await texts(ada)).slice(-3), ["written in the dark", "and another", "got them"]);
  assert.equal((await texts(ada)).length, was + 3, "what was there stays, once");
});

test("a server that stops politely says so, and the page comes back", async () => {
  tabs.excused = UNREACHABLE;
  const stopped = server.stop("SIGTERM");
  await ada.locator("#why", { hasText: "The server is restarting." }).waitFor();
  assert.equal(await stopped, 0, "exit code after SIGTERM");
  await server.start();
  await ada.locator("#retry").click({ timeout: 2_000 }).catch(() => { /* it was quicker */ });
  await Promise.all([isLinked(ada, "connected"), isLinked(grace, "connected")]);
  tabs.excused = null;
  await say(ada, "after the restart");
  await shows(grace, "after the restart");
});

test("everything can be done with the keyboard", async () => {
  const tab = await tabs.open("Radia");
  await join(tab);
  const focused = () => tab.evaluate(() => document.activeElement.id || document.activeElement.getAttribute("aria-label") || document.activeElement.textContent);
  const order = [];
  for (let i = 0; i < 15; i += 1) {
    await tab.keyboard.press("Tab");
    // The window's own controls come between the last and the first.
    if (await tab.evaluate(() => document.activeElement === document.body)) continue;
    order.push(await focused());
    const isSeen = await tab.evaluate(() => {
      const ring = document.activeElement.id === "text" ? document.activeElement.closest("form") : document.activeElement;
      return getComputedStyle(ring).outlineStyle !== "none";
    });
    assert.ok(isSeen, `the focus on ${order.at(-1)} is visible`);
    if (order.at(-1) === "text") break;
  }
  for (const stop of ["name", "other", "Join", "log", "text", `Leave ${ROOM}`]) assert.ok(order.includes(stop), `${stop} in ${order}`);
  await tab.keyboard.type("by keyboard");
  await tab.keyboard.press("Enter");
  await shows(grace, "by keyboard");
  await tab.locator("#other").focus();
  await tab.keyboard.type("quiet");
  await tab.keyboard.press("Enter");
  await tab.locator("#room", { hasText: "quiet" }).waitFor();
  assert.equal(await focused(), "text");
  const names = await tab.evaluate(() => [...document.querySelectorAll("input, textarea, button")]
    .filter((one) => !one.labels?.length && !one.getAttribute("aria-label") && !one.textContent.trim()).map((one) => one.id));
  assert.deepEqual(names, [], "every control has a name");
  assert.equal(await tab.locator("[role=log][aria-live=polite]").count(), 1);
  await tab.context().close();
});

test("a channel that does not exist or is not allowed says what to do", async () => {
  await grace.locator("#other").fill("nowhere:x");
  await grace.locator("#other").press("Enter");
  await grace.locator("#out", { hasText: "no channels “nowhere:…”" }).waitFor();
  assert.equal(await grace.locator("#text").isDisabled(), true);
  await grace.locator("button[aria-label='Leave nowhere:x']").click();
  await grace.locator("#room", { hasText: ROOM }).waitFor();
});

function jwt(claims) {
  const part = (value) => Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part(claims)}`;
  return `${signed}.${createHmac("sha256", SECRET).update(signed).digest("base64url")}`;
}

test("where a token is needed the page asks for it, and says why one is refused", async () => {
  await other("token", [], async (strict) => {
    const tab = await tabs.open("Nobody");
    await tab.goto(`${strict.origin}/#x`);
    await tab.locator("#door[open]").waitFor();
    await shot(tab, "chat-token");
    await tab.locator("#token").fill("a.b.c");
    await tab.locator("#token").press("Enter");
    await tab.locator("#door-fault", { hasText: "refused it" }).waitFor();
    await tab.locator("#token").fill(jwt({ sub: "42", info: { name: "Ada Lovelace" } }));
    await tab.locator("#token").press("Enter");
    await isLinked(tab, "connected");
    assert.equal(await tab.locator("#name").inputValue(), "Ada Lovelace");
    await tab.locator("#out", { hasText: "You may not join this channel" }).waitFor();
    await shot(tab, "chat-refused");
    await tab.locator("#other").fill("mine#42");
    await tab.locator("#other").press("Enter");
    await tab.locator("#hint", { hasText: "kept here for a while" }).waitFor();
    await say(tab, "may I?");
    await tab.locator("#own .msg.failed", { hasText: "You may not send here" }).waitFor();
    await tab.locator("#own button", { hasText: "Try again" }).click();
    await tab.locator("#own .msg.failed", { hasText: "You may not send here" }).waitFor();
    await tab.locator("#own button", { hasText: "Discard" }).click();
    await nothingWaits(tab);
    await tab.context().close();
  }, { HIOLOAD_TOKEN_SECRET: SECRET });
});

test("where the chat is off the page says how to switch it on", async () => {
  await other("off", [], async (off) => {
    const tab = await tabs.open("Nobody");
    await tab.goto(`${off.origin}/`);
    await tab.locator("#why", { hasText: "Start it with --dev" }).waitFor();
    await tab.context().close();
  });
});

test("a flood is shown in bounded rows", async () => {
  const tab = await tabs.open("Flo");
  await join(tab, "flood");
  await tab.evaluate(async () => {
    const socket = new WebSocket(`ws://${location.host}/connection/websocket`);
    await new Promise((resolve) => { socket.onopen = resolve; });
    socket.send('{"id":1,"connect":{}}');
    for (let i = 0; i < 1500; i += 1) socket.send(JSON.stringify({ id: i + 2, publish: { channel: "flood", data: { text: `wave ${i}.` } } }));
    await new Promise((resolve) => { socket.onmessage = ({ data }) => { if (data.includes('"id":1501,')) resolve(); }; });
    socket.close();
  });
  await shows(tab, "wave 1499.");
  assert.ok(await tab.locator("#rows > *").count() <= 500);
  await tab.context().close();
});

test("the page looks right from a phone to a desktop, in light and dark", async () => {
  const people = {};
  for (const name of ["Ada", "Grace", "Katherine"]) {
    people[name] = await tabs.open(name);
    await join(people[name], "design");
  }
  const { Ada, Grace, Katherine } = people;
  await lists(Katherine, "Ada");
  await Katherine.locator("#empty").waitFor();
  await shot(Katherine, "chat-empty");
  for (const room of ["lobby", "release"]) {
    await Ada.locator("#other").fill(room);
    await Ada.locator("#other").press("Enter");
    await Ada.locator("#room", { hasText: room }).waitFor();
  }
  await join(Katherine, "release");
  await lists(Ada, "Katherine");
  await Ada.locator("#rooms a", { hasText: "design" }).click();
  const script = [
    ["Grace", "Morning! The new build is on the staging box."],
    ["Grace", "Ten thousand connections since breakfast, and not one slot leaked."],
    ["Ada", "Lovely. How does the tail look?"],
    ["Grace", "p99 stays flat until the generator is the bottleneck. Notes are at https://example.org/notes/2026-11 if you want the table."],
    ["Ada", "Then let us ship it after lunch.\nI will write the changelog."],
    ["Grace", "Ship it."],
  ];
  for (const [name, text] of script) {
    await say(people[name], text);
    await shows(name === "Ada" ? Grace : Ada, text.split("\n")[0]);
  }
  await say(Katherine, "Prima, bis gleich! До встречи.");
  await Ada.locator("#rooms .count").waitFor();
  await Grace.locator("#text").pressSequentially("On it");
  await Ada.locator("#typing", { hasText: "Grace is typing" }).waitFor();
  await shot(Ada, "chat-desktop-light");
  await Ada.emulateMedia({ colorScheme: "dark" });
  await shot(Ada, "chat-desktop-dark");
  await Ada.setViewportSize(PHONE);
  await shot(Ada, "chat-phone-dark");
  await Ada.emulateMedia({ colorScheme: "light" });
  await shot(Ada, "chat-phone-light");
  assert.ok(await overhang(Ada) <= 0);
  await Ada.locator("#menu").click();
  await Ada.waitForFunction(() => document.getElementById("side").getBoundingClientRect().right <= innerWidth + 1);
  await shot(Ada, "chat-phone-menu");
  await Ada.keyboard.press("Escape");
  await Ada.setViewportSize({ width: 320, height: 568 });
  await shot(Ada, "chat-phone-small");
  assert.ok(await overhang(Ada) <= 0);
  await Ada.setViewportSize(DESKTOP);
  for (const tab of Object.values(people)) await tab.context().close();
});

test("the console stayed clean", () => {
  assert.deepEqual(tabs.complaints, []);
});
