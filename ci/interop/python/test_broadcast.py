"""websockets and aiohttp, publishers and subscribers of one topic."""

import asyncio
import random

from plain import CLIENTS, Ended, Websockets
from server import WithServer

PUBLISHERS_OF_A_SORT = 2
SUBSCRIBERS_OF_A_SORT = 6
MESSAGES = 150  # of each publisher, text and bytes in turn
GREETING = "is anybody there?"


def message(publisher, n):
    """The one of this number: longer and shorter, compressed and not."""
    text = f"{publisher}:{n}:" + "wave " * random.Random(n).randrange(300)
    return text if n % 2 else text.encode()


def is_greeting(line):
    return isinstance(line, str) and line.startswith(GREETING)


def said_by(line):
    publisher, n, _ = (line if isinstance(line, str) else line.decode()).split(":", 2)
    return int(publisher), int(n)


class Broadcast(WithServer):
    async def members(self, server, topic, count):
        """So many of each sort, compressed and not in turn."""
        all_of_them = []
        for cls in CLIENTS:
            for n in range(count):
                client = await cls.open(server.url(f"/broadcast/{topic}"), compressed=n % 2 == 0)
                self.addAsyncCleanup(client.drop)
                all_of_them.append(client)
        return all_of_them

    async def test_every_subscriber_has_all_of_each_publisher_in_order(self):
        for mode in ("shared", "dedicated", "off"):
            with self.subTest(mode=mode):
                server = await self.serve("--deflate", mode)
                publishers = await self.members(server, "a%20topic", PUBLISHERS_OF_A_SORT)
                subscribers = await self.members(server, "a%20topic", SUBSCRIBERS_OF_A_SORT)
                stranger = (await self.members(server, "other", 1))[0]
                await self.all_are_known(publishers, subscribers)

                async def publish(publisher, client):
                    for n in range(MESSAGES):
                        await client.send(message(publisher, n))

                async def receive(own, client):
                    """Nobody hears what it said itself."""
                    awaited = {publisher: 0 for publisher in range(len(publishers)) if publisher != own}
                    while any(n < MESSAGES for n in awaited.values()):
                        line = await client.next()
                        if is_greeting(line):
                            continue
                        publisher, n = said_by(line)
                        self.assertEqual(n, awaited[publisher], f"{client.name}, publisher {publisher}")
                        self.assertTrue(line == message(publisher, n))
                        awaited[publisher] += 1

                await asyncio.gather(
                    *(publish(*one) for one in enumerate(publishers)),
                    *(receive(*one) for one in enumerate(publishers)),
                    *(receive(None, client) for client in subscribers),
                )
                # Nothing else came, to anybody.
                for client in (*publishers, *subscribers, stranger):
                    await client.pinged(b"last")
                    self.assertEqual(await client.close(), 1000, client.name)

    async def test_a_large_message_reaches_all_and_a_larger_one_nobody(self):
        server = await self.serve()
        first, *others = await self.members(server, "edges", 2)
        await self.all_are_known([first], others)
        for size in (0, 1 << 20):
            await first.send(bytes(size))
            for client in others:
                line = await client.next()
                while is_greeting(line):
                    line = await client.next()
                self.assertTrue(line == bytes(size), client.name)
        await first.send(bytes((1 << 20) + 1))
        with self.assertRaises(Ended) as caught:
            await first.next()
        self.assertEqual(caught.exception.code, 1009)
        await others[0].send("still here")
        for client in others[1:]:
            self.assertEqual(await client.next(), "still here", client.name)

    async def all_are_known(self, publishers, subscribers):
        """
        A subscription is known to the other shards a moment after the handshake, so each
        publisher greets until all have heard it.
        """
        for number, publisher in enumerate(publishers):
            others = [one for one in (*publishers, *subscribers) if one is not publisher]
            await self.is_known_to(publisher, f"{GREETING} {number}", others)

    async def is_known_to(self, publisher, greeting, others):
        async def greet():
            while True:
                await publisher.send(greeting)
                await asyncio.sleep(0.1)

        greeter = asyncio.ensure_future(greet())
        try:
            for client in others:
                while (line := await client.next()) != greeting:
                    self.assertTrue(is_greeting(line), client.name)
        finally:
            greeter.cancel()
