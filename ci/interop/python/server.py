"""The server under test: started on loopback, watched, and never left behind."""

import asyncio
import atexit
import os
import random
import re
import signal
import socket
import sys
import tempfile
import unittest
from pathlib import Path

PATIENCE = 20.0  # seconds for what takes milliseconds
ROOT = Path(__file__).resolve().parents[3]
ARTIFACTS = ROOT / "ci" / "artifacts"
BINARY = Path(os.environ.get("HIOLOAD_SERVER", ROOT / "target" / "release" / "hioload-server"))
LISTENING = re.compile(rb"listening on http://127\.0\.0\.1:(\d+)")

# Below those that the kernel gives to clients: while a server is away, one of those that
# come back to it may not take its port for an address of its own.
PORTS = range(20_000, 32_000)

_running = set()


def _end_all():
    for process in _running:
        try:
            process.kill()
        except ProcessLookupError:
            pass


atexit.register(_end_all)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


def free_port():
    """A free port that stays free for a server's next run."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass


class Server:
    def __init__(self, name, *options):
        self.options = options
        self.port = free_port()
        self._process = None
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        self._log = (ARTIFACTS / f"interop-python-{name}.log").open("wb")

    @property
    def origin(self):
        return f"http://127.0.0.1:{self.port}"

    def url(self, path):
        return f"ws://127.0.0.1:{self.port}{path}"

    async def start(self):
        """Starts on the port that it has in every run."""
        listen = f"127.0.0.1:{self.port}"
        self._process = await asyncio.create_subprocess_exec(
            BINARY, "--listen", listen, "--shards", "2", *self.options,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=self._log,
        )
        _running.add(self._process)
        self.port = await asyncio.wait_for(self._listening(), PATIENCE)

    async def _listening(self):
        async for line in self._process.stdout:
            self._log.write(line)
            if match := LISTENING.search(line):
                return int(match[1])
        raise AssertionError(f"the server did not say where it listens; see {self._log.name}")

    async def stop(self, number):
        """Ends the server, and answers with its exit code: that signal's, negative, or 0."""
        process, self._process = self._process, None
        if process.returncode is None:
            process.send_signal(number)
        # The end of its output comes with its own.
        self._log.write(await asyncio.wait_for(process.stdout.read(), PATIENCE))
        code = await asyncio.wait_for(process.wait(), PATIENCE)
        _running.discard(process)
        return code

    async def restart(self, number):
        code = await self.stop(number)
        assert code == (0 if number == signal.SIGTERM else -number), f"ended with {code}"
        await self.start()

    async def close(self):
        """What a test ends with: a stop, which must be a good one."""
        code = await self.stop(signal.SIGTERM) if self._process else 0
        self._log.close()
        assert code == 0, f"the server ended with {code} after SIGTERM; see {self._log.name}"


class WithServer(unittest.IsolatedAsyncioTestCase):
    """Tests that start servers, which end with them."""

    async def asyncSetUp(self):
        # On by default in such tests; it makes them many times slower.
        asyncio.get_running_loop().set_debug(False)

    async def serve(self, *options):
        server = Server(self.id().split(".", 1)[1], *options)
        await server.start()
        self.addAsyncCleanup(server.close)
        return server

    def folder(self):
        folder = tempfile.TemporaryDirectory(prefix="hioload-interop-")
        self.addCleanup(folder.cleanup)
        return Path(folder.name)

    async def serve_configured(self, toml):
        """A server with this configuration; `{folder}` in it is one of this test alone."""
        folder = self.folder()
        file = folder / "server.toml"
        file.write_text(toml.replace("{folder}", str(folder)))
        return await self.serve("--config", str(file))


async def soon(awaitable, what):
    """Fails when it takes too long, and says for what."""
    try:
        return await asyncio.wait_for(awaitable, PATIENCE)
    except asyncio.TimeoutError:
        raise AssertionError(f"no {what} within {PATIENCE} s") from None
