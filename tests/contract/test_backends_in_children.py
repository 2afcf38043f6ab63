"""Every backend loads its models in a child as it does here, and they give the same."""

import asyncio
import importlib.util
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from salver.backends.protocol import LoadStage
from salver.backends.selection import Selected, Selector
from salver.children.limits import ChildSettings
from salver.children.model import ChildModel, Children, What
from salver.errors import ServingError
from salver.vocabulary.model import signature_program
from salver.vocabulary.servable import ServableId
from tests.contract.test_backends import _EXAMPLE, CASES, PARAMS, Case, _backends, _zeros

WITH_GRAPH = ("tensorflow_savedmodel", "tflite", "keras")


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    made = Children(loop)
    yield made
    made.close()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture(params=PARAMS, ids=lambda case: case.name)
def selected(
    request: pytest.FixtureRequest,
    model_path: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> Selected:
    case: Case = request.param
    if importlib.util.find_spec(case.needs) is None:
        pytest.skip(f"{case.needs} is not installed")
    more = [str(_EXAMPLE), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, more)))
    directory = case.find(model_path)
    return Selector(_backends(), case.settings(directory))(directory)


def _load(children: Children, selected: Selected) -> ChildModel:
    what = What(
        id=ServableId("m", 1),
        backend=selected.backend,
        options=selected.options,
        directory=selected.path,
        settings=ChildSettings(),
        most_running=lambda: 2,
        most_queued=lambda: 100,
        ran=lambda: None,
        rejected=lambda: None,
    )
    return children.load(what, LoadStage(id=what.id))


def test_a_model_in_a_child_is_the_same(children: Children, selected: Selected) -> None:
    here, there = selected.load(LoadStage()), _load(children, selected)
    try:
        assert there.signatures == here.signatures
        assert there.definitions == here.definitions
        assert there.batching == here.batching
        assert (there.graph is None) == (here.graph is None)
        for name, signature in here.signatures.items():
            if name.startswith("__"):
                continue
            feeds = [_zeros(spec) for spec in signature.inputs.values()]
            expected = here.program(name).run(feeds)
            for got, wanted in zip(there.program(name).run(feeds), expected, strict=True):
                assert got.dtype == wanted.dtype
                np.testing.assert_array_equal(got, wanted)
            last = list(signature.outputs)[-1]
            (alone,) = there.program(name, [last]).run(feeds)
            np.testing.assert_array_equal(alone, expected[-1])
            if there.graph is not None:
                outputs = signature_program(there.graph, name).run(feeds)
                np.testing.assert_array_equal(outputs[-1], expected[-1])
    finally:
        here.close()
        there.close()


def test_a_directory_that_is_empty_fails_with_the_same_error(
    children: Children, selected: Selected, tmp_path: Path
) -> None:
    empty = Selected(selected.backend, selected.options, tmp_path, selected.match)
    with pytest.raises(ServingError) as here:
        empty.load(LoadStage())
    with pytest.raises(ServingError) as there:
        _load(children, empty)
    assert there.value.parts() == here.value.parts()


@pytest.mark.parametrize(
    "selected",
    [case for case in CASES if case.name in WITH_GRAPH],
    indirect=True,
    ids=lambda case: case.name,
)
def test_a_tensor_that_the_graph_does_not_have_is_told_by_the_run(
    children: Children, selected: Selected
) -> None:
    model = _load(children, selected)
    try:
        assert model.graph is not None
        with pytest.raises(ServingError, match="nowhere"):
            model.graph.program(["nowhere:0"], ["nowhere:1"]).run([np.zeros(1, np.float32)])
    finally:
        model.close()
