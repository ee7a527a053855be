// The server under test, with a log of its own.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { ServerProcess } from "../browser/server.mjs";

const here = path.dirname(fileURLToPath(import.meta.url));
const artifacts = path.resolve(here, "../artifacts");
const binary = path.resolve(process.env.HIOLOAD_SERVER ?? path.resolve(here, "../../target/release/hioload-server"));

/** Runs `body` with a server started with these options, which must end well on SIGTERM. */
export async function withServer(name, options, body) {
  mkdirSync(artifacts, { recursive: true });
  const server = new ServerProcess(binary, path.join(artifacts, `interop-${name}.log`), options);
  await server.start();
  let code;
  try {
    await body(server);
  } finally {
    code = await server.stop("SIGTERM");
  }
  if (code !== 0) throw new Error(`the server ended with ${code ?? "a signal"} after SIGTERM`);
}

/**
 * Runs `body` with the name of a file that holds this configuration: text, or what a
 * function makes of a folder for the files it names.
 */
export async function withConfig(toml, body) {
  const folder = mkdtempSync(path.join(tmpdir(), "hioload-interop-"));
  try {
    const file = path.join(folder, "server.toml");
    writeFileSync(file, typeof toml === "function" ? toml(folder) : toml);
    await body(file);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
