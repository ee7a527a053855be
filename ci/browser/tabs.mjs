// Chromium with tabs whose every complaint is kept, and a way to the server that can be cut.
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { once } from "node:events";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const here = path.dirname(fileURLToPath(import.meta.url));
export const artifacts = path.resolve(here, "../artifacts");
export const binary = path.resolve(process.env.HIOLOAD_SERVER ?? path.resolve(here, "../../target/release/hioload-server"));
const browserPath = process.env.CHROMIUM ?? "/usr/bin/chromium";

export const WAIT = 30_000;
export const DESKTOP = { width: 1280, height: 800 }, PHONE = { width: 390, height: 844 };

const scratch = mkdtempSync(path.join(tmpdir(), "hioload-browser-"));
mkdirSync(artifacts, { recursive: true });
process.on("exit", () => rmSync(scratch, { recursive: true, force: true, maxRetries: 3 }));

export class Tabs {
  complaints = [];
  /** What is expected while the server can not be reached or refuses. */
  excused = null;

  async start() {
    this.browser = await chromium.launch({
      executablePath: browserPath,
      headless: true,
      env: { ...process.env, HOME: scratch, TMPDIR: scratch },
      args: [
        "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
      ],
    });
  }

  /** A tab of somebody with this name, who was never here before. */
  async open(name = "", viewport = DESKTOP) {
    const context = await this.browser.newContext({ viewport, colorScheme: "light", locale: "en-GB" });
    if (name) await context.addInitScript((who) => {
      if (location.protocol === "http:" && !localStorage.getItem("hioload.name")) localStorage.setItem("hioload.name", who);
    }, name);
    const tab = await context.newPage();
    tab.setDefaultTimeout(WAIT);
    tab.on("pageerror", (error) => this.complaints.push(`exception: ${error.stack}`));
    tab.on("console", (message) => {
      const text = message.text();
      if (["error", "warning"].includes(message.type()) && !this.excused?.test(text)) this.complaints.push(`${message.type()}: ${text}`);
    });
    return tab;
  }

  async stop() { await this.browser?.close(); }
}

export const shot = (tab, name, options = {}) =>
  tab.screenshot({ path: path.join(artifacts, `${name}.png`), animations: "disabled", ...options });

/** Pixels of content that do not fit the width of the window. */
export const overhang = (tab) => tab.evaluate(() => document.documentElement.scrollWidth - innerWidth);

/** Passes bytes on to a server until it is cut. */
export class Wire {
  #server;
  #sockets = new Set();

  async start(port) {
    this.#server = net.createServer((near) => {
      if (this.isCut) return near.destroy();
      const far = net.connect(port, "127.0.0.1");
      for (const [one, other] of [[near, far], [far, near]]) {
        this.#sockets.add(one);
        one.on("error", () => {}).on("close", () => { this.#sockets.delete(one); other.destroy(); });
        one.pipe(other);
      }
    }).listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    this.origin = `http://127.0.0.1:${this.#server.address().port}`;
  }

  isCut = false;

  /** Kills every connection, and refuses new ones. */
  cut() {
    this.isCut = true;
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  mend() { this.isCut = false; }

  stop() {
    this.cut();
    this.#server.close();
  }
}
