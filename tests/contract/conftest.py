from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from salver.inference.servable import ProgramNames, Runner, StartableProgram
from salver.management.core import ServerCore
from salver.scheduling.run_pool import RunPool
from salver.scheduling.runner import MeasuredProgram
from salver.vocabulary.model import Program
from salver.vocabulary.servable import All
from tests.contract.api import Api, RestApi, RpcApi
from tests.contract.rest.server import Never, Rest, config, serve, wait_until_available
from tests.contract.rpc.server import Rpc, rpc_of
from tests.shelf import InlineProgram

Paths = Callable[[str], Path]
MODELS = (
    "classes",
    "counter",
    "every_dtype",
    "failing",
    "half_plus_three",
    "half_plus_two",
    "half_plus_two_tf2",
    "matrix_half_plus_two",
    "several",
    "strings",
)


@dataclass(frozen=True, slots=True)
class Served:
    """A server, and its APIs."""

    core: ServerCore
    rest: Rest
    rpc: Rpc


@pytest.fixture(scope="session")
def run_pool() -> Iterator[RunPool]:
    pool = RunPool(2)
    yield pool
    pool.close()


@pytest.fixture(scope="session", params=["inline", "pooled"])
def runner(request: pytest.FixtureRequest, run_pool: RunPool) -> Runner:
    """Where models run: in the loop, or in the pool."""

    def pooled(program: Program, _names: ProgramNames) -> StartableProgram:
        return MeasuredProgram(program, run_pool, clock=Never())

    return InlineProgram if request.param == "inline" else pooled


@pytest.fixture(scope="session")
def served(runner: Runner, run_pool: RunPool, model_path: Paths) -> Iterator[Served]:
    """A server of generated models, one of which does not load."""
    labels = {"stable": 123, "canary": 124, "gone": 99}
    core, rest = serve(
        run_pool,
        runner,
        (
            *(config(name, model_path(name)) for name in MODELS),
            config("versions", model_path("half_plus_two_2_versions"), All(), **labels),
            config("broken", model_path("corrupt_pb")),
        ),
    )
    wait_until_available(core, "versions", 123)
    yield Served(core, rest, rpc_of(core, run_pool))
    assert not any(core.in_flight().values())
    assert core.close(timeout_s=60.0)


@pytest.fixture(params=["rest", "grpc"])
def api(request: pytest.FixtureRequest, served: Served) -> Api:
    """Each API of the server of generated models."""
    return RestApi(served.rest) if request.param == "rest" else RpcApi(served.rpc)
