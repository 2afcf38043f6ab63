"""The clients of `soak.py`, and the tally of what they were answered."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any

import grpc

from salver._pb import message_class

PATIENCE_S = 30.0  # an answer that takes longer counts as none
SHOWN = 4  # of each kind of failure
UNLIMITED = [("grpc.max_receive_message_length", -1)]


class WrongAnswerError(Exception):
    """An answer that should not have been given."""


def expect(condition: bool, what: object) -> None:
    if not condition:
        raise WrongAnswerError(str(what)[:400])


@dataclass
class Tally:
    """Who asked what, and what came of it.

    Attributes:
        asked, right: by kind; the first word of a kind says what, the rest to whom.
        failures: of good requests to healthy models; there must be none.
        surprises: other answers that should not have been given, and things that did not happen.
        counts: of whatever else there is to count.
        longest_s: by kind, of the right answers.
        good_ones: how many good requests to healthy models.
    """

    begun_s: float = field(default_factory=time.monotonic)
    asked: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    surprises: list[str] = field(default_factory=list)
    longest_s: dict[str, float] = field(default_factory=dict)
    in_flight: int = 0
    good_ones: int = 0

    def by_kind(self) -> list[tuple[str, int, int, float]]:
        """Of each kind: how many were asked and right, and the longest that a good one took."""
        asked: Counter[str] = Counter()
        right: Counter[str] = Counter()
        longest_s: dict[str, float] = {}
        for full, count in self.asked.items():
            kind = full.split()[0].rstrip(":")
            asked[kind] += count
            right[kind] += self.right[full]
            longest_s[kind] = max(longest_s.get(kind, 0.0), self.longest_s.get(full, 0.0))
        return [(kind, asked[kind], right[kind], longest_s[kind]) for kind in sorted(asked)]

    def lines(self) -> list[str]:
        """What went wrong: the first few of each kind."""
        seen: Counter[str] = Counter()
        shown = []
        for line in (*self.failures, *self.surprises):
            kind = line.partition(" s  ")[2].partition(":")[0]
            seen[kind] += 1
            if seen[kind] <= SHOWN:
                shown.append(line)
        rest = (f"… and {n - SHOWN} more of {kind}" for kind, n in seen.items() if n > SHOWN)
        return [*shown, *rest]

    def _line(self, kind: str, error: BaseException) -> str:
        said = f"{error.__class__.__name__}: {error}"
        if isinstance(error, grpc.RpcError):
            said = f"{error.code()}: {error.details()}"
        return f"{time.monotonic() - self.begun_s:8.2f} s  {kind}: {said[:400]}"

    def surprise(self, kind: str, error: BaseException) -> None:
        self.surprises.append(self._line(kind, error))

    async def good(self, kind: str, request: Awaitable[None]) -> None:
        """A good request to a healthy model: right, or a failure."""
        self.asked[kind] += 1
        self.good_ones += 1
        self.in_flight += 1
        begun_s = time.monotonic()
        try:
            await asyncio.wait_for(request, PATIENCE_S)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is counted and shown
            self.failures.append(self._line(kind, error))
        else:
            self.right[kind] += 1
            taken_s = time.monotonic() - begun_s
            self.longest_s[kind] = max(self.longest_s.get(kind, 0.0), taken_s)
        finally:
            self.in_flight -= 1

    async def bad(
        self, kind: str, request: Awaitable[None], *, within_s: float = PATIENCE_S
    ) -> None:
        """What must be refused in the right way, is not waited for, or is no request at all."""
        self.asked[kind] += 1
        try:
            await asyncio.wait_for(request, within_s)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is counted and shown
            self.surprise(kind, error)
        else:
            self.right[kind] += 1


@dataclass(frozen=True)
class Answer:
    status: int
    fields: dict[str, str]
    body: bytes

    def __str__(self) -> str:
        return f"{self.status} {self.fields} {self.body[:300]!r}"


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def http_request(method: str, path: str, body: bytes = b"", more: str = "") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: soak\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """The next answer of a connection; interim ones are skipped."""
    while True:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")[:-2]
        status = int(first.split()[1])
        if status >= 200:
            break
    pairs = (line.split(":", 1) for line in lines)
    fields = {name.strip().lower(): value.strip() for name, value in pairs}
    body = await reader.readexactly(int(fields.get("content-length", "0")))
    return Answer(status, fields, body)


@dataclass
class Rest:
    """HTTP over connections that are kept, taken in turn so that none idles for long."""

    port: int
    kept: list[Connection] = field(default_factory=list)

    async def connect(self) -> Connection:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def ask(self, method: str, path: str, body: bytes = b"", more: str = "") -> Answer:
        connection = self.kept.pop(0) if self.kept else await self.connect()
        reader, writer = connection
        is_whole = False
        try:
            writer.write(http_request(method, path, body, more))
            answer = await read_answer(reader)
            is_whole = answer.fields.get("connection", "").lower() != "close"
        finally:
            if is_whole:
                self.kept.append(connection)
            else:
                writer.close()
        return answer

    async def ask_once(self, request: bytes, *, half_close: bool = False) -> Answer:
        """Over a connection of its own; the sending side may be closed before the answer."""
        reader, writer = await self.connect()
        try:
            writer.write(request)
            if half_close:
                writer.write_eof()
            return await read_answer(reader)
        finally:
            writer.close()

    def close(self) -> None:
        while self.kept:
            self.kept.pop()[1].close()


def message(name: str, **fields: Any) -> Any:
    return message_class(f"tensorflow.serving.{name}")(**fields)


class Rpc:
    """gRPC as the usual Python client speaks it."""

    def __init__(self, port: int) -> None:
        self.target = f"127.0.0.1:{port}"
        self.channel = grpc.aio.insecure_channel(self.target, options=UNLIMITED)

    def call(self, method: str, request: bytes, *, channel: Any = None, **more: Any) -> Any:
        """Start `Service/Method`; awaited, it gives the bytes of the answer."""
        over = channel or self.channel
        more = {"timeout": PATIENCE_S, **more}
        return over.unary_unary(f"/tensorflow.serving.{method}")(request, **more)

    async def ask(self, method: str, request: Any, answers: str) -> Any:
        got = await self.call(method, request.SerializeToString())
        return message_class(f"tensorflow.serving.{answers}").FromString(got)


def predict_request(name: str, x: list[float], label: str = "", key: str = "x") -> Any:
    request = message("PredictRequest")
    request.model_spec.name = name
    if label:
        request.model_spec.version_label = label
    tensor = request.inputs[key]
    tensor.dtype = 1
    tensor.tensor_shape.dim.add(size=len(x))
    tensor.float_val.extend(x)
    return request
