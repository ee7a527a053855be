"""What is no chat protocol, and what is not allowed, from clients that say just anything."""

import json

from chat import PATH, SECRET, WithChat, allowed, in_seconds, token
from plain import CLIENTS, Ended, Websockets


class BadInput(WithChat):
    async def open_plain(self, cls, server, claims=None):
        """A plain WebSocket, which has connected when there are claims."""
        client = await cls.open(server.url(PATH))
        self.addAsyncCleanup(client.drop)
        if claims is not None:
            answer = await self.ask(client, id=1, connect={"token": token(claims)})
            self.assertIn("connect", answer)
        return client

    async def ask(self, client, **command):
        """The reply to a command; pushes before it are passed over."""
        await client.send(json.dumps(command))
        while True:
            for line in (await client.next()).split("\n"):
                answer = json.loads(line)
                if answer.get("id") == command["id"]:
                    return answer

    async def ends(self, client, code, note):
        with self.assertRaises(Ended, msg=note) as caught:
            while True:
                await client.next()
        self.assertEqual(caught.exception.code, code, f"{client.name}: {note}")

    async def test_what_is_not_the_protocol_ends_the_connection_with_its_code(self):
        server = await self.serve_configured(allowed())
        large = json.dumps({"id": 2, "publish": {"channel": "a", "data": "x" * (64 << 10)}})
        early = [
            ("x", 3501), ("", 3501), ("[]", 3501), ('{"id":1,"connect":7}', 3501), ("\0", 3501),
            ('{"id":1', 3501), ("[" * 10_000, 3501), ('{"id":1,"publish":{"channel":"a","data":1}}', 3501),
        ]
        late = [
            ('{"id":2,"dance":{}}', 3501), ('{"id":2,"subscribe":{}}', 3501), ('{"id":2,"connect":{}}', 3501),
            (b"{}", 3506), (b"\xff" * 100, 3506), ('{"send":{"data":1}}', 3508), (large, 1009),
        ]
        for cls in CLIENTS:
            for claims, lines in ((None, early), ({"sub": "ann"}, late)):
                for line, code in lines:
                    client = await self.open_plain(cls, server, claims)
                    await client.send(line)
                    await self.ends(client, code, repr(line[:60]))

    async def test_what_is_refused_has_its_error_and_the_connection_goes_on(self):
        server = await self.serve_configured(allowed())
        old = token({"sub": "ann", "channel": "$p", "exp": in_seconds(-60)})
        for cls in CLIENTS:
            client = await self.open_plain(cls, server, {"sub": "ann"})
            for number, (command, body, code) in enumerate([
                ("subscribe", {"channel": "nowhere:a"}, 102),
                ("subscribe", {"channel": "$p"}, 103),
                ("subscribe", {"channel": "a#bob"}, 103),
                ("publish", {"channel": "a", "data": 1}, 103),
                ("presence", {"channel": "a"}, 103),
                ("history", {"channel": "a"}, 103),
                ("subscribe", {"channel": "x" * 256}, 107),
                ("subscribe", {"channel": "$p", "token": old}, 109),
                ("subscribe", {"channel": "$p", "token": "no.token.this"}, 103),
                ("rpc", {"method": "none", "data": 1}, 104),
            ], 2):
                answer = await self.ask(client, id=number, **{command: body})
                self.assertEqual(answer.get("error", {}).get("code"), code, f"{cls.name}: {command} {str(body)[:60]}")
            self.assertIn("ping", await self.ask(client, id=99, ping={}))

    async def test_tokens_that_are_none_are_told_apart(self):
        server = await self.serve_configured(allowed(client='expired_close_delay = "0s"'))
        for cls in CLIENTS:
            client = await self.open_plain(cls, server)
            answer = await self.ask(client, id=1, connect={})
            self.assertEqual(answer["error"]["code"], 101)
            client = await self.open_plain(cls, server)
            expired = token({"sub": "ann", "exp": in_seconds(-60)})
            answer = await self.ask(client, id=1, connect={"token": expired})
            self.assertEqual(answer["error"]["code"], 109)
            header, claims, _ = token({"sub": "ann"}).split(".")
            unsigned = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0"  # alg: none
            for forged in ("x", f"{header}.{claims}.", f"{unsigned}.{claims}.", token({"sub": "ann"}, SECRET[1:])):
                client = await self.open_plain(cls, server)
                await client.send(json.dumps({"id": 1, "connect": {"token": forged}}))
                await self.ends(client, 3500, forged)
            client = await self.open_plain(cls, server, {"sub": "ann", "exp": in_seconds(2)})
            await self.ends(client, 3005, "the end of a token")

    async def test_protobuf_that_is_none_ends_with_3501(self):
        server = await self.serve_configured(allowed())
        for sent, code in ((b"\xff" * 100, 3501), (b"\x05\x08", 3501), (b"\x80" * 12, 3501), ("{}", 3506)):
            client = await Websockets.open(server.url(PATH), subprotocols=["centrifuge-protobuf"])
            self.addAsyncCleanup(client.drop)
            self.assertEqual(client.ws.subprotocol, "centrifuge-protobuf")
            await client.send(sent)
            await self.ends(client, code, repr(sent[:20]))
