// Messages that are the same in every run.
const WORDS = ["harbour", "lighthouse ", "{\"user\":", "\"Grüße\",", "波止場", "🚢", " 0.25, ", "tide\n"];

/** Mulberry32: small, seeded, and good enough to be incompressible. */
export class Random {
  constructor(seed) { this.state = seed >>> 0; }

  next() {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let mixed = this.state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  }

  below(bound) { return this.next() % bound; }
}

/** Bytes without a pattern. */
export function noise(size, seed) {
  const random = new Random(seed);
  const bytes = Buffer.allocUnsafe(size);
  for (let i = 0; i < size; i += 1) bytes[i] = random.next() & 0xff;
  return bytes;
}

/** Bytes that repeat what came up to 32 KiB before, so that matches reach to a window's end. */
export function echoes(size, seed) {
  const random = new Random(seed);
  const bytes = noise(size, seed);
  for (let at = 300; at < size;) {
    const length = Math.min(3 + random.below(255), size - at);
    const from = at - 1 - random.below(Math.min(at, 1 << 15));
    bytes.copy(bytes, at, from, Math.min(from + length, at));
    at += length + random.below(20);
  }
  return bytes;
}

/** Exactly `size` bytes of UTF-8, with characters of one to four bytes. */
export function prose(size, seed) {
  const random = new Random(seed);
  const parts = [];
  let left = size;
  while (left > 0) {
    const word = Buffer.from(WORDS[random.below(WORDS.length)]);
    parts.push(word.length <= left ? word : Buffer.alloc(left, "."));
    left -= parts.at(-1).length;
  }
  return Buffer.concat(parts).toString();
}

/** ASCII without a pattern: six bits a byte. */
export function gibberish(size, seed) {
  return noise(Math.ceil(size * 3 / 4), seed).toString("base64").slice(0, size).padEnd(size, "/");
}

/** One message of each sort. */
export const kinds = (size, seed) => [prose(size, seed), gibberish(size, seed), echoes(size, seed), noise(size, seed), Buffer.alloc(size)];
