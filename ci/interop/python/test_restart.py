"""centrifuge-python across restarts of a server that keeps its history on disk."""

import asyncio
import signal

from centrifuge import CentrifugeError, StreamPosition

from chat import WithChat, allowed

ROUNDS = (signal.SIGTERM, signal.SIGKILL, signal.SIGTERM, signal.SIGKILL)
CALM = 10
BURST = 100  # below the publications of one client that may wait for the disk

CHANNEL = 'history_size = 10000\nhistory_ttl = "1h"\npersist = true'
STORE = '\n[persistence]\npath = "{folder}/history.redb"\n'


class Speaker:
    """Publishes numbers, and notes those the server answered for: they must be kept."""

    def __init__(self, room):
        self.answered = []
        self._room = room
        self._said = 0

    def say(self, count):
        """One task each; none of them fails."""
        self._said += count
        numbers = range(self._said - count + 1, self._said + 1)
        return [asyncio.ensure_future(self._publish(n)) for n in numbers]

    async def _publish(self, n):
        try:
            await self._room.publish(n)
        except CentrifugeError:
            return
        self.answered.append(n)


class Promises:
    """What holds in both encodings."""

    async def test_clients_recover_across_stops_and_kills_and_nothing_is_lost_or_comes_twice(self):
        server = await self.serve_configured(allowed(channel=CHANNEL, more=STORE))
        wire = await self.wire(server)
        ann, bob = await self.open(server, "ann"), await self.open(server, "bob")
        late = await self.open(wire, "eve")
        led = await self.open(server, "sid", {"channels": ["storm"]})
        said, heard, asleep = [await one.subscribe("storm") for one in (ann, bob, late)]
        speaker = Speaker(said)
        for count, number in enumerate(ROUNDS, 2):
            wire.cut()
            await asleep.told.at_least("subscribing", count)
            await asyncio.gather(*speaker.say(CALM))
            flying = speaker.say(BURST)
            await asyncio.wait(flying, return_when=asyncio.FIRST_COMPLETED)
            await server.restart(number)
            begins = [(await one.told.at_least("subscribed", count))[-1] for one in (said, heard, led)]
            await asyncio.gather(*flying, *speaker.say(CALM))
            wire.mend()
            begins.append((await asleep.told.at_least("subscribed", count))[-1])
            for begun in begins:
                self.assertEqual((begun.was_recovering, begun.recovered), (True, True), number)
            if number == signal.SIGTERM:
                told = bob.told.all["connecting"]
                self.assertIn((3001, "shutdown"), [(one.code, one.reason) for one in told])
        await asyncio.gather(*speaker.say(1))

        kept, since = [], None
        while (part := await said.sub.history(limit=-1, since=since)).publications:
            kept += [(one.offset, ann.decode(one.data)) for one in part.publications]
            since = StreamPosition(kept[-1][0], part.epoch)
        numbers = [n for _, n in kept]
        self.assertEqual([offset for offset, _ in kept], list(range(1, len(kept) + 1)))
        self.assertEqual(len(set(numbers)), len(numbers), "no publication is kept twice")
        self.assertEqual(set(speaker.answered) - set(numbers), set(), "what was answered is kept")
        for room in (said, heard, asleep):
            self.assertEqual(await room.publications(len(kept)), kept)
        told = await led.told.at_least("publication", len(kept))
        self.assertEqual([(one.pub.offset, led.decode(one.pub.data)) for one in told], kept)


class Json(Promises, WithChat):
    protobuf = False


class Protobuf(Promises, WithChat):
    protobuf = True
