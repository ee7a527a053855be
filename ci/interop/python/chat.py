"""centrifuge-python clients whose events can be waited for, tokens, and a network to cut."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections import defaultdict

import aiohttp
from centrifuge import Client, ClientEventHandler, SubscriptionEventHandler

from server import WithServer, soon

SECRET = "a secret for the tests alone"
KEY = "a-key-for-the-tests-alone"
PATH = "/connection/websocket"

ALLOWED = f"""
[api]
key = "{KEY}"
[client]
token_secret = "{SECRET}"
{{client}}
[channel]
allow_subscribe = "user"
allow_publish = "subscriber"
allow_presence = "subscriber"
allow_history = "subscriber"
{{channel}}
"""


def allowed(client="", channel="", more=""):
    """A configuration that takes tokens, with lines for its tables."""
    return ALLOWED.replace("{client}", client).replace("{channel}", channel) + more


def token(claims, secret=SECRET):
    """A JWT with these claims, HS256."""

    def part(raw):
        return base64.urlsafe_b64encode(raw).rstrip(b"=")

    signed = b".".join(part(json.dumps(one).encode()) for one in ({"alg": "HS256", "typ": "JWT"}, claims))
    mac = hmac.new(secret.encode(), signed, hashlib.sha256).digest()
    return (signed + b"." + part(mac)).decode()


def in_seconds(seconds):
    """Seconds of the Unix clock, so long from now."""
    return int(time.time()) + seconds


class Told:
    """What has arrived, by the name of its event, and a way to wait for more."""

    def __init__(self):
        self.all = defaultdict(list)
        self._changed = asyncio.Event()

    def note(self, name, what):
        self.all[name].append(what)
        self._changed.set()

    async def at_least(self, name, count):
        """All of that name, once it is so many."""

        async def enough():
            while len(self.all[name]) < count:
                self._changed.clear()
                await self._changed.wait()

        await soon(enough(), f"{count} of {name}")
        return self.all[name]


def _recording(base):
    """A handler of all events of `base`, which notes them in its `told`."""

    def noting(name):
        async def note(self, context):
            self.told.note(name, context)

        return note

    def __init__(self):
        self.told = Told()

    methods = {name: noting(name[3:]) for name in dir(base) if name.startswith("on_")}
    return type(f"Recording{base.__name__}", (base,), {"__init__": __init__, **methods})


ClientRecorder = _recording(ClientEventHandler)
SubscriptionRecorder = _recording(SubscriptionEventHandler)


class Room:
    """A subscription, and what it is told."""

    def __init__(self, sub, told, member):
        self.sub = sub
        self.told = told
        self._member = member

    async def publish(self, value):
        await self.sub.publish(self._member.encode(value))

    async def publications(self, count):
        """Offset and value of each, once there are so many."""
        all_of_them = await self.told.at_least("publication", count)
        return [(one.pub.offset, self._member.decode(one.pub.data)) for one in all_of_them]


class Member:
    """A client, and what it is told."""

    def __init__(self, where, protobuf, **options):
        recorder = ClientRecorder()
        self.told = recorder.told
        self.protobuf = protobuf
        self.client = Client(
            f"ws://127.0.0.1:{where.port}{PATH}", events=recorder, use_protobuf=protobuf,
            timeout=20.0, min_reconnect_delay=0.02, max_reconnect_delay=0.2, proxy=None, **options,
        )

    async def connect(self):
        count = len(self.told.all["connected"])
        await self.client.connect()
        return (await self.told.at_least("connected", count + 1))[-1]

    def encode(self, value):
        return json.dumps(value).encode() if self.protobuf else value

    def decode(self, data):
        return json.loads(data) if self.protobuf else data

    def room(self, channel, **options):
        recorder = SubscriptionRecorder()
        sub = self.client.new_subscription(
            channel, events=recorder, min_resubscribe_delay=0.02, max_resubscribe_delay=0.2, **options,
        )
        return Room(sub, recorder.told, self)

    async def subscribe(self, channel, **options):
        """A subscription that has begun."""
        room = self.room(channel, **options)
        await room.sub.subscribe()
        await room.told.at_least("subscribed", 1)
        return room


class Wire:
    """Passes bytes on to a server until it is cut."""

    def __init__(self):
        self._cut = False
        self._writers = set()

    async def start(self, server):
        self._server = server
        self._listener = await asyncio.start_server(self._join, "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def _join(self, near, to_near):
        if self._cut:
            to_near.transport.abort()
            return
        try:
            far, to_far = await asyncio.open_connection("127.0.0.1", self._server.port)
        except OSError:
            to_near.transport.abort()
            return
        self._writers |= {to_near, to_far}
        try:
            await asyncio.gather(self._pass(near, to_far), self._pass(far, to_near))
        finally:
            for writer in (to_near, to_far):
                writer.transport.abort()
                self._writers.discard(writer)

    @staticmethod
    async def _pass(reader, writer):
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        writer.transport.abort()

    def cut(self):
        """Kills every connection, and refuses new ones."""
        self._cut = True
        for writer in self._writers:
            writer.transport.abort()

    def mend(self):
        self._cut = False

    async def close(self):
        self.cut()
        self._listener.close()


class WithChat(WithServer):
    """Tests of clients in one encoding."""

    protobuf = False

    async def open(self, where, user, claims=None, connect=True, **options):
        """A client with a token for this user, or with the `token` that is given."""
        options.setdefault("token", token({"sub": user, **(claims or {})}))
        member = Member(where, self.protobuf, **options)
        self.addAsyncCleanup(member.client.disconnect)
        if connect:
            await member.connect()
        return member

    async def wire(self, server):
        wire = Wire()
        await wire.start(server)
        self.addAsyncCleanup(wire.close)
        return wire

    async def api(self, server, method, **body):
        async with aiohttp.ClientSession(headers={"X-API-Key": KEY}) as session:
            async with session.post(f"{server.origin}/api/{method}", json=body) as response:
                self.assertEqual(response.status, 200)
                answer = await response.json(content_type=None)
        self.assertNotIn("error", answer, method)
        return answer["result"]
