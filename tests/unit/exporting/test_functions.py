import asyncio
import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.exporting import written

from salver.errors import InvalidArgument
from salver.exporting import Asked, export, is_live, live_name


def loaded(thing: Any, directory: Path, **asked: Any) -> Any:
    """The class `Model` of what is written, made in a namespace of its own."""
    directory.mkdir(exist_ok=True)
    export(thing, directory / "1", Asked(**asked))
    assert [of.name for of in (directory / "1").iterdir()] == ["model.py"]
    space: dict[str, Any] = {"__name__": "model"}
    text = (directory / "1" / "model.py").read_text()
    exec(compile(text, "model.py", "exec"), space)
    return space["Model"]


def test_a_function_becomes_a_model_with_all_it_needs(tmp_path: Path) -> None:
    model = loaded(written.score, tmp_path)
    assert model.inputs == {
        "x": ("float32", [-1]),
        "k": ("int64", [], 3),
        "text": ("string", [], "hi"),
    }
    assert model.outputs == {"y": ("float32", [-1])}
    feeds = {
        "x": np.array([1, 2], np.float32),
        "k": np.array(2),
        "text": np.array(b"hi", object),
    }
    answer = model().predict(feeds)["y"]
    assert answer.dtype == np.float32
    np.testing.assert_array_equal(answer, [5, 10])
    assert "# what a comment says stays" in (tmp_path / "1" / "model.py").read_text()


def test_types_may_be_said_beside_the_function(tmp_path: Path) -> None:
    outputs: Any = {"more": ("bfloat16", []), "name": ("string", [])}
    model = loaded(written.two, tmp_path, inputs={"x": ("float64", [])}, outputs=outputs)
    answer = model().predict({"x": np.array(1.0)})
    assert answer["more"].dtype.name == "bfloat16"
    assert answer["name"].dtype == object


def test_a_coroutine_function_stays_one(tmp_path: Path) -> None:
    model = loaded(written.later, tmp_path)
    assert asyncio.run(model().predict({"x": np.array(1.0)}))["y"] == 2


def test_a_function_may_call_itself_and_take_defaults_of_its_module(tmp_path: Path) -> None:
    assert loaded(written.recursive, tmp_path / "a").inputs == {"n": ("int64", [])}
    model = loaded(written.with_default, tmp_path / "b", inputs={"x": float}, outputs={"y": float})
    assert model().predict({"x": np.array(1.0)})["y"] == 3


@pytest.mark.parametrize(
    ("thing", "text"),
    [
        (lambda x: x, "A lambda has no source of its own"),
        (written.make(1.0), "closed cannot be published by its source: it keeps k of the function"),
        (written.uses_big, "uses_big cannot be published by its source: it uses BIG, a ndarray"),
        (written.uses_long, "uses LONG, a str"),
        (written.undefined, "undefined uses nothere, which is not defined"),
        (written.untyped, "untyped does not say the type of parameter x"),
        (written.star, r"star takes \*x"),
        (written.nothing, "nothing takes nothing"),
        (written.generator, "generator is a generator"),
        (written.decorated, "it is decorated by @wrapped"),
        (len, "A builtin_function_or_method has no source"),
        (np.add, "A ufunc has no source"),
        (functools.partial(written.score), "A partial has no source"),
        ("".join, "A builtin_function_or_method has no source"),
    ],
)
def test_what_does_not_stand_alone_is_refused_with_what_keeps_it(
    thing: Any, text: str, tmp_path: Path
) -> None:
    assert is_live(thing)
    with pytest.raises(InvalidArgument, match=text):
        export(thing, tmp_path / "1")


def test_a_function_without_a_file_has_no_source(tmp_path: Path) -> None:
    space: dict[str, Any] = {}
    exec("def prompt(x: float) -> float:\n    return x\n", space)
    with pytest.raises(InvalidArgument, match="The source of prompt cannot be read"):
        export(space["prompt"], tmp_path / "1")


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"inputs": {"z": float}}, "score has no parameter z"),
        ({"inputs": {"k": int}}, "inputs say nothing of the parameter x"),
        ({"inputs": {"x": "float"}}, "is no type of a tensor"),
        ({"outputs": []}, "outputs of a function are a dict"),
    ],
)
def test_types_that_do_not_fit_are_refused(
    asked: dict[str, Any], text: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidArgument, match=text):
        export(written.score, tmp_path / "1", Asked(**asked))


def test_a_name_fits_a_url() -> None:
    assert live_name(written.score) == "score"
    assert live_name(lambda: 0) == "_lambda_"
