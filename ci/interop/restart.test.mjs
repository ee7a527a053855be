// The centrifuge client across restarts of a server that keeps its history on disk.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { ChatClient, Received, SECRET, closeAll, event, token } from "./chat.mjs";
import { withConfig, withServer } from "./server.mjs";

const ROUNDS = ["SIGTERM", "SIGKILL", "SIGTERM", "SIGKILL"];
const CALM = 10;
const BURST = 100; // below the publications of one client that may wait for the disk

/** A server with a store, and these lines of its table. */
function withStore(name, persistence, body) {
  const config = (folder) => `[client]
token_secret = "${SECRET}"
[channel]
allow_subscribe = "user"
allow_publish = "subscriber"
allow_history = "subscriber"
history_size = 10000
history_ttl = "1h"
persist = true
[persistence]
path = ${JSON.stringify(`${folder}/history.redb`)}
${persistence}
`;
  return withConfig(config, (file) => withServer(`restart-${name}`, ["--config", file], body));
}

afterEach(closeAll);

/** What clients of one encoding publish for a number, and the number of what they get. */
const encodings = {
  json: { protobuf: false, wrap: (n) => ({ n }), unwrap: ({ n }) => n },
  protobuf: {
    protobuf: true,
    wrap: (n) => new TextEncoder().encode(JSON.stringify({ n })),
    unwrap: (data) => JSON.parse(new TextDecoder().decode(data)).n,
  },
};

async function restart(server, signal) {
  assert.equal(await server.stop(signal), signal === "SIGTERM" ? 0 : null);
  await server.start();
}

/** Notes what the server did with each publication: `answered` ones must be kept. */
class Speaker {
  answered = [];
  open = [];
  #said = 0;

  constructor(sub, wrap) {
    this.sub = sub;
    this.wrap = wrap;
  }

  say(count) {
    return Array.from({ length: count }, () => {
      this.#said += 1;
      const n = this.#said;
      return this.sub.publish(this.wrap(n)).then(() => this.answered.push(n), () => this.open.push(n));
    });
  }
}

for (const [name, { protobuf, wrap, unwrap }] of Object.entries(encodings)) {
  test(`${name}: clients recover across stops and kills, and nothing is lost or comes twice`, () =>
    withStore(name, "", async (server) => {
      const open = (sub, claims = {}) => ChatClient.open(server, { protobuf, token: token({ sub, ...claims }) });
      const [ann, bob, eve] = await Promise.all(["ann", "bob", "eve"].map((sub) => open(sub)));
      const said = await ann.subscribe("storm");
      const [awake, asleep] = [await bob.subscribe("storm"), await eve.subscribe("storm")];
      // The server subscribes this one.
      const led = await open("sid", { channels: ["storm"] });
      const heard = new Received();
      led.centrifuge.on("publication", (publication) => heard.push(publication));

      const speaker = new Speaker(said.sub, wrap);
      for (const signal of ROUNDS) {
        eve.centrifuge.disconnect();
        await Promise.all(speaker.say(CALM));
        const back = [said.sub, awake.sub].map((sub) => event(sub, "subscribed"));
        back.push(event(led.centrifuge, "subscribed"));
        const flying = speaker.say(BURST);
        await Promise.race(flying);
        await restart(server, signal);
        for (const { wasRecovering, recovered } of await Promise.all(back)) {
          assert.deepEqual([wasRecovering, recovered], [true, true], signal);
        }
        await Promise.all(flying);
        await Promise.all(speaker.say(CALM));
        const woken = event(asleep.sub, "subscribed");
        await eve.connect();
        const { wasRecovering, recovered } = await woken;
        assert.deepEqual([wasRecovering, recovered], [true, true], signal);
      }
      await Promise.all(speaker.say(1));

      const kept = [];
      for (let since; ;) {
        const { publications, epoch } = await said.sub.history({ limit: -1, since });
        if (publications.length === 0) break;
        kept.push(...publications.map(({ data, offset }) => [offset, unwrap(data)]));
        since = { offset: kept.at(-1)[0], epoch };
      }
      assert.deepEqual(kept.map(([offset]) => offset), kept.map((_, i) => i + 1));
      const numbers = kept.map(([, n]) => n);
      const once = new Set(numbers);
      assert.equal(once.size, numbers.length, "no publication is kept twice");
      assert.deepEqual(speaker.answered.filter((n) => !once.has(n)), [], "what was answered is kept");
      assert.equal(speaker.answered.length + speaker.open.length, ROUNDS.length * (2 * CALM + BURST) + 1);
      for (const { all } of await Promise.all([said.received, awake.received, asleep.received, heard].map(async (received) => {
        await received.atLeast(kept.length);
        return received;
      }))) {
        assert.deepEqual(all.map(({ data, offset }) => [offset, unwrap(data)]), kept);
      }
    }));
}

test("with answers before the disk a kill is told as what it is, and a stop loses nothing", () =>
  withStore("interval", 'sync = "interval"\ninterval = "1h"', async (server) => {
    const ann = await ChatClient.open(server, { token: token({ sub: "ann" }) });
    const { sub, received } = await ann.subscribe("room");
    const begins = [];
    for (const [round, signal] of ["SIGTERM", "SIGKILL"].entries()) {
      await sub.publish(round);
      await received.atLeast(round + 1);
      const again = event(sub, "subscribed");
      await restart(server, signal);
      const { wasRecovering, recovered, streamPosition } = await again;
      begins.push([wasRecovering, recovered, streamPosition.epoch]);
    }
    assert.deepEqual(begins.map(([was, recovered]) => [was, recovered]), [[true, true], [true, false]]);
    assert.notEqual(begins[0][2], begins[1][2]);
    await sub.publish(2);
    assert.deepEqual((await received.atLeast(3)).map(({ data }) => data), [0, 1, 2]);
  }));
