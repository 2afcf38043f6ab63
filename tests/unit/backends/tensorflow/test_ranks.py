from collections.abc import Sequence

import numpy as np
import pytest

from salver.backends.tensorflow.ranks import CheckedProgram, least_ranks
from salver.errors import InvalidArgument
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.model import TensorNames
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import Signature, TensorSpec


class _Sum:
    """Adds up its feeds; says how it was called."""

    can_loop = True

    def run(self, feeds: Sequence[Array]) -> list[Array]:
        return [np.array([1.0, sum(float(feed.sum()) for feed in feeds)])]

    def run_in_caller(self, feeds: Sequence[Array]) -> list[Array]:
        return [np.array([2.0, sum(float(feed.sum()) for feed in feeds)])]

    def run_inline(self, feeds: Sequence[Array]) -> list[Array]:
        return [np.array([3.0, sum(float(feed.sum()) for feed in feeds)])]


def _signature(**shapes: tuple[int, ...] | None) -> Signature:
    return Signature(
        inputs={alias: TensorSpec(DataType.FLOAT32, shape) for alias, shape in shapes.items()},
        outputs={},
    )


def test_the_declared_dimensions_are_the_least() -> None:
    signatures = {
        "serving_default": _signature(image=(-1, 8, 8, 1), steps=(-1, 9, 2)),
        "other": _signature(flat=(-1, 64), unknown=None, video=(-1, 4, 8, 8, 3)),
    }
    names = {
        name: TensorNames({alias: f"serving_{alias}:0" for alias in of.inputs}, {})
        for name, of in signatures.items()
    }
    assert least_ranks(signatures, names) == {
        "serving_image:0": 4,
        "serving_steps:0": 3,
        "serving_video:0": 5,
    }


@pytest.mark.parametrize("way", ["run", "run_in_caller", "run_inline"])
def test_what_has_too_few_dimensions_is_never_run(way: str) -> None:
    program = CheckedProgram(_Sum(), [4, 0])
    run = getattr(program, way)
    with pytest.raises(InvalidArgument) as raised:
        run([np.ones((8, 8, 1)), np.ones(3)])
    assert raised.value.message == "input must be 4-dimensional[8,8,1]"
    for shape in ((1, 8, 8, 1), (1, 1, 8, 8, 1)):
        (answer,) = run([np.ones(shape), np.ones(3)])
        assert answer[1] == 67.0


def test_each_way_to_run_stays_the_one_that_was_asked_for() -> None:
    program = CheckedProgram(_Sum(), [0])
    assert program.can_loop
    ways = [program.run, program.run_in_caller, program.run_inline]
    assert [run([np.ones(())])[0][0] for run in ways] == [1.0, 2.0, 3.0]
