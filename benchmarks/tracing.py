"""What notes of requests cost: a REST and a gRPC request in this process, without sockets.

    python benchmarks/tracing.py

Kinds: nothing is noted; slow requests are (none is slow); traced, and not sampled, 1 % of them, all
of them. What exports the spans is in another thread in a server, and left out here: the loop puts
what it has noted on a list. The kinds take turns, and of many short rounds the quickest counts.
"""

import asyncio
import gc
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from interceptors import quickest_micros
from tests.messages import method_types, spec, tensor
from tests.routers import router_of
from tests.shelf import HALF_PLUS_TWO, Shelf

from salver.protocols.api import Api
from salver.protocols.calls import served_methods
from salver.protocols.methods import Call, UnaryMethod
from salver.protocols.traced import TracedHandler, traced_table
from salver.scheduling.run_pool import RunPool
from salver.tfs.rpc.counted import failure_counters, named_servable
from salver.tfs.rpc.prediction import PredictionService
from salver.tracing.request import RequestTrace
from salver.tracing.sampling import Sampling
from salver.tracing.tracer import Tracer
from salver.transport.messages import Headers, HttpRequest

PREDICT = "/tensorflow.serving.PredictionService/Predict"
BODY = b'{"instances": [1.0, 2.0, 5.0]}'
HEADERS = Headers(b"Host: localhost\r\nContent-Type: application/json\r\n")


class Sink:
    """Drops what it is given."""

    def put(self, trace: RequestTrace) -> None:
        self.last = trace


def tracers() -> dict[str, Tracer | None]:
    return {
        "off": None,
        "slow": Tracer(slow_s=10),
        "unsampled": Tracer(sampling=Sampling(0.0), sink=Sink()),
        "1 %": Tracer(slow_s=10, sampling=Sampling(0.01), sink=Sink()),
        "all": Tracer(slow_s=10, sampling=Sampling(1.0), sink=Sink()),
    }


def rest_request(shelf: Shelf, tracer: Tracer | None) -> Callable[[], object]:
    """Asks over REST, from the request that the transport makes to its answer."""
    router = router_of(shelf, in_pool=shelf.in_pool, tracer=tracer)
    handler = router if tracer is None else TracedHandler(router.__call__, tracer)
    return lambda: handler(HttpRequest("POST", "/v1/models/m:predict", HEADERS, BODY))


def rpc_call(shelf: Shelf, tracer: Tracer | None) -> Callable[[], object]:
    """Asks over gRPC, from the call that the transport makes to its answer."""
    api = Api(
        methods=PredictionService(shelf, in_pool=shelf.in_pool, tracer=tracer).methods(),
        call_failed=failure_counters(shelf.metrics.outcomes),
        servable_of=named_servable,
    )
    table = served_methods(api, ())
    if tracer is not None:
        table = traced_table(table, tracer)
    method: UnaryMethod = table[PREDICT]  # type: ignore[assignment]
    request_type, _ = method_types(PREDICT)
    inputs = {"x": tensor(np.array([1, 2, 5], np.float32))}
    data = request_type(model_spec=spec("m"), inputs=inputs).SerializeToString()
    return lambda: method(data, Call())


async def main() -> None:
    pool = RunPool(1)
    shelf = Shelf(pool)
    shelf.put("m", 7, HALF_PLUS_TWO, is_inline=True)
    gc.freeze()
    print("µs a request".ljust(14), *(name.rjust(10) for name in tracers()))
    for name, make in {"REST": rest_request, "gRPC": rpc_call}.items():
        found = quickest_micros([make(shelf, tracer) for tracer in tracers().values()])
        print(name.ljust(14), *(f"{micros:.2f}".rjust(10) for micros in found))
    pool.close()


if __name__ == "__main__":
    asyncio.run(main())
