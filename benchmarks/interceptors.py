"""What interceptors cost: a REST and a gRPC request in this process, with 0, 1 and 3 of them.

    python benchmarks/interceptors.py

Each request is made as its transport makes it and answered by a model that adds up three numbers;
there are no sockets. The kinds take turns, and of many short rounds the quickest counts, so that
other work on the machine shows little.
"""

import asyncio
import gc
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from tests.messages import method_types, spec, tensor
from tests.routers import router_of
from tests.shelf import HALF_PLUS_TWO, Shelf

from salver.inference.context import Interceptor, RequestContext
from salver.protocols.api import Api
from salver.protocols.calls import served_methods
from salver.protocols.methods import Call, UnaryMethod
from salver.scheduling.run_pool import RunPool
from salver.tfs.rpc.counted import failure_counters, named_servable
from salver.tfs.rpc.prediction import PredictionService
from salver.transport.messages import HttpRequest

A = TypeVar("A")

COUNTS = (0, 1, 3)
ROUNDS = 300
CALLS = 100
PREDICT = "/tensorflow.serving.PredictionService/Predict"
BODY = b'{"instances": [1.0, 2.0, 5.0]}'


def let_pass(
    _context: RequestContext, proceed: "Callable[[], A | Coroutine[Any, Any, A]]", /
) -> "A | Coroutine[Any, Any, A]":
    """The least that an interceptor can do."""
    return proceed()


def rest_request(shelf: Shelf, interceptors: list[Interceptor]) -> Callable[[], object]:
    """Asks over REST, from the request that the transport makes to its answer."""
    router = router_of(shelf, in_pool=shelf.in_pool, interceptors=interceptors)
    return lambda: router(HttpRequest("POST", "/v1/models/m:predict", body=BODY))


def rpc_call(shelf: Shelf, interceptors: list[Interceptor]) -> Callable[[], object]:
    """Asks over gRPC, from the call that the transport makes to its answer."""
    api = Api(
        methods=PredictionService(shelf, in_pool=shelf.in_pool).methods(),
        call_failed=failure_counters(shelf.metrics.outcomes),
        servable_of=named_servable,
    )
    method: UnaryMethod = served_methods(api, interceptors)[PREDICT]  # type: ignore[assignment]
    request_type, _ = method_types(PREDICT)
    inputs = {"x": tensor(np.array([1, 2, 5], np.float32))}
    data = request_type(model_spec=spec("m"), inputs=inputs).SerializeToString()
    return lambda: method(data, Call())


def quickest_micros(asked: list[Callable[[], object]]) -> list[float]:
    """Of each, the quickest round, taken in turns."""
    best = [float("inf")] * len(asked)
    for _ in range(ROUNDS):
        for index, ask in enumerate(asked):
            begun = time.perf_counter()
            for _ in range(CALLS):
                ask()
            best[index] = min(best[index], (time.perf_counter() - begun) / CALLS)
    return [seconds * 1e6 for seconds in best]


async def main() -> None:
    pool = RunPool(1)
    shelf = Shelf(pool)
    shelf.put("m", 7, HALF_PLUS_TWO, is_inline=True)
    kinds = {"REST": rest_request, "gRPC": rpc_call}
    gc.freeze()
    print("µs a request".ljust(14), *(f"{count} interceptors".rjust(15) for count in COUNTS))
    for name, make in kinds.items():
        found = quickest_micros([make(shelf, [let_pass] * count) for count in COUNTS])
        print(name.ljust(14), *(f"{micros:.2f}".rjust(15) for micros in found))
    pool.close()


if __name__ == "__main__":
    asyncio.run(main())
