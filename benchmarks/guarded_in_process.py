"""What keys, limits and tracing cost a request in this process, from its bytes to its answer's.

    python benchmarks/guarded_in_process.py [--only REST] [--count 2000]

Kinds as of `guarded.py`: off, keys, limits, and all with spans of 1 % of the requests; and
`shared`, which is limits in a table that four processes share. The connections are those of a
server, without sockets; the model adds up three numbers. Two figures for each:

* hot: the quickest of many rounds of 100 requests, the kinds in turns;
* cold: the lower quartile of single requests, each after other work has taken the processor's
  caches. A server is nearer to this: between two requests there are the kernel and the model.

With `--count N` no times are taken: each of the chosen kinds answers so many requests, for somebody
who counts instructions (`valgrind --tool=none`, or callgrind).
"""

import argparse
import asyncio
import gc
import hashlib
import os
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from guarded import AUTH, KEYS
from tests.messages import method_types, spec, tensor
from tests.routers import router_of
from tests.shelf import HALF_PLUS_TWO, Shelf

from salver.access.guard import Guard
from salver.access.limit_table import LimitTable
from salver.access.limits import Limits
from salver.access.remembering import RememberingGate
from salver.config.auth import read_auth_config
from salver.instruments.machine import make_shared_memory
from salver.protocols.api import Api
from salver.protocols.calls import served_methods
from salver.protocols.rest_errors import error_page
from salver.protocols.traced import TracedHandler, traced_table
from salver.rpc.http2_arguments import transport_settings
from salver.rpc.http2_service import GrpcService
from salver.scheduling.run_pool import RunPool
from salver.tfs.rpc.counted import failure_counters, named_servable
from salver.tfs.rpc.prediction import PredictionService
from salver.tracing.request import RequestTrace
from salver.tracing.sampling import Sampling
from salver.tracing.tracer import Tracer
from salver.transport.http1.connection import Connection
from salver.transport.http2.connection import Http2Connection
from salver.transport.http2.frames import PREFACE
from salver.transport.http2.header_blocks import encode_block
from salver.transport.limits import HttpLimits
from salver.transport.service import Service
from salver.vocabulary.access import Verb

ROUNDS = 200
CALLS = 100
COLD_CALLS = 3000
SPOILED_BYTES = 3 << 20
KINDS = ("off", "keys", "limits", "shared", "all")
COLUMNS = 8
MODEL = "m"
PREDICT = "/tensorflow.serving.PredictionService/Predict"
BODY = b'{"instances": [1.0, 2.0, 5.0]}'

Ask = Callable[[], None]


class Sink:
    """Drops the spans it is given."""

    def put(self, trace: RequestTrace) -> None:
        self.last = trace


class Socket(asyncio.Transport):
    """Keeps the last bytes that are written."""

    written = b""

    def write(self, data: Any) -> None:
        self.written = data

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


class Kind:
    """What stands before the requests of one server."""

    def __init__(self, name: str, place: Path, shelf: Shelf) -> None:
        self.name = name
        self.tracer = None
        if name == "all":
            self.tracer = Tracer(slow_s=1, sampling=Sampling(0.01), sink=Sink())
        self.interceptors = []
        self.fields: list[tuple[bytes, bytes]] = []
        if name != "off":
            guard = Guard(read_auth_config(str(place / "auth.yaml")))
            table = None
            if name == "shared":
                descriptor = make_shared_memory("limits")
                os.truncate(descriptor, LimitTable.size_of(COLUMNS))
                table = LimitTable(descriptor, num_columns=COLUMNS)
            limits = Limits(table)
            count = shelf.metrics.principals
            gate = RememberingGate(guard, enter=limits.enter, count=count, tally=count.tally)
            self.interceptors = [gate]
            key = KEYS.get(name) or KEYS["limits"]
            self.fields = [(b"x-api-key", key.encode())]


def service_of(handler: Any, shelf: Shelf) -> Service:
    return Service(
        handler,
        error_page=error_page,
        limits=HttpLimits(),
        access=None,
        clock=time.time,  # noqa: TID251 - as a server's
        run_in_pool=shelf.in_pool,
    )


def rest_asks(kind: Kind, shelf: Shelf) -> Ask:
    router = router_of(
        shelf, in_pool=shelf.in_pool, interceptors=kind.interceptors, tracer=kind.tracer
    )
    handler = router if kind.tracer is None else TracedHandler(router.__call__, kind.tracer)
    connection, socket = Connection(service_of(handler, shelf)), Socket()
    connection.connection_made(socket)
    lines = [
        b"POST /v1/models/m:predict HTTP/1.1",
        b"Host: 127.0.0.1:8501",
        b"Content-Type: application/json",
        *(b"%b: %b" % field for field in kind.fields),
        b"Content-Length: %d" % len(BODY),
    ]
    data = b"\r\n".join([*lines, b"", BODY])
    connection.data_received(data)
    assert socket.written.startswith(b"HTTP/1.1 200"), socket.written
    return lambda: connection.data_received(bytes(bytearray(data)))


def rpc_asks(kind: Kind, shelf: Shelf) -> Ask:
    service = PredictionService(shelf, in_pool=shelf.in_pool, tracer=kind.tracer)
    methods = service.methods()
    api = Api(
        methods=methods,
        call_failed=failure_counters(shelf.metrics.outcomes),
        servable_of=named_servable,
        alike=service.alike,
        verbs=dict.fromkeys(methods, Verb.PREDICT),
    )
    table = served_methods(api, kind.interceptors)
    if kind.tracer is not None:
        table = traced_table(table, kind.tracer)
    grpc = GrpcService(table, in_pool=shelf.in_pool)
    made = service_of(lambda _request: None, shelf)
    connection = Http2Connection(made, grpc, transport_settings(()).limits)
    socket = Socket()
    connection.connection_made(socket)
    connection.data_received(PREFACE + _frame(4, 0, 0, b"") + _frame(4, 1, 0, b""))
    fields = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", PREDICT.encode()),
        (b":authority", b"127.0.0.1"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),  # codespell:ignore te
        *kind.fields,
    ]
    request_type, _ = method_types(PREDICT)
    inputs = {"x": tensor(np.array([1, 2, 5], np.float32))}
    message = request_type(model_spec=spec(MODEL), inputs=inputs).SerializeToString()
    data = struct.pack(">BI", 0, len(message)) + message
    block = encode_block(fields)
    last = [-1]

    def ask() -> None:
        last[0] = id = last[0] + 2
        connection.data_received(_frame(1, 4, id, block) + _frame(0, 1, id, data))
        if id % 512 == 1:  # the client has read
            connection.data_received(_frame(8, 0, 0, struct.pack(">I", 1 << 16)))

    ask()
    ask()
    assert len(socket.written) > len(data), socket.written
    return ask


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">IBI", len(payload) << 8 | kind, flags, stream) + payload


def hot(asks: dict[str, Ask]) -> dict[str, float]:
    best = dict.fromkeys(asks, float("inf"))
    for _ in range(ROUNDS):
        for name, ask in asks.items():
            begun = time.perf_counter()
            for _ in range(CALLS):
                ask()
            best[name] = min(best[name], (time.perf_counter() - begun) / CALLS * 1e6)
    return best


def cold(asks: dict[str, Ask]) -> dict[str, float]:
    taken: dict[str, list[float]] = {name: [] for name in asks}
    other = np.zeros(SPOILED_BYTES // 8)
    for _ in range(COLD_CALLS):
        for name, ask in asks.items():
            other += 1
            begun = time.perf_counter()
            ask()
            taken[name].append((time.perf_counter() - begun) * 1e6)
    return {name: statistics.quantiles(each, n=4)[0] for name, each in taken.items()}


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="REST,gRPC")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--count", type=int)
    chosen = parser.parse_args()
    pool = RunPool(1)
    shelf = Shelf(pool)
    shelf.metrics.principals._is_configured = shelf.names.__contains__
    shelf.put(MODEL, 7, HALF_PLUS_TWO, is_inline=True)
    kinds = chosen.kinds.split(",")
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        (place / "auth.yaml").write_text(AUTH)
        sums = {key: hashlib.sha256(key.encode()).hexdigest() for key in set(KEYS.values())}
        lines = [f"{key.split('_')[1]} {sum} {key.split('_')[1]}\n" for key, sum in sums.items()]
        (place / "keys.txt").write_text("".join(lines))
        gc.freeze()
        for api, make in {"REST": rest_asks, "gRPC": rpc_asks}.items():
            if api not in chosen.only:
                continue
            asks = {name: make(Kind(name, place, shelf), shelf) for name in kinds}
            if chosen.count is not None:
                for ask in asks.values():
                    for _ in range(chosen.count):
                        ask()
                continue
            print(f"µs of {api}".ljust(14), *(name.rjust(14) for name in asks))
            for what, measure in {"hot": hot, "cold": cold}.items():
                found = measure(asks)
                off = found[kinds[0]]
                print(
                    what.ljust(14),
                    *(f"{each:6.2f} ({each - off:+.2f})".rjust(14) for each in found.values()),
                )
    pool.close()


if __name__ == "__main__":
    asyncio.run(main())
