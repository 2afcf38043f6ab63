from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from salver.scheduling.run_pool import RunPool
from salver.vocabulary.servable import All
from tests.contract.conftest import Served
from tests.contract.rest.server import Rest, config, serve
from tests.shelf import InlineProgram

Paths = Callable[[str], Path]
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
def rest(served: Served) -> Rest:
    """The REST API of the server of generated models."""
    return served.rest


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
