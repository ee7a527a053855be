// The chat page in a real browser against the real server, on two shards.
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { ServerProcess } from "./server.mjs";

const here = path.dirname(fileURLToPath(import.meta.url));
const artifacts = path.resolve(here, "../artifacts");
const binary = path.resolve(process.env.HIOLOAD_SERVER ?? path.resolve(here, "../../target/release/hioload-server"));
const browserPath = process.env.CHROMIUM ?? "/usr/bin/chromium";
const ROOM = "harbour";
const PLACE_TRIES = 30;
const WAIT = 20_000;
const ECHO_SIZES = [0, 1, 125, 126, 300, 4096, 65_535, 65_536, 250_000, 1 << 20];

const scratch = mkdtempSync(path.join(tmpdir(), "hioload-browser-"));
mkdirSync(artifacts, { recursive: true });
process.on("exit", () => rmSync(scratch, { recursive: true, force: true, maxRetries: 3 }));

let server, browser, ada, grace;
let serverIsDown = false;
const complaints = [];

/** A tab whose every complaint is kept; a refused reconnect is one only while the server is up. */
async function openTab(name) {
  const tab = await browser.newPage();
  await tab.addInitScript((who) => { if (location.protocol === "http:") localStorage.setItem("hioload.name", who); }, name);
  tab.setDefaultTimeout(WAIT);
  const expected = (text) => serverIsDown && /WebSocket connection to .* failed|ERR_CONNECTION_REFUSED/.test(text);
  tab.on("pageerror", (error) => complaints.push(`exception: ${error.stack}`));
  tab.on("console", (message) => {
    if (["error", "warning"].includes(message.type()) && !expected(message.text())) complaints.push(`${message.type()}: ${message.text()}`);
  });
  return tab;
}

const isLinked = (tab, link) => tab.locator(`body[data-link=${link}]`).waitFor();

async function join(tab, room = ROOM) {
  await tab.goto(`${server.origin}/#${room}`);
  await isLinked(tab, "open");
}

/**
 * Joins until the tab's WebSocket lands on a shard that `accepts` takes, and answers
 * with that shard. SO_REUSEPORT spreads sockets by their ports, so a new socket is a
 * new throw of the coin. A step in which anything but one connection appeared (the
 * browser may open a keep-alive connection for the page) is thrown again.
 */
async function place(tab, accepts) {
  for (let i = 0; i < PLACE_TRIES; i += 1) {
    await tab.goto("about:blank");
    const was = await server.connections();
    await join(tab);
    const is = await server.connections();
    const gained = is.map((count, shard) => count - was[shard]);
    const shard = gained.indexOf(1);
    if (gained[0] + gained[1] === 1 && shard >= 0 && accepts(shard)) return shard;
  }
  throw new Error(`no socket on the wanted shard in ${PLACE_TRIES} tries`);
}

async function say(tab, text) {
  await tab.locator("#text").fill(text);
  await tab.locator("#text").press("Enter");
}

const texts = (tab, of = "") => tab.locator(`.msg${of} .text`).allInnerTexts();
const hears = (tab, text) => tab.locator(".msg:not(.mine) .text", { hasText: text }).first().waitFor();

/** A page of someone else's making: raw frames into the room from a blank script. */
async function intrude(tab, frames, room = ROOM) {
  await tab.evaluate(async ({ frames, room }) => {
    const socket = new WebSocket(`ws://${location.host}/broadcast/${room}`);
    await new Promise((resolve, reject) => { socket.onopen = resolve; socket.onerror = reject; });
    for (const frame of frames) socket.send(frame.binary ? new Uint8Array(frame.binary) : frame.text);
    while (socket.bufferedAmount > 0) await new Promise((resolve) => setTimeout(resolve, 5));
    socket.close(1000);
    await new Promise((resolve) => { socket.onclose = resolve; });
  }, { frames, room });
}

/** Runs in the page: each message must come back as it went, one by one and then all at once. */
async function echoInPage(sizes) {
  const socket = new WebSocket(`ws://${location.host}/echo`);
  socket.binaryType = "arraybuffer";
  const arrived = [], waiting = [], wrong = [];
  let ended = null;
  socket.onmessage = ({ data }) => { arrived.push(data); waiting.shift()?.(); };
  socket.onclose = ({ code }) => { ended = code; waiting.splice(0).forEach((wake) => wake()); };
  await new Promise((resolve, reject) => { socket.onopen = resolve; socket.onerror = reject; });
  const { extensions } = socket;

  const next = async () => {
    while (arrived.length === 0 && ended === null) await new Promise((wake) => waiting.push(wake));
    return arrived.shift();
  };
  const noise = (size) => {
    const bytes = new Uint8Array(size);
    for (let at = 0; at < size; at += 65536) crypto.getRandomValues(bytes.subarray(at, at + 65536));
    return bytes;
  };
  const messages = sizes.flatMap((size) => {
    const random = noise(size);
    return [
      "Schiff, корабль, 船. ".repeat(size).slice(0, size / 3), Array.from(random, (byte) => String.fromCharCode(32 + byte % 95)).join(""),
      new Uint8Array(size).map((_, i) => i % 1000 >> 2), random,
    ];
  });
  const check = async (sent) => {
    const got = await next();
    const same = typeof sent === "string" ? got === sent
      : got instanceof ArrayBuffer && got.byteLength === sent.length && new Uint8Array(got).every((byte, i) => byte === sent[i]);
    if (!same) wrong.push(`${typeof sent} of ${sent.length}, ended with ${ended}`);
    compared += 1;
  };
  let compared = 0;
  for (const message of messages) { socket.send(message); await check(message); }
  const flying = [];
  let bytes = 0;
  for (const message of messages) {
    // Below what may wait for one connection.
    while (flying.length > 0 && bytes + message.length * 2 > 800_000) { const sent = flying.shift(); bytes -= sent.length * 2; await check(sent); }
    socket.send(message);
    flying.push(message);
    bytes += message.length * 2;
  }
  for (const sent of flying) await check(sent);
  socket.close(1000);
  return { extensions, wrong, compared };
}

before(async () => {
  server = new ServerProcess(binary, path.join(artifacts, "browser-server.log"));
  await server.start();
  browser = await chromium.launchPersistentContext(path.join(scratch, "profile"), {
    executablePath: browserPath,
    headless: true,
    viewport: { width: 1280, height: 800 },
    colorScheme: "light",
    locale: "en-GB",
    env: { ...process.env, HOME: scratch, TMPDIR: scratch },
    args: [
      "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ],
  });
  ada = await openTab("Ada");
  grace = await openTab("Grace");
});

after(async () => {
  await browser?.close();
  await server?.stop("SIGKILL");
});

test("the page is one document under a strict policy", async () => {
  const { status, headers } = await server.get("/");
  assert.equal(status, 200);
  assert.equal(headers["content-type"], "text/html; charset=utf-8");
  assert.match(headers["content-security-policy"], /default-src 'none'/);
  const asked = [];
  ada.on("request", (request) => asked.push(request.url()));
  await join(ada);
  assert.deepEqual(asked.filter((url) => !url.startsWith("data:")), [`${server.origin}/`]);
  ada.removeAllListeners("request");
});

test("two tabs on different shards talk, both ways and in order", async () => {
  const shard = await place(ada, () => true);
  const other = await place(grace, (candidate) => candidate !== shard);
  assert.notEqual(other, shard);
  await ada.locator("#people", { hasText: "Grace" }).waitFor();
  await grace.locator("#people", { hasText: "Ada" }).waitFor();

  const said = Array.from({ length: 30 }, (_, i) => `line ${i}`);
  for (const line of said) await say(ada, line);
  await hears(grace, said.at(-1));
  assert.deepEqual(await texts(grace), said);
  await ada.locator(".msg.mine .text", { hasText: said.at(-1) }).waitFor();
  assert.deepEqual(await texts(ada, ".mine"), said, "the sender shows its own messages itself");

  await say(grace, "and back");
  await hears(ada, "and back");
});

test("markup stays text, and any script arrives intact", async () => {
  const lines = ["<img src=x onerror=alert(1)><b>bold</b>", "Привет, 世界, שלום, 👩‍👩‍👧‍👦 e\u0301", "\"quotes\" \\ and ' &amp;"];
  for (const line of lines) {
    await say(ada, line);
    await hears(grace, line);
  }
  assert.deepEqual((await texts(grace)).slice(-4).filter((text) => text !== "and back"), lines);
  assert.equal(await grace.locator(".msg .text :is(img, b)").count(), 0);
  await ada.locator("#text").fill("first");
  await ada.locator("#text").press("Shift+Enter");
  await ada.locator("#text").pressSequentially("second");
  await ada.locator("#text").press("Enter");
  await hears(grace, "second");
  assert.equal((await texts(grace)).at(-1), "first\nsecond");
});

test("frames no page would send change nothing", async () => {
  const rows = await grace.locator("#rows > *").count();
  const frame = (fields) => ({ text: JSON.stringify({ v: 1, t: "msg", id: "intruder-01", from: "intruder-00", name: "Eve", text: "boo", ts: 0, ...fields }) });
  await intrude(ada, [
    { text: "" }, { text: "hello" }, { text: "null" }, { text: "[1]" }, { text: "{\"v\":1}" }, { binary: [1, 2, 3] },
    frame({ v: 2 }), frame({ t: "eval" }), frame({ id: 7 }), frame({ id: "x y" }), frame({ from: "<b>" }), frame({ from: null }), frame({ name: {} }),
    frame({ text: "" }), frame({ text: " \u0000 " }), frame({ text: ["a"] }), frame({ text: "x".repeat(2001) }), { text: "x".repeat(20_000) },
  ]);
  await say(ada, "still here");
  await hears(grace, "still here");
  assert.equal(await grace.locator("#rows > *").count(), rows + 1);

  await intrude(ada, [frame({ id: "intruder-02", name: "  <i>Eve</i>\u202e\n of a very long name indeed ", ts: 1e300 })]);
  await hears(grace, "boo");
  const shown = await grace.locator(".msg .who b").last().innerText();
  assert.equal(shown, "<i>Eve</i> of a very lon");
});

test("a flood is shown in bounded rows", async () => {
  const frames = Array.from({ length: 1500 }, (_, i) => ({ text: JSON.stringify({ v: 1, t: "msg", id: `flood-${i}-id`, from: "flooder-00", name: "Flood", text: `wave ${i}`, ts: Date.now() }) }));
  const tab = await openTab("Linus");
  await join(tab, "flood");
  await intrude(ada, frames, "flood");
  await hears(tab, "wave 1499");
  assert.ok(await tab.locator("#rows > *").count() <= 500);
  await tab.close();
});

test("rooms do not hear each other, and a tab can change rooms", async () => {
  const tab = await openTab("Margaret");
  await tab.goto(`${server.origin}/?room=Side%20Room`);
  await isLinked(tab, "open");
  assert.equal(await tab.locator("#room").innerText(), "side-room");
  await say(ada, "for the harbour only");
  await hears(grace, "for the harbour only");
  assert.deepEqual(await texts(tab), []);
  await tab.locator("#other").fill(ROOM);
  await tab.locator("#other").press("Enter");
  await tab.locator("#people", { hasText: "Grace" }).waitFor();
  await say(grace, "welcome over");
  await hears(tab, "welcome over");
  await tab.locator("#name").fill("Maggie");
  await tab.locator("#name").press("Enter");
  await ada.locator(".note", { hasText: "Margaret is now Maggie" }).waitFor();
  await tab.close();
  await ada.locator(".note", { hasText: "Maggie left" }).waitFor();
});

test("a peer that falls silent is shown as lost, then removed", async () => {
  const tab = await openTab("Barbara");
  await tab.clock.install();
  await join(tab, "silence");
  await intrude(ada, [{ text: JSON.stringify({ v: 1, t: "join", from: "silent-peer", name: "Silent", gap: 0 }) }], "silence");
  const peer = tab.locator("#people .person", { hasText: "Silent" });
  await peer.waitFor();
  await tab.clock.fastForward(35_000);
  assert.equal(await tab.locator("#people .lost").count(), 0);
  await tab.clock.fastForward(8_000);
  await tab.locator("#people .lost", { hasText: "Silent" }).waitFor();
  await tab.clock.fastForward(90_000);
  await peer.waitFor({ state: "detached" });
  await tab.close();
});

for (const mode of ["shared", "dedicated"]) {
  test(`the browser's own permessage-deflate works both ways, ${mode}`, async () => {
    const other = new ServerProcess(binary, path.join(artifacts, `browser-server-${mode}.log`), ["--deflate", mode]);
    await other.start();
    const tab = await openTab("Edith");
    try {
      await tab.goto(`${other.origin}/#deflate`);
      await isLinked(tab, "open");
      const { extensions, wrong, compared } = await tab.evaluate(echoInPage, ECHO_SIZES);
      assert.match(extensions, /^permessage-deflate\b/);
      assert.equal(extensions.includes("no_context_takeover"), mode === "shared", extensions);
      assert.deepEqual(wrong, []);
      assert.equal(compared, 2 * 4 * ECHO_SIZES.length);
    } finally {
      await tab.close();
      await other.stop("SIGTERM");
    }
  });
}

test("a killed server is announced, and what was typed meanwhile arrives once", async () => {
  serverIsDown = true;
  await server.stop("SIGKILL");
  await Promise.all([isLinked(ada, "lost"), isLinked(grace, "lost")]);
  const banner = ada.locator("#banner");
  await banner.waitFor();
  await ada.screenshot({ path: path.join(artifacts, "chat-offline.png"), animations: "disabled" });
  assert.match(await banner.innerText(), /Connection lost\. Trying (again in \d+ s|now)\./);
  await say(ada, "written in the dark");
  await say(ada, "and another");
  await ada.locator(".msg.waiting").nth(1).waitFor();

  await server.start();
  serverIsDown = false;
  await Promise.all([isLinked(ada, "open"), isLinked(grace, "open")]);
  await hears(grace, "and another");
  assert.equal(await banner.isVisible(), false);
  assert.equal(await ada.locator(".msg.waiting").count(), 0);
  await say(grace, "got them");
  await hears(ada, "got them");
  const dark = (await texts(grace)).filter((text) => /in the dark|and another/.test(text));
  assert.deepEqual(dark, ["written in the dark", "and another"]);
});

test("a server that stops politely counts as lost, and the page comes back", async () => {
  serverIsDown = true;
  const stopped = server.stop("SIGTERM");
  await isLinked(ada, "lost");
  assert.match(await ada.locator("#why").innerText(), /The server is restarting\./, "close code 1001");
  assert.equal(await stopped, 0, "exit code after SIGTERM");
  await server.start();
  serverIsDown = false;
  await ada.locator("#retry").click({ timeout: 2_000 }).catch(() => { /* it was quicker */ });
  await Promise.all([isLinked(ada, "open"), isLinked(grace, "open")]);
  await say(ada, "after the restart");
  await hears(grace, "after the restart");
});

test("the page looks right from a phone to a desktop, in light and dark", async () => {
  const room = "design";
  const people = [];
  for (const name of ["Ada", "Grace", "Katherine"]) {
    people.push([name, await openTab(name)]);
    await join(people.at(-1)[1], room);
  }
  const tabs = Object.fromEntries(people);
  const shot = (tab, name) => tab.screenshot({ path: path.join(artifacts, `chat-${name}.png`), animations: "disabled" });
  for (const other of ["Ada", "Grace"]) await tabs.Katherine.locator("#people", { hasText: other }).waitFor();
  await shot(tabs.Katherine, "empty");
  const script = [
    ["Grace", "Morning! The new build is on the staging box."],
    ["Grace", "Ten thousand connections since breakfast, and not one slot leaked."],
    ["Ada", "Lovely. How does the tail look?"],
    ["Katherine", "p99 stays flat until the generator is the bottleneck. Notes are at https://example.org/notes/2026-11 if you want the table."],
    ["Ada", "Then let us ship it after lunch.\nI will write the changelog."],
    ["Grace", "👍"],
    ["Katherine", "Prima, bis gleich! До встречи."],
  ];
  for (const [name, text] of script) {
    await say(tabs[name], text);
    for (const [other, tab] of people) if (other !== name) await hears(tab, text.split("\n")[0]);
  }
  await tabs.Grace.locator("#text").pressSequentially("On it");
  await tabs.Ada.locator("#typing", { hasText: "Grace is typing" }).waitFor();
  await shot(tabs.Ada, "desktop-light");
  await tabs.Ada.emulateMedia({ colorScheme: "dark" });
  await shot(tabs.Ada, "desktop-dark");
  await tabs.Ada.setViewportSize({ width: 390, height: 844 });
  await shot(tabs.Ada, "phone-dark");
  await tabs.Ada.emulateMedia({ colorScheme: "light" });
  await shot(tabs.Ada, "phone-light");
  await tabs.Ada.locator("#menu").click();
  await tabs.Ada.waitForFunction(() => document.getElementById("side").getBoundingClientRect().right <= innerWidth + 1);
  await shot(tabs.Ada, "phone-menu");
  await tabs.Ada.keyboard.press("Escape");
  await tabs.Ada.setViewportSize({ width: 320, height: 568 });
  await shot(tabs.Ada, "phone-small");
  const [content, width] = await tabs.Ada.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(content <= width, `${content} px of content in ${width} px`);
  for (const [, tab] of people) await tab.close();
});

test("the console stayed clean", () => {
  assert.deepEqual(complaints, []);
});
