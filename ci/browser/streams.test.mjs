// The centrifuge client in a real browser, on a page of another origin and on one of the
// server's own, over what needs no upgrade.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { ServerProcess } from "./server.mjs";
import { Tabs, artifacts, binary } from "./tabs.mjs";

const sdk = path.join(path.dirname(fileURLToPath(import.meta.url)), "node_modules/centrifuge/dist/centrifuge.js");
const protobufSdk = sdk.replace("centrifuge.js", "centrifuge.protobuf.js");
const WAYS = [["http_stream", sdk], ["http_stream", protobufSdk], ["sse", sdk]];

/** /health has none, and is a page of the server's own origin without a policy against scripts. */
const NO_ICON = /status of 404/;

const tabs = new Tabs();
const scratch = mkdtempSync(path.join(tmpdir(), "hioload-streams-"));
/** Serves an empty page, on an origin of its own. */
const pages = http.createServer((request, response) => {
  response.setHeader("Content-Type", "text/html");
  response.end("<!doctype html><title>elsewhere</title><link rel=icon href=data:,>");
});
let server, elsewhere;

before(async () => {
  await new Promise((resolve) => { pages.listen(0, "127.0.0.1", resolve); });
  elsewhere = `http://127.0.0.1:${pages.address().port}`;
  const config = path.join(scratch, "server.toml");
  writeFileSync(config, `[client]\ninsecure = true\nallowed_origins = ["${elsewhere}"]\nping = "1s"\npong = "900ms"\n`);
  server = new ServerProcess(binary, path.join(artifacts, "browser-streams.log"), ["--config", config]);
  await server.start();
  await tabs.start();
  tabs.excused = NO_ICON;
});

after(async () => {
  await tabs.stop();
  await server?.stop("SIGKILL");
  pages.close();
  rmSync(scratch, { recursive: true, force: true });
});

/** A tab with a client that is in, and what it hears of a channel in `heard`. */
async function open(page, transport, script, channel) {
  const tab = await tabs.open();
  await tab.goto(page);
  await tab.addScriptTag({ path: script });
  const used = await tab.evaluate(({ origin, way, room }) => new Promise((resolve, reject) => {
    const centrifuge = new Centrifuge([{ transport: way, endpoint: `${origin}/connection/${way}` }], {
      emulationEndpoint: `${origin}/emulation`, minReconnectDelay: 20, maxReconnectDelay: 200,
    });
    const told = { client: centrifuge, heard: [], ends: [] };
    window.told = told;
    centrifuge.on("connecting", ({ code, reason }) => { if (code) told.ends.push([code, reason]); });
    centrifuge.on("disconnected", ({ code, reason }) => { told.ends.push([code, reason]); reject(new Error(reason)); });
    const read = (data) => (data instanceof Uint8Array ? JSON.parse(new TextDecoder().decode(data)) : data);
    told.write = (value) => (way === "http_stream" && told.binary ? new TextEncoder().encode(JSON.stringify(value)) : value);
    told.room = centrifuge.newSubscription(room);
    told.room.on("publication", ({ data }) => told.heard.push(read(data)));
    told.room.on("subscribed", () => resolve(told.transport));
    centrifuge.on("connected", (connected) => { told.transport = connected.transport; });
    told.room.subscribe();
    centrifuge.connect();
  }), { origin: server.origin, way: transport, room: channel });
  assert.equal(used, transport);
  return tab;
}

const heard = (tab, count) => tab.waitForFunction((least) => window.told.heard.length >= least && window.told.heard, count).then((all) => all.jsonValue());

for (const [transport, script] of WAYS) {
  const name = `${transport}${script === protobufSdk ? " in Protobuf" : ""}`;
  const own = () => `${server.origin}/health`;

  test(`${name}: pages of an allowed origin and of the server's own talk, and answer pings`, async () => {
    const channel = `room-${name.replaceAll(" ", "-")}`;
    const [far, near] = [await open(elsewhere, transport, script, channel), await open(own(), transport, script, channel)];
    for (const tab of [far, near]) await tab.evaluate((binary) => { window.told.binary = binary; }, script === protobufSdk);
    for (let n = 0; n < 10; n += 1) {
      for (const tab of [far, near]) await tab.evaluate((value) => window.told.room.publish(window.told.write(value)), { n, text: "a\nb \u{1F600}" });
    }
    for (const tab of [far, near]) {
      const all = await heard(tab, 20);
      assert.deepEqual(all.map(({ n }) => n), Array.from({ length: 20 }, (_, i) => Math.floor(i / 2)));
      assert.ok(all.every(({ text }) => text === "a\nb \u{1F600}"));
    }
    // Longer than a ping and the patience for its answer.
    await far.waitForTimeout(3000);
    for (const tab of [far, near]) assert.deepEqual(await tab.evaluate(() => window.told.ends), []);
    for (const tab of [far, near]) await tab.context().close();
  });
}

test("a page of another origin is refused", async () => {
  tabs.excused = /CORS policy|403|ERR_FAILED|EventSource/;
  const tab = await tabs.open();
  await tab.goto("data:text/html,<title>nowhere</title>");
  for (const [way, body] of [["connection/http_stream", "{}"], ["emulation", "{}"]]) {
    const refused = await tab.evaluate(async ({ url, what }) => {
      try { return (await fetch(url, { method: "POST", body: what })).status; } catch { return "refused"; }
    }, { url: `${server.origin}/${way}`, what: body });
    assert.equal(refused, "refused", way);
  }
  await tab.context().close();
  tabs.excused = NO_ICON;
});

test("a stop is told with 3001, and the pages come back", async () => {
  const list = [];
  for (const [transport, script] of WAYS) list.push(await open(elsewhere, transport, script, "stop"));
  tabs.excused = /ERR_CONNECTION|ERR_EMPTY_RESPONSE|ERR_INCOMPLETE|Failed to load resource/;
  const code = await server.stop("SIGTERM");
  assert.equal(code, 0);
  await server.start();
  for (const tab of list) {
    await tab.waitForFunction(() => window.told.client.state === "connected" && window.told.ends.length > 0);
    assert.deepEqual((await tab.evaluate(() => window.told.ends))[0], [3001, "shutdown"]);
  }
  tabs.excused = NO_ICON;
});

test("no tab has complained", () => assert.deepEqual(tabs.complaints, []));
