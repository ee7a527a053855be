// Pages of another origin than the server's, with the centrifuge client as browsers get it.
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import http from "node:http";
import path from "node:path";
import { fileURLToPath } from "node:url";

const here = path.dirname(fileURLToPath(import.meta.url));
const bundles = path.join(here, "node_modules/centrifuge/dist");

export const SECRET = "a secret for the tests alone";

/** A JWT with these claims, HS256. */
export function token(claims, secret = SECRET) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part(claims)}`;
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}

/** Seconds of the Unix clock, so long from now. */
export const inSeconds = (seconds) => Math.floor(Date.now() / 1000) + seconds;

const page = (bundle) => `<!doctype html><html lang="en"><meta charset="utf-8"><title>centrifuge</title><link rel="icon" href="data:,">
<script src="/${bundle}"></script><script src="/sdk-page.js"></script></html>`;

/** Serves `/json` and `/protobuf`, which differ in the bundle. */
export class Origin {
  #server;

  async start() {
    const answers = {
      "/json": ["text/html", page("centrifuge.js")],
      "/protobuf": ["text/html", page("centrifuge.protobuf.js")],
      "/sdk-page.js": ["text/javascript", readFileSync(path.join(here, "sdk-page.js"))],
    };
    for (const bundle of ["centrifuge.js", "centrifuge.protobuf.js"]) {
      answers[`/${bundle}`] = ["text/javascript", readFileSync(path.join(bundles, bundle))];
    }
    this.#server = http.createServer(({ url }, response) => {
      const [type, body] = answers[url] ?? ["text/plain", ""];
      response.writeHead(url in answers ? 200 : 404, { "Content-Type": `${type}; charset=utf-8` }).end(body);
    }).listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    this.url = `http://127.0.0.1:${this.#server.address().port}`;
  }

  stop() {
    this.#server?.closeAllConnections?.();
    this.#server?.close();
  }
}

/** A tab with one centrifuge client. What it is told is read from here. */
export class Member {
  constructor(tab) { this.tab = tab; }

  /**
   * Opens the page, and connects at once unless told not to. Tokens are asked for here
   * by `freshToken(channel)`, where the channel of a connection is empty.
   */
  static async open(tabs, origin, encoding, endpoint, { first = "", freshToken, connect = true } = {}) {
    const tab = await tabs.open();
    const member = new Member(tab);
    if (freshToken) await tab.exposeFunction("freshToken", freshToken);
    await tab.goto(`${origin.url}/${encoding}`);
    await tab.evaluate(([endpoint, first, binary, refreshes]) => chat.create(endpoint, first, binary, refreshes), [endpoint, first, encoding === "protobuf", freshToken !== undefined]);
    if (connect) await member.connect();
    return member;
  }

  async connect() {
    const before = await this.count("", "connected");
    await this.tab.evaluate(() => chat.client.connect());
    return (await this.atLeast("", "connected", before + 1)).at(-1);
  }

  /** Subscribes, and answers with how that began. */
  async subscribe(channel, options = {}) {
    await this.tab.evaluate(([channel, options]) => chat.subscribe(channel, options), [channel, options]);
    return (await this.atLeast(channel, "subscribed", 1))[0];
  }

  /** Calls a method of a subscription; what it is refused with is `{ refused }`. */
  ask(channel, method, argument) {
    return this.tab.evaluate((asked) => chat.ask(...asked), [channel, method, argument]);
  }

  publish(channel, value) { return this.ask(channel, "publish", value); }

  /** What was told of a channel, or of the client itself where that is empty. */
  told(channel, name) { return this.tab.evaluate(([channel, name]) => chat.told(channel, name), [channel, name]); }

  async count(channel, name) { return (await this.told(channel, name)).length; }

  /** The same, once it is so many. */
  async atLeast(channel, name, count) {
    await this.tab.waitForFunction(([channel, name, count]) => chat.told(channel, name).length >= count, [channel, name, count], { polling: 20 })
      .catch(async (error) => {
        throw new Error(`not ${count} of ${name} of ${channel || "the client"}, but ${JSON.stringify(await this.told(channel, name)).slice(0, 500)}`, { cause: error });
      });
    return this.told(channel, name);
  }

  close() { return this.tab.context().close(); }
}
