// One topic, many sorts of clients: each gets every message as it was sent.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Client, describe, same } from "./client.mjs";
import { kinds, noise, prose } from "./payloads.mjs";
import { withServer } from "./server.mjs";

const ROUNDS = 60;
const BURST = 3;
const GREETING = "here is ";
const GREETING_INTERVAL = 100;
const SIZES = [8, 100, 255, 256, 300, 1000, 1024, 4000, 20_000];

/** Who takes part; each sort twice, so that a message also meets its own sort. */
const SORTS = {
  "plain": false,
  "as offered by default": true,
  "takeover, every message": { threshold: 0 },
  "no takeover": { serverNoContextTakeover: true, clientNoContextTakeover: true, threshold: 0 },
  "server without takeover": { serverNoContextTakeover: true, threshold: 0 },
  "window of 512 bytes": { serverMaxWindowBits: 9, clientMaxWindowBits: 9, threshold: 0 },
  "declined by the server": { serverMaxWindowBits: 8 },
};

for (const mode of ["shared", "dedicated", "off"]) {
  test(`${mode}: plain, takeover and no-takeover clients hear the same`, () =>
    withServer(`broadcast-${mode}`, ["--deflate", mode], async (server) => {
      const url = `ws://127.0.0.1:${server.port}/broadcast/mixed%20topic`;
      const members = [];
      for (const [sort, perMessageDeflate] of Object.entries(SORTS)) {
        for (let i = 0; i < 2; i += 1) members.push({ sort, client: await Client.open(url, { perMessageDeflate }) });
      }
      if (mode !== "off") {
        const negotiated = members.filter(({ client }) => client.ws.extensions === "permessage-deflate");
        assert.equal(negotiated.length, members.length - 4);
      }
      await allSubscribed(members);

      // A burst of each member, all at once; the next when everybody has everything.
      let compared = 0;
      for (let round = 0; round < ROUNDS; round += 1) {
        const lines = members.map((_, speaker) => Array.from({ length: BURST }, (_, i) => line(round, speaker, i)));
        members.forEach(({ client }, speaker) => lines[speaker].forEach((message) => client.send(message)));
        await Promise.all(members.map(async ({ sort, client }, listener) => {
          const waiting = lines.map((own, speaker) => (speaker === listener ? [] : [...own]));
          for (let left = (members.length - 1) * BURST; left > 0; left -= 1) {
            const message = await said(client);
            // Those of one speaker arrive in order; those of several mix freely.
            const speaker = waiting.findIndex(([first]) => first !== undefined && same(message, first));
            assert.notEqual(speaker, -1, `round ${round}, ${sort}: a ${describe(message)} that nobody sent next`);
            waiting[speaker].shift();
            compared += 1;
          }
        }));
      }
      assert.equal(compared, ROUNDS * BURST * members.length * (members.length - 1));
      for (const { client } of members) {
        assert.equal(client.unread, 0);
        assert.equal(await client.close(), 1000);
      }
    }));

  test(`${mode}: the empty and the largest message reach everybody`, () =>
    withServer(`broadcast-edges-${mode}`, ["--deflate", mode], async (server) => {
      const url = `ws://127.0.0.1:${server.port}/broadcast/edges`;
      const members = [];
      for (const perMessageDeflate of Object.values(SORTS)) members.push({ client: await Client.open(url, { perMessageDeflate }) });
      await allSubscribed(members);
      for (const size of [0, 1 << 20]) {
        for (const message of [prose(size, size), noise(size, size)]) {
          for (const speaker of members) {
            speaker.client.send(message);
            for (const { client } of members) {
              if (client === speaker.client) continue;
              assert.ok(same(await said(client), message), describe(message));
            }
          }
        }
      }
      for (const { client } of members) await client.close();
    }));
}

/** The message of one speaker in one round, unlike all others of that round. */
function line(round, speaker, i) {
  const number = (round * 64 + speaker) * BURST + i;
  const message = kinds(SIZES[number % SIZES.length], number)[number % 4];
  if (typeof message === "string") return `${String(number).padStart(8, "0")}${message}`;
  message.writeUInt32BE(number, 0);
  return message;
}

/**
 * A subscription is known to the other shards a moment after the handshake, so all
 * say who they are until each has heard each.
 */
async function allSubscribed(members) {
  const greet = () => members.forEach(({ client }, speaker) => client.send(GREETING + speaker));
  greet();
  const timer = setInterval(greet, GREETING_INTERVAL);
  try {
    await Promise.all(members.map(async ({ client }) => {
      const greeted = new Set();
      while (greeted.size < members.length - 1) greeted.add(await client.next());
    }));
  } finally {
    clearInterval(timer);
  }
}

/** The next message that is no greeting; a speaker's greetings come before its others. */
async function said(client) {
  for (;;) {
    const message = await client.next();
    if (typeof message !== "string" || !message.startsWith(GREETING)) return message;
  }
}
