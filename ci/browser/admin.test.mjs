// The admin page in a real browser against the real server, with chat pages beside it.
import assert from "node:assert/strict";
import path from "node:path";
import { after, before, test } from "node:test";
import { ServerProcess } from "./server.mjs";
import { DESKTOP, PHONE, Tabs, artifacts, binary, overhang, shot } from "./tabs.mjs";

const ROOM = "harbour";

const tabs = new Tabs();
let server, admin, ada, grace;

const dialogSays = async (yes) => {
  await admin.locator("#sure[open]").waitFor();
  await admin.locator("#sure button", { hasText: yes }).click();
};
const resultSays = (text) => admin.locator("#result", { hasText: text }).waitFor();
const number = (name) => admin.locator("#numbers div", { hasText: name }).locator("dd");

async function chat(name) {
  const tab = await tabs.open(name);
  await tab.goto(`${server.origin}/#${ROOM}`);
  await tab.locator("body[data-link=connected]").waitFor();
  await tab.locator("#people .person", { hasText: "you" }).waitFor();
  return tab;
}

async function say(tab, text) {
  await tab.locator("#text").fill(text);
  await tab.locator("#text").press("Enter");
}

async function signIn(token) {
  await admin.locator("#token").fill(token);
  await admin.locator("#token").press("Enter");
}

before(async () => {
  server = new ServerProcess(binary, path.join(artifacts, "browser-admin-server.log"), ["--dev", "--log", "debug"]);
  await server.start();
  await tabs.start();
  ada = await chat("Ada");
  grace = await chat("Grace");
  admin = await tabs.open();
});

after(async () => {
  await tabs.stop();
  await server?.stop("SIGKILL");
});

test("without a token in the configuration there is no admin page, and it says how to get one", async () => {
  const closed = new ServerProcess(binary, path.join(artifacts, "browser-admin-off.log"));
  await closed.start();
  try {
    for (const [at, expected] of [["/admin", 404], ["/admin/state", 404], ["/admin/api/info", 404]]) {
      const { status, body } = await closed.get(at);
      assert.equal(status, expected, at);
      if (at === "/admin") assert.match(body, /set token in \[admin\]/);
    }
    assert.equal(closed.adminToken, "");
  } finally {
    await closed.stop("SIGTERM");
  }
});

test("a wrong token is refused and the right one opens the page, in no address and no log", async () => {
  assert.equal((await server.get("/admin/state")).status, 401);
  assert.equal((await server.get("/admin")).status, 200);
  const asked = [];
  admin.on("request", (request) => asked.push(request.url()));
  await admin.goto(`${server.origin}/admin`);
  await admin.locator("#door").waitFor();
  tabs.excused = /status of 401/;
  await signIn("0123456789abcdef0123456789abcdef");
  await admin.locator("#door-fault", { hasText: "The token is wrong." }).waitFor();
  tabs.excused = null;
  assert.equal(await admin.locator("#board").isVisible(), false);
  await shot(admin, "admin-refused");
  await signIn(server.adminToken);
  await admin.locator("body[data-link=connected]").waitFor();
  await admin.locator("#board").waitFor();
  admin.removeAllListeners("request");
  assert.match(server.adminToken, /^[0-9a-f]{32}$/);
  for (const url of asked) {
    assert.ok(url.startsWith(`${server.origin}/`) || url.startsWith("data:"), url);
    assert.ok(!url.includes(server.adminToken));
  }
  await admin.reload();
  await admin.locator("body[data-link=connected]").waitFor();
  assert.ok(!server.errors.includes(server.adminToken), "the token is not in the log");
});

test("connections, users, channels and rates are shown live", async () => {
  await number("Connections").filter({ hasText: /^2$/ }).waitFor();
  await number("Users").filter({ hasText: /^2$/ }).waitFor();
  await admin.locator("#channels tr", { hasText: /^harbour2$/ }).waitFor();
  await say(ada, "hello");
  await say(grace, "hello to you");
  const plot = admin.locator("#plot-messages svg");
  await admin.waitForFunction(() => /at most (?!0\b)\d/.test(document.querySelector("#plot-messages svg").getAttribute("aria-label")));
  assert.match(await plot.getAttribute("aria-label"), /^Messages, the last 5 minutes: in now .*; out now /);
  assert.ok(await plot.locator("text").count() >= 8, "axes have numbers");
  assert.equal(await admin.locator("#shards tr").count(), 2);
  const extra = await chat("Linus");
  await number("Connections").filter({ hasText: /^3$/ }).waitFor();
  await extra.context().close();
  await number("Connections").filter({ hasText: /^2$/ }).waitFor();
});

test("what the operator publishes arrives in the chat page, after a question", async () => {
  await admin.locator("#channels button", { hasText: /^harbour$/ }).click();
  await admin.locator("#clients tr", { hasText: "Ada" }).waitFor();
  await admin.locator("#publish-data").fill("Maintenance <b>at noon</b>");
  await admin.locator("#publish button").click();
  await dialogSays("Cancel");
  await admin.locator("#publish button").click();
  await dialogSays("Publish");
  await resultSays("Published to harbour as number");
  const row = ada.locator("#rows .msg.server", { hasText: "Maintenance <b>at noon</b>" });
  await row.waitFor();
  assert.equal(await row.count(), 1);
  assert.equal(await row.locator(".who b").innerText(), "Server");
  await admin.locator("#publish-as").selectOption("json");
  await admin.locator("#publish-data").fill("{");
  await admin.locator("#publish button").click();
  await resultSays("That is no JSON");
  await admin.locator("#publish-channel").fill("nowhere:x");
  await admin.locator("#publish-data").fill("{}");
  await admin.locator("#publish button").click();
  await dialogSays("Publish");
  await resultSays("The server refused: unknown channel");
});

test("a user is taken out of a channel, and a user is disconnected and stays away", async () => {
  await admin.locator("#clients button[aria-label='Unsubscribe Grace']").click();
  await dialogSays("Unsubscribe");
  await resultSays("Grace is not subscribed to harbour any more.");
  await grace.locator("#out", { hasText: "taken you out of this channel" }).waitFor();
  await ada.locator(".note", { hasText: "Grace left" }).waitFor();
  await grace.locator("#rejoin").click();
  await ada.locator("#people .person", { hasText: "Grace" }).waitFor();
  await admin.locator("#user-name").fill("Ada");
  await admin.locator("#disconnect").click();
  await dialogSays("Disconnect");
  await resultSays("All connections of Ada were closed.");
  await ada.locator("body[data-link=ended]").waitFor();
  await ada.locator("#why", { hasText: "You were disconnected: disconnected by the operator." }).waitFor();
  await ada.locator("#retry").click();
  await ada.locator("body[data-link=connected]").waitFor();
});

test("the page looks right at both widths, and signing out forgets the token", async () => {
  for (let i = 0; i < 12; i += 1) {
    for (let k = 0; k < (3 * i) % 7 + 1; k += 1) await say(ada, `message ${i}.${k}`);
    await ada.locator("#rows .text", { hasText: `message ${i}.0` }).waitFor();
  }
  await admin.evaluate(() => scrollTo(0, 0));
  await shot(admin, "admin-desktop", { fullPage: true });
  assert.ok(await overhang(admin) <= 0);
  await admin.emulateMedia({ colorScheme: "dark" });
  await shot(admin, "admin-dark");
  await admin.emulateMedia({ colorScheme: "light" });
  await admin.setViewportSize(PHONE);
  await admin.waitForFunction(() => document.querySelector("#plot-bytes svg").viewBox.baseVal.width < 390);
  await shot(admin, "admin-phone", { fullPage: true });
  assert.ok(await overhang(admin) <= 0);
  await admin.setViewportSize(DESKTOP);
  const names = await admin.evaluate(() => [...document.querySelectorAll("input:not([hidden]), textarea, select, button")]
    .filter((one) => !one.labels?.length && !one.getAttribute("aria-label") && !one.textContent.trim()).map((one) => one.id));
  assert.deepEqual(names, [], "every control has a name");
  await admin.locator("#sign-out").click();
  await admin.locator("#door").waitFor();
  await admin.reload();
  await admin.locator("#door").waitFor();
  assert.equal(await admin.locator("#board").isVisible(), false);
});

test("the console stayed clean", () => {
  assert.deepEqual(tabs.complaints, []);
});
