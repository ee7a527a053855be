"""websockets and aiohttp against `/echo`."""

import random

import websockets
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from plain import CLIENTS, Ended, Websockets
from server import WithServer

MIB = 1 << 20
SIZES = (0, 1, 125, 126, 127, 255, 256, 4096, 65_535, 65_536, 300_000, MIB)
WORDS = ("harbour ", "корабль ", "船", "\U0001f6a2 ")


def prose(size, seed):
    """So many bytes of UTF-8, with characters of one to four."""
    text = "".join(random.Random(seed).choices(WORDS, k=size // 3 + 1)).encode()
    whole = text[:size].decode(errors="ignore")
    return whole + "." * (size - len(whole.encode()))


def noise(size, seed):
    return random.Random(seed).randbytes(size)


class Echo(WithServer):
    async def open(self, cls, url, **options):
        client = await cls.open(url, **options)
        self.addAsyncCleanup(client.drop)
        return client

    async def comes_back(self, client, message):
        await client.send(message)
        answer = await client.next()
        # Never print a megabyte.
        self.assertIs(type(answer), type(message))
        self.assertTrue(answer == message, f"{type(message)} of {len(message)}, compressed: {client.extensions}")

    async def test_text_and_bytes_of_every_size_come_back(self):
        for mode in ("shared", "dedicated", "off"):
            server = await self.serve("--deflate", mode)
            for cls in CLIENTS:
                for compressed in (True, False):
                    with self.subTest(cls.name, mode=mode, compressed=compressed):
                        client = await self.open(cls, server.url("/echo"), compressed=compressed)
                        negotiated = "permessage-deflate" in client.extensions
                        self.assertEqual(negotiated, compressed and mode != "off", client.extensions)
                        for seed, size in enumerate(SIZES):
                            await self.comes_back(client, prose(size, seed))
                            await self.comes_back(client, noise(size, seed))
                            await self.comes_back(client, bytes(size))
                        self.assertEqual(await client.close(), 1000)

    async def test_windows_and_takeover_are_negotiated(self):
        server = await self.serve("--deflate", "dedicated")
        for bits in (9, 11, 15):
            for alone in (False, True):
                offer = ClientPerMessageDeflateFactory(
                    server_max_window_bits=bits, client_max_window_bits=bits,
                    server_no_context_takeover=alone, client_no_context_takeover=alone,
                )
                client = await self.open(Websockets, server.url("/echo"), compressed=False, extensions=[offer])
                self.assertIn("permessage-deflate", client.extensions)
                self.assertEqual("server_no_context_takeover" in client.extensions, alone)
                for seed in range(8):
                    await self.comes_back(client, prose(5000, seed))
                await client.close()

    async def test_fragments_come_back_whole_with_pings_between(self):
        server = await self.serve()
        for compressed in (True, False):
            client = await self.open(Websockets, server.url("/echo"), compressed=compressed)
            for message in (prose(90_000, 1), noise(90_000, 2)):
                pongs = []

                async def pieces():
                    for at in range(0, len(message), 7000):
                        yield message[at:at + 7000]
                        yield message[:0]
                        pongs.append(await client.ws.ping())

                await client.ws.send(pieces())
                self.assertTrue(await client.next() == message)
                self.assertEqual(len(pongs), -(-len(message) // 7000))
                for pong in pongs:
                    await pong
            await client.close()

    async def test_pings_are_answered(self):
        server = await self.serve()
        for cls in CLIENTS:
            client = await self.open(cls, server.url("/echo"))
            for payload in (b"a", b"x" * 125, bytes(range(100))):
                await client.pinged(payload)
            await self.comes_back(client, "after them")
            await client.close()

    async def test_many_on_their_way_keep_their_order(self):
        server = await self.serve("--deflate", "dedicated")
        for cls in CLIENTS:
            client = await self.open(cls, server.url("/echo"))
            sent = [prose(n % 900, n) if n % 2 else noise(n % 900, n) for n in range(600)]
            for message in sent:
                await client.send(message)
            self.assertTrue([await client.next() for _ in sent] == sent)
            await client.close()

    async def test_the_code_of_a_close_comes_back(self):
        server = await self.serve()
        for cls in CLIENTS:
            for code, reason in ((1000, ""), (1001, "away"), (1011, "é" * 61), (3000, "x" * 123), (4999, "last")):
                client = await self.open(cls, server.url("/echo"))
                self.assertEqual(await client.close(code, reason), code, cls.name)

    async def test_what_is_wrong_ends_with_its_code(self):
        server = await self.serve()
        for cls in CLIENTS:
            for compressed in (True, False):
                client = await self.open(cls, server.url("/echo"), compressed=compressed)
                await self.comes_back(client, noise(MIB, 1))
                await client.send(noise(MIB + 1, 1))
                await self.ends(client, 1009)
        client = await self.open(Websockets, server.url("/echo"))
        await client.ws.send(b"\xff\xfe", text=True)
        await self.ends(client, 1007)
        # A reserved code.
        client = await self.open(Websockets, server.url("/echo"))
        with self.assertRaises(websockets.exceptions.WebSocketException):
            await client.close(1005)
        await self.comes_back(await self.open(Websockets, server.url("/echo")), "others go on")

    async def ends(self, client, code):
        with self.assertRaises(Ended) as caught:
            await client.next()
        self.assertEqual(caught.exception.code, code, client.name)
