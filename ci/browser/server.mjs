// The server under test: started on loopback, watched, and never left behind.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createWriteStream, existsSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import { createInterface } from "node:readline";

const START_TIMEOUT = 15_000;

// Below those that the kernel gives to clients: while a server is away, one of those that
// come back to it may not take its port for an address of its own.
const PORTS = { first: 20_000, count: 12_000 };

/** A free port that stays free for a server's next run. */
async function freePort() {
  for (;;) {
    const port = PORTS.first + Math.floor(Math.random() * PORTS.count);
    const probe = net.createServer();
    const free = await new Promise((resolve) => {
      probe.once("error", () => resolve(false));
      probe.listen({ host: "127.0.0.1", port }, () => probe.close(() => resolve(true)));
    });
    if (free) return port;
  }
}

const running = new Set();
process.on("exit", () => { for (const child of running) child.kill("SIGKILL"); });
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1));

export class ServerProcess {
  #child = null;

  constructor(binary, logFile, options = [], env = {}) {
    if (!existsSync(binary)) throw new Error(`no server at ${binary}: cargo build --release -p hioload-server, or set HIOLOAD_SERVER`);
    this.binary = binary;
    this.options = options;
    this.env = env;
    this.port = 0;
    /** What opens /admin, once it was printed. */
    this.adminToken = "";
    /** What it has logged. */
    this.errors = "";
    this.log = createWriteStream(logFile);
  }

  get pid() { return this.#child.pid; }

  get origin() { return `http://127.0.0.1:${this.port}`; }

  /** Starts on the port of the previous run, or on any free one the first time. */
  async start() {
    this.port ||= await freePort();
    const child = spawn(this.binary, ["--listen", `127.0.0.1:${this.port}`, "--shards", "2", ...this.options], { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...this.env } });
    this.#child = child;
    running.add(child);
    child.once("exit", () => running.delete(child));
    child.stderr.on("data", (chunk) => { this.errors += chunk; this.log.write(chunk); });
    const lines = createInterface({ input: child.stdout });
    this.port = await new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error("the server did not say where it listens")), START_TIMEOUT);
      child.once("error", reject);
      child.once("exit", (code, signal) => { clearTimeout(timer); reject(new Error(`the server ended at once (${code ?? signal}); see ${this.log.path}`)); });
      lines.on("line", (line) => {
        this.log.write(line + "\n");
        const match = /listening on http:\/\/127\.0\.0\.1:(\d+)/.exec(line);
        if (match) { clearTimeout(timer); resolve(Number(match[1])); }
        this.adminToken = /the token for \/admin.*: (\w+)/.exec(line)?.[1] ?? this.adminToken;
      });
    });
  }

  /** Ends the server and answers with its exit code, null when a signal ended it. */
  async stop(signal) {
    const child = this.#child;
    if (!child) return undefined;
    this.#child = null;
    if (child.exitCode === null && child.signalCode === null) {
      const exit = once(child, "exit");
      child.kill(signal);
      await exit;
    }
    return child.exitCode;
  }

  async get(path) {
    return new Promise((resolve, reject) => {
      http.get(this.origin + path, { agent: false, headers: { connection: "close" } }, (response) => {
        let body = "";
        response.setEncoding("utf8").on("data", (chunk) => { body += chunk; }).on("end", () => resolve({ status: response.statusCode, headers: response.headers, body }));
      }).on("error", reject);
    });
  }
}
