"""centrifuge-python, as applications use it, against the chat of the server."""

import asyncio

from centrifuge import CentrifugeError, DeltaType, ReplyError, StreamPosition

from chat import WithChat, allowed, in_seconds, token
from server import soon


class Promises:
    """What holds in both encodings."""

    async def refused(self, code, awaitable):
        with self.assertRaises(ReplyError) as caught:
            await awaitable
        self.assertEqual(caught.exception.code, code)

    async def test_a_client_connects_subscribes_publishes_and_asks(self):
        server = await self.serve_configured(allowed())
        ann = await self.open(server, "ann", {"info": {"name": "Ann"}})
        bob = await self.open(server, "bob")
        first, second = (one.told.all["connected"][0].client for one in (ann, bob))
        heard = await bob.subscribe("room", join_leave=True)
        self.assertTrue(heard.told.all["subscribed"][0].recoverable)
        said = await ann.subscribe("room")
        joined = (await heard.told.at_least("join", 1))[-1]
        if joined.info.user == "bob":  # its own may be among them, or have come before
            joined = (await heard.told.at_least("join", 2))[-1]
        self.assertEqual((joined.info.client, joined.info.user), (first, "ann"))
        self.assertEqual(ann.decode(joined.info.conn_info), {"name": "Ann"})

        text = "a\nb \U0001f600"
        for n in range(1, 6):
            await said.publish({"n": n, "text": text})
        for room in (said, heard):
            self.assertEqual(await room.publications(5), [(n, {"n": n, "text": text}) for n in range(1, 6)])
        info = heard.told.all["publication"][0].pub.info
        self.assertEqual((info.client, info.user), (first, "ann"))

        presence = await heard.sub.presence()
        self.assertEqual(set(presence.clients), {first, second})
        self.assertEqual(presence.clients[first].user, "ann")
        stats = await heard.sub.presence_stats()
        self.assertEqual((stats.num_clients, stats.num_users), (2, 2))
        await self.refused(104, ann.client.rpc("none", ann.encode({})))
        await self.refused(102, ann.client.publish("nowhere:room", ann.encode(1)))
        await self.refused(103, ann.client.publish("elsewhere", ann.encode(1)))

        await said.sub.unsubscribe()
        left = (await heard.told.at_least("leave", 1))[0]
        self.assertEqual(left.info.client, first)
        await heard.publish("alone")
        await heard.publications(6)
        self.assertEqual(len(said.told.all["publication"]), 5)

    async def test_history_is_read_forward_and_backward(self):
        server = await self.serve_configured(allowed(channel="history_size = 8"))
        ann = await self.open(server, "ann")
        room = await ann.subscribe("past")
        for n in range(1, 11):
            await room.publish(n)
        position = await room.sub.history()
        self.assertEqual((position.offset, position.publications), (10, []))

        async def numbers(**asked):
            answer = await room.sub.history(**asked)
            return [ann.decode(one.data) for one in answer.publications]

        since = StreamPosition(5, position.epoch)
        self.assertEqual(await numbers(limit=-1), [3, 4, 5, 6, 7, 8, 9, 10])
        self.assertEqual(await numbers(limit=3, reverse=True), [10, 9, 8])
        self.assertEqual(await numbers(limit=2, since=since), [6, 7])
        self.assertEqual(await numbers(limit=2, since=since, reverse=True), [4, 3])
        await self.refused(112, room.sub.history(limit=1, since=StreamPosition(5, "other")))

    async def test_after_its_connection_was_cut_a_client_has_every_publication_once(self):
        server = await self.serve_configured(allowed())
        wire = await self.wire(server)
        ann, bob = await self.open(server, "ann"), await self.open(wire, "bob")
        said, heard = await ann.subscribe("storm"), await bob.subscribe("storm")
        count = 0
        for cut in range(1, 6):
            wire.cut()
            await heard.told.at_least("subscribing", cut + 1)
            for _ in range(12):
                count += 1
                await said.publish(count)
            wire.mend()
            begun = (await heard.told.at_least("subscribed", cut + 1))[-1]
            self.assertEqual((begun.was_recovering, begun.recovered), (True, True))
            count += 1
            await said.publish(count)
        self.assertEqual(await heard.publications(count), [(n, n) for n in range(1, count + 1)])

    async def test_deltas_come_to_what_was_published(self):
        server = await self.serve_configured(allowed(channel='allowed_delta_types = ["fossil"]'))
        wire = await self.wire(server)
        ann, bob = await self.open(server, "ann"), await self.open(wire, "bob")
        said = await ann.subscribe("room")
        heard = await bob.subscribe("room", delta=DeltaType.FOSSIL)

        def document(n):
            rows = [{"row": row, "text": "h\u00e9llo \U0001f600", "price": 100 + n * (row == n % 9)} for row in range(9)]
            return {"n": n, "rows": rows, "mood": "\u00e9" if n % 2 else "\u00ea"}

        async def hears(numbers):
            for n in numbers:
                await said.publish(document(n))
            self.assertEqual(await heard.publications(numbers.stop), [(n + 1, document(n)) for n in range(numbers.stop)])

        await hears(range(0, 20))
        wire.cut()
        await heard.told.at_least("subscribing", 2)
        for n in range(20, 25):
            await said.publish(document(n))
        wire.mend()
        self.assertTrue((await heard.told.at_least("subscribed", 2))[-1].recovered)
        await hears(range(25, 40))
        deltas = [one.pub.delta for one in heard.told.all["publication"]]
        self.assertEqual(deltas, [False] + [True] * 19 + [False] * 6 + [True] * 14)

    async def test_what_is_no_longer_kept_is_not_claimed_to_be_recovered(self):
        server = await self.serve_configured(allowed(channel="history_size = 5"))
        wire = await self.wire(server)
        ann, bob = await self.open(server, "ann"), await self.open(wire, "bob")
        said, heard = await ann.subscribe("room"), await bob.subscribe("room")
        await said.publish(0)
        await heard.publications(1)
        wire.cut()
        await heard.told.at_least("subscribing", 2)
        for n in range(1, 11):
            await said.publish(n)
        wire.mend()
        begun = (await heard.told.at_least("subscribed", 2))[-1]
        self.assertEqual((begun.was_recovering, begun.recovered), (True, False))
        self.assertEqual(begun.stream_position.offset, 11)
        await said.publish(11)
        self.assertEqual(await heard.publications(2), [(1, 0), (12, 11)])

    async def test_the_server_subscribes_unsubscribes_and_disconnects(self):
        server = await self.serve_configured(allowed())
        wire = await self.wire(server)
        ann = await self.open(wire, "ann", {"channels": ["news"]})
        bob = await self.open(server, "bob")
        self.assertEqual((await ann.told.at_least("subscribed", 1))[0].channel, "news")
        room = await bob.subscribe("room")
        self.assertEqual(await self.api(server, "subscribe", user="ann", channel="room"), {})
        self.assertEqual((await ann.told.at_least("subscribed", 2))[1].channel, "room")
        await self.api(server, "publish", channel="room", data={"n": 1}, tags={"from": "app"})
        told = (await ann.told.at_least("publication", 1))[0]
        self.assertEqual((told.channel, ann.decode(told.pub.data)), ("room", {"n": 1}))
        self.assertEqual(told.pub.tags, {"from": "app"})
        await room.publications(1)

        await self.api(server, "unsubscribe", user="ann", channel="room")
        self.assertEqual((await ann.told.at_least("unsubscribed", 1))[0].channel, "room")
        await self.api(server, "unsubscribe", user="bob", channel="room")
        self.assertEqual((await room.told.at_least("unsubscribed", 1))[0].code, 2000)

        # What the server subscribed it to is recovered as well.
        wire.cut()
        await ann.told.at_least("connecting", 2)
        await self.api(server, "publish", channel="news", data={"n": 2})
        wire.mend()
        begun = (await ann.told.at_least("subscribed", 3))[2]
        self.assertEqual((begun.channel, begun.was_recovering, begun.recovered), ("news", True, True))
        told = (await ann.told.at_least("publication", 2))[1]
        self.assertEqual((told.channel, ann.decode(told.pub.data)), ("news", {"n": 2}))

        await self.api(server, "disconnect", user="bob")
        gone = (await bob.told.at_least("disconnected", 1))[0]
        self.assertEqual((gone.code, gone.reason), (3503, "force disconnect"))
        away = {"code": 3011, "reason": "come again"}
        await self.api(server, "disconnect", user="ann", disconnect=away)
        told = (await ann.told.at_least("connecting", 3))[2]
        self.assertEqual({"code": told.code, "reason": told.reason}, away)
        await ann.told.at_least("connected", 3)

    async def test_a_connection_and_a_subscription_stay_with_new_tokens(self):
        server = await self.serve_configured(allowed())
        asked, enough = {"": 0, "$own": 0}, asyncio.Event()

        async def fresh(channel=""):
            asked[channel] += 1
            if min(asked.values()) >= 3:
                enough.set()
            claims = {"sub": "ann", "exp": in_seconds(2)}
            return token({**claims, "channel": channel, "info": {"rank": 1}} if channel else claims)

        # The first token has ended, so that another is asked for at once.
        expired = token({"sub": "ann", "exp": in_seconds(-10)})
        ann = await self.open(server, "ann", token=expired, get_token=fresh)
        room = await ann.subscribe("$own", get_token=fresh)
        await soon(enough.wait(), "third token of each sort")
        await room.publish("still here")
        self.assertEqual(await room.publications(1), [(1, "still here")])
        self.assertEqual(ann.decode(room.told.all["publication"][0].pub.info.chan_info), {"rank": 1})
        self.assertEqual(len(ann.told.all["connected"]), 1)
        self.assertEqual(len(room.told.all["subscribed"]), 1)

    async def test_a_connection_ends_with_its_token(self):
        server = await self.serve_configured(allowed(client='expired_close_delay = "0s"'))
        ann = await self.open(server, "ann", {"exp": in_seconds(3)})
        ended = (await ann.told.at_least("connecting", 2))[1]
        self.assertEqual((ended.code, ended.reason), (3005, "connection expired"))

    async def test_who_may_not_is_told_why(self):
        server = await self.serve_configured(allowed())
        forged = await self.open(server, "ann", token=token({"sub": "ann"}, "another secret"), connect=False)
        await forged.client.connect()
        ended = (await forged.told.at_least("disconnected", 1))[0]
        self.assertEqual((ended.code, ended.reason), (3500, "invalid token"))
        nobody = await self.open(server, "", token="", connect=False)
        await nobody.client.connect()
        self.assertEqual((await nobody.told.at_least("disconnected", 1))[0].code, 101)

        ann = await self.open(server, "ann")
        theirs = token({"sub": "bob", "channel": "$theirs"})
        for channel, own, code in [("nowhere:room", "", 102), ("room#bob", "", 103), ("$theirs", theirs, 103)]:
            room = ann.room(channel, token=own)
            await room.sub.subscribe()
            self.assertEqual((await room.told.at_least("unsubscribed", 1))[0].code, code, channel)

        # A frame of more than 64 KiB ends the connection (1009, which this client calls 3
        # and comes back after); one of nearly so much does not.
        room = await ann.subscribe("room")
        await room.publish("x" * 60_000)
        await room.publications(1)
        large = asyncio.ensure_future(room.publish("x" * 70_000))
        self.assertEqual((await ann.told.at_least("connecting", 2))[1].code, 3)
        with self.assertRaises(CentrifugeError):
            await large


class Json(Promises, WithChat):
    protobuf = False


class Protobuf(Promises, WithChat):
    protobuf = True
