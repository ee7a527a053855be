// A frame of 1 MiB that inflates to almost 1 GiB costs its sender the connection, and
// nobody else anything.
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import zlib from "node:zlib";
import { Client, same } from "./client.mjs";
import { prose } from "./payloads.mjs";
import { opcodes, RawClient, frame, request } from "./raw.mjs";
import { withServer } from "./server.mjs";

const MIB = 1 << 20;
const PIECE = 8 * MIB;
const PIECES = 125;
const IN_TURN = 100;
const AT_ONCE = 16;
const ECHOES_MIN = 20; // of another connection meanwhile

/** A full flush ends a piece at a byte and forgets it, so pieces repeat: 1,000 MiB. */
function bomb() {
  const piece = zlib.deflateRawSync(Buffer.alloc(PIECE), { level: 9, finishFlush: zlib.constants.Z_FULL_FLUSH });
  const unpacked = zlib.inflateRawSync(piece, { finishFlush: zlib.constants.Z_SYNC_FLUSH });
  assert.equal(unpacked.length, PIECE);
  const packed = Buffer.concat(Array(PIECES).fill(piece));
  assert.ok(packed.length > 0.95 * MIB && packed.length <= MIB, `${packed.length} bytes`);
  return frame(opcodes.binary, packed, true);
}

function memory(pid) {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const read = (name) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)[1]);
  return { now: read("VmRSS"), peak: read("VmHWM") };
}

/** Sends the bytes on a fresh connection and answers with the code it is closed with. */
async function detonate(port, bytes) {
  const raw = await RawClient.open(port);
  await raw.write(request("/echo", { "Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits" }));
  const { status, text } = await raw.head();
  assert.equal(status, 101);
  assert.match(text, /permessage-deflate/i);
  // The server closes while this is still being sent.
  raw.socket.write(bytes);
  const code = await raw.closeCode();
  raw.socket.destroy();
  await raw.ended;
  return code;
}

/**
 * The limit that cuts it first, and how far memory may grow, in kB. The ratio counts
 * all bytes received so far: it lets each of the two shards inflate 200 times one
 * read of the socket, and as much again while that buffer grows.
 */
const limits = {
  "the message limit": { options: [], growthMax: 16 << 10 },
  "the ratio": { options: ["--max-message", String(1 << 30)], growthMax: 96 << 10 },
};

for (const mode of ["shared", "dedicated"]) {
  for (const [limit, { options, growthMax }] of Object.entries(limits)) {
    test(`${mode}: a bomb is cut by ${limit} with 1009, and memory stays flat`, () =>
      withServer(`bomb-${mode}-${limit.split(" ").at(-1)}`, ["--deflate", mode, ...options], async (server) => {
        const bytes = bomb();
        let over = false;
        const bystander = await Client.open(`ws://127.0.0.1:${server.port}/echo`);
        const echoing = (async () => {
          let echoed = 0;
          while (!over) {
            const message = prose(3000, echoed);
            bystander.send(message);
            assert.ok(same(await bystander.next(), message));
            echoed += 1;
          }
          return echoed;
        })();

        assert.equal(await detonate(server.port, bytes), 1009);
        writeFileSync(`/proc/${server.pid}/clear_refs`, "5"); // the peak starts over
        const before = memory(server.pid);
        for (let i = 0; i < IN_TURN; i += 1) assert.equal(await detonate(server.port, bytes), 1009);
        const inTurn = memory(server.pid);
        const codes = await Promise.all(Array.from({ length: AT_ONCE }, () => detonate(server.port, bytes)));
        assert.deepEqual(codes, Array(AT_ONCE).fill(1009));
        const after = memory(server.pid);

        over = true;
        assert.ok((await echoing) >= ECHOES_MIN);
        assert.equal(await bystander.close(), 1000);
        const note = `kB resident: ${before.now} before, peaks ${inTurn.peak} in turn and ${after.peak} at once, ${after.now} after`;
        console.log(note);
        assert.ok(after.peak - before.now < growthMax, note);
      }));
  }
}
