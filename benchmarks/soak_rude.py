"""Clients that leave, dawdle or send rubbish: what others must not suffer from."""

import asyncio
import gzip
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random

import grpc
from soak_clients import UNLIMITED, Rest, Rpc, Tally, expect, http_request, predict_request
from soak_traffic import pause

PREDICT = "PredictionService/Predict"
BODY = b'{"instances": [1.0, 2.0, 3.0]}'
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST
TARGETS = ("steady", "swapped", "big", "rooted", "busy", "logged")
LARGE = http_request("GET", "/v1/models/steady/metadata") * 100

# A request, the statuses it may get, and what the answer must hold.
MALFORMED: dict[str, tuple[bytes, tuple[int, ...]]] = {
    "no JSON": (http_request("POST", "/v1/models/steady:predict", b'{"instances": [1.0'), (400,)),
    "no instances": (http_request("POST", "/v1/models/steady:predict", b"{}"), (400,)),
    "wrong type": (
        http_request("POST", "/v1/models/steady:predict", b'{"instances": ["a"]}'),
        (400,),
    ),
    "ragged": (
        http_request("POST", "/v1/models/steady:predict", b'{"instances": [[1.0], [1.0, 2.0]]}'),
        (400,),
    ),
    "unknown input": (
        http_request("POST", "/v1/models/steady:predict", b'{"inputs": {"z": [1.0]}}'),
        (400,),
    ),
    "unknown signature": (
        http_request("POST", "/v1/models/steady:predict", b'{"signature_name":"q","inputs":[1]}'),
        (400, 404),
    ),
    "unknown model": (http_request("POST", "/v1/models/nobody:predict", BODY), (404,)),
    "unknown version": (
        http_request("POST", "/v1/models/steady/versions/99999:predict", BODY),
        (404,),
    ),
    "unknown label": (http_request("POST", "/v1/models/steady/labels/q:predict", BODY), (400,)),
    "unknown path": (http_request("GET", "/nothing/here"), (404,)),
    "broken gzip": (
        http_request(
            "POST",
            "/v1/models/steady:predict",
            gzip.compress(BODY)[:-9],
            "Content-Encoding: gzip\r\n",
        ),
        (400,),
    ),
    "large head": (http_request("GET", "/v1/models", b"", f"X: {'x' * 100_000}\r\n"), (431,)),
    "no HTTP": (b"\x16\x03\x01 rubbish\r\n\r\n", (400,)),
    "wrong body length": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", (400,)),
}
INVALID = grpc.StatusCode.INVALID_ARGUMENT


@dataclass
class Rude:
    """Everything that a good client does not do."""

    rest: Rest
    rpc: Rpc
    tally: Tally
    dice: Random = field(default_factory=lambda: Random(11))
    tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    def _request(self) -> bytes:
        return http_request("POST", f"/v1/models/{self.dice.choice(TARGETS)}:predict", BODY)

    async def close_after_sending(self) -> None:
        _, writer = await self.rest.connect()
        writer.write(self._request())
        writer.close()

    async def reset_after_sending(self) -> None:
        _, writer = await self.rest.connect()
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        writer.write(self._request())
        await asyncio.sleep(self.dice.choice((0.0, 0.001, 0.004)))
        writer.close()

    async def reset_in_a_pipeline(self) -> None:
        _, writer = await self.rest.connect()
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        writer.write(self._request() * 20)
        await asyncio.sleep(0.002)
        writer.close()

    async def send_half(self) -> None:
        _, writer = await self.rest.connect()
        request = self._request()
        writer.write(request[: self.dice.randrange(1, len(request))])
        await asyncio.sleep(self.dice.choice((0.0, 0.5, 3.0)))
        writer.close()

    async def promise_more(self) -> None:
        _, writer = await self.rest.connect()
        writer.write(
            b"POST /v1/models/steady:predict HTTP/1.1\r\nContent-Length: 900000000\r\n\r\n"
        )
        writer.write(bytes(200_000))
        await asyncio.sleep(1.0)
        writer.close()

    async def read_slowly(self) -> None:
        """Many large answers, read a little at a time; in the end the client has enough."""
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_connect(client, ("127.0.0.1", self.rest.port))
            await loop.sock_sendall(client, LARGE)
            for _ in range(30):
                expect(await loop.sock_recv(client, 2048), "the server closed on a slow reader")
                await asyncio.sleep(0.1)
        finally:
            client.close()

    async def cancel_call(self) -> None:
        request = predict_request(self.dice.choice(TARGETS), [1.0, 2.0]).SerializeToString()
        call = self.rpc.call(PREDICT, request)
        await asyncio.sleep(self.dice.choice((0.0, 0.001, 0.003)))
        call.cancel()

    async def short_deadline(self) -> None:
        request = predict_request("busy", [40.0]).SerializeToString()
        try:
            await self.rpc.call(PREDICT, request, timeout=0.005)
        except grpc.RpcError as error:
            # The server's own word, where it is quicker than the client's timer, for what still
            # waits in a queue.
            late = (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED)
            expect(error.code() in late, error)

    async def close_channel(self) -> None:
        """Calls under way on a connection that goes."""
        channel = grpc.aio.insecure_channel(self.rpc.target, options=UNLIMITED)
        request = predict_request("busy", [5.0]).SerializeToString()
        calls = [self.rpc.call(PREDICT, request, channel=channel) for _ in range(4)]
        await asyncio.sleep(0.01)
        await channel.close()
        await asyncio.gather(*calls, return_exceptions=True)

    async def rubbish_to_rpc(self) -> None:
        _, writer = await asyncio.open_connection(*self.rpc.target.split(":"))
        writer.write(b"GET / HTTP/1.1\r\n\r\n" + bytes(1000))
        await asyncio.sleep(0.05)
        writer.close()

    def leaves(self) -> list[Callable[[], Awaitable[None]]]:
        return [
            self.close_after_sending,
            self.close_after_sending,
            self.reset_after_sending,
            self.reset_after_sending,
            self.reset_in_a_pipeline,
            self.send_half,
            self.promise_more,
            self.read_slowly,
            self.cancel_call,
            self.cancel_call,
            self.short_deadline,
            self.close_channel,
            self.rubbish_to_rpc,
        ]

    async def malformed_rest(self, name: str) -> None:
        request, statuses = MALFORMED[name]
        answer = await self.rest.ask_once(request)
        expect(answer.status in statuses, f"{name}: {answer}")

    async def malformed_rpc(self) -> None:
        steady = predict_request("steady", [1.0])
        cases = {
            PREDICT: [
                (b"\xff\xff\xff", {grpc.StatusCode.INTERNAL, INVALID}),
                (b"", {INVALID}),
                (predict_request("nobody", [1.0]), {grpc.StatusCode.NOT_FOUND}),
                (predict_request("steady", [1.0], key="z"), {INVALID}),
                (predict_request("steady", [1.0], label="q"), {INVALID}),
            ],
            "PredictionService/Nothing": [(steady, {grpc.StatusCode.UNIMPLEMENTED})],
        }
        for method, requests in cases.items():
            for request, codes in requests:
                sent = request if isinstance(request, bytes) else request.SerializeToString()
                try:
                    await self.rpc.call(method, sent)
                except grpc.RpcError as error:
                    expect(error.code() in codes, f"{error.code()}: {error.details()}")
                else:
                    expect(False, f"{method} answered {sent!r}")

    def _start(self, kind: str, request: Awaitable[None]) -> None:
        task = asyncio.ensure_future(self.tally.bad(kind, request))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def leave(self, stop: asyncio.Event, every_s: float) -> None:
        while not await pause(stop, every_s):
            way = self.dice.choice(self.leaves())
            self.tally.counts["clients that left"] += 1
            self._start(way.__name__, way())  # type: ignore[attr-defined]

    async def send_rubbish(self, stop: asyncio.Event, every_s: float) -> None:
        while not await pause(stop, every_s):
            name = self.dice.choice([*MALFORMED, "rpc"])
            self.tally.counts["malformed requests"] += 1
            request = self.malformed_rpc() if name == "rpc" else self.malformed_rest(name)
            self._start(f"malformed: {name}", request)
