// The browser's own WebSocket against the server's echo: compression as browsers do it.
import assert from "node:assert/strict";
import path from "node:path";
import { after, before, test } from "node:test";
import { ServerProcess } from "./server.mjs";
import { Tabs, artifacts, binary } from "./tabs.mjs";

const ECHO_SIZES = [0, 1, 125, 126, 300, 4096, 65_535, 65_536, 250_000, 1 << 20];

const tabs = new Tabs();

before(() => tabs.start());
after(() => tabs.stop());

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

for (const mode of ["shared", "dedicated"]) {
  test(`the browser's own permessage-deflate works both ways, ${mode}`, async () => {
    const other = new ServerProcess(binary, path.join(artifacts, `browser-server-${mode}.log`), ["--deflate", mode]);
    await other.start();
    const tab = await tabs.open("Edith");
    try {
      await tab.goto(`${other.origin}/`);
      const { extensions, wrong, compared } = await tab.evaluate(echoInPage, ECHO_SIZES);
      assert.match(extensions, /^permessage-deflate\b/);
      assert.equal(extensions.includes("no_context_takeover"), mode === "shared", extensions);
      assert.deepEqual(wrong, []);
      assert.equal(compared, 2 * 4 * ECHO_SIZES.length);
    } finally {
      await tab.context().close();
      await other.stop("SIGTERM");
    }
  });
}

test("the console stayed clean", () => {
  assert.deepEqual(tabs.complaints, []);
});
