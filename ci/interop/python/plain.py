"""websockets and aiohttp behind one face: one message out, one message in, the close."""

import aiohttp
import websockets
from websockets.exceptions import ConnectionClosed

from server import soon

MESSAGE_MAX = 8 << 20


class Ended(Exception):
    """The connection has ended, with this code."""

    def __init__(self, code, reason=""):
        super().__init__(f"ended with {code} {reason}")
        self.code = code


class Websockets:
    """A client of `websockets`."""

    name = "websockets"

    @classmethod
    async def open(cls, url, compressed=True, **options):
        self = cls()
        self.ws = await soon(websockets.connect(
            url, proxy=None, max_size=MESSAGE_MAX, compression="deflate" if compressed else None, **options,
        ), "connection")
        return self

    @property
    def extensions(self):
        return self.ws.response.headers.get("Sec-WebSocket-Extensions", "")

    async def send(self, message):
        await self.ws.send(message)

    async def next(self):
        try:
            return await soon(self.ws.recv(), "message")
        except ConnectionClosed as ended:
            raise Ended(ended.rcvd and ended.rcvd.code, ended.rcvd and ended.rcvd.reason) from None

    async def pinged(self, payload):
        """Returns when the server has answered a ping of this payload."""
        await soon(await self.ws.ping(payload), "pong")

    async def close(self, code=1000, reason=""):
        """Closes, and answers with the server's code."""
        await soon(self.ws.close(code, reason), "close")
        return self.ws.close_code

    async def drop(self):
        self.ws.transport.abort()


class Aiohttp:
    """A client of `aiohttp`."""

    name = "aiohttp"

    @classmethod
    async def open(cls, url, compressed=True, **options):
        self = cls()
        self._session = aiohttp.ClientSession()
        self.ws = await soon(self._session.ws_connect(
            url, max_msg_size=MESSAGE_MAX, compress=15 if compressed else 0, autoping=False, **options,
        ), "connection")
        return self

    @property
    def extensions(self):
        return self.ws._response.headers.get("Sec-WebSocket-Extensions", "")

    async def send(self, message):
        await (self.ws.send_str(message) if isinstance(message, str) else self.ws.send_bytes(message))

    async def _receive(self):
        """The next message or pong; without autoping, that tests could not see."""
        while (message := await self.ws.receive()).type == aiohttp.WSMsgType.PING:
            await self.ws.pong(message.data)
        return message

    async def next(self):
        message = await soon(self._receive(), "message")
        if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            return message.data
        # As it arrived: `ws.close_code` becomes 1006 where the server has ended
        # the connection before the client's own Close is written.
        arrived = message.type == aiohttp.WSMsgType.CLOSE
        raise Ended(message.data if arrived else self.ws.close_code, message.extra)

    async def pinged(self, payload):
        await self.ws.ping(payload)
        message = await soon(self._receive(), "pong")
        assert (message.type, bytes(message.data)) == (aiohttp.WSMsgType.PONG, payload), message

    async def close(self, code=1000, reason=""):
        await soon(self.ws.close(code=code, message=reason.encode()), "close")
        await self._session.close()
        return self.ws.close_code

    async def drop(self):
        await self._session.close()


CLIENTS = (Websockets, Aiohttp)
