from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from salver.batching.runner import MeasuredProgram, RunPool
from salver.config.models import All
from salver.inference.servable import StartableProgram
from salver.model import Program
from tests.contract.rest.server import Never, Rest, config, serve
from tests.shelf import InlineProgram

Runner = Callable[[Program], StartableProgram]
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
ORIGINALS = {
    "half_plus_two": "saved_model_half_plus_two_cpu",
    "half_plus_two_tf2": "saved_model_half_plus_two_tf2_cpu",
    "half_plus_three": "saved_model_half_plus_three",
    "counter": "saved_model_counter",
    "matrix_half_plus_two": "matrix_half_plus_two",
    "half_plus_two_2_versions": "saved_model_half_plus_two_2_versions",
}
"""Our name of a model → TensorFlow Serving's."""


@pytest.fixture(scope="session")
def run_pool() -> Iterator[RunPool]:
    pool = RunPool(2)
    yield pool
    pool.close()


@pytest.fixture(scope="session", params=["inline", "pooled"])
def runner(request: pytest.FixtureRequest, run_pool: RunPool) -> Runner:
    """Where models run: in the loop, or in the pool."""

    def pooled(program: Program) -> StartableProgram:
        return MeasuredProgram(program, run_pool, clock=Never())

    return InlineProgram if request.param == "inline" else pooled


@pytest.fixture(scope="session")
def rest(runner: Runner, run_pool: RunPool, model_path: Paths) -> Iterator[Rest]:
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
    yield rest
    assert core.close(timeout_s=60.0)


@pytest.fixture(scope="session", params=["ours", "originals"])
def twin(
    request: pytest.FixtureRequest,
    run_pool: RunPool,
    model_path: Paths,
    reference_model: Paths,
) -> Iterator[Rest]:
    """A server of the models TensorFlow Serving has too: as generated here, and its own."""
    paths = {
        name: reference_model(original) if request.param == "originals" else model_path(name)
        for name, original in ORIGINALS.items()
    }
    core, rest = serve(
        run_pool,
        InlineProgram,
        tuple(config(name, path, All(), stable=123) for name, path in paths.items()),
    )
    yield rest
    assert core.close(timeout_s=60.0)
