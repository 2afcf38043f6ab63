from collections.abc import Mapping
from typing import Any

from salver.about.document import About, Example, SignatureAbout
from salver.openapi.bodies import MOST_EXAMPLES, example_rows, is_short
from salver.openapi.description import ServedModel
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.signature import (
    CLASSIFY_METHOD_NAME,
    DEFAULT_SIGNATURE,
    Signature,
    TensorSpec,
)

F, S = DataType.FLOAT32, DataType.STRING


def model(
    *examples: Example, inputs: "Mapping[str, tuple[int, ...]] | None" = None, **more: Any
) -> ServedModel:
    dtype = more.pop("dtype", F)
    specs = {name: TensorSpec(dtype, shape) for name, shape in (inputs or {"x": (-1, 2)}).items()}
    signature = Signature(specs, {"y": TensorSpec(F, (-1,))}, **more)
    about = About(signatures={DEFAULT_SIGNATURE: SignatureAbout(examples=examples)})
    return ServedModel(
        name="m", version=1, key="m.v1", signatures={DEFAULT_SIGNATURE: signature}, about=about
    )


def examples(model: ServedModel) -> list[tuple[str, Any]]:
    return list(example_rows(model, DEFAULT_SIGNATURE))


def test_examples_are_the_models_own() -> None:
    found = examples(
        model(Example(title="one", inputs={"x": [1, 2]}), Example(inputs={"x": [[3, 4]]}))
    )
    assert found == [("one", {"x": [[1, 2]]}), ("example 2", {"x": [[3, 4]]})]


def test_without_any_one_is_made_of_the_shapes() -> None:
    assert examples(model(inputs={"x": (-1, 2), "y": ()})) == [
        ("made of the shapes", {"x": [[1.0, 1.0]], "y": [1.0]})
    ]


def test_an_example_that_lacks_an_input_or_has_another_is_none() -> None:
    two = {"x": (-1,), "y": (-1,)}
    assert examples(model(Example(inputs={"x": [1]}), inputs=two))[0][0] == "made of the shapes"
    assert examples(model(Example(inputs={"z": [1]})))[0][0] == "made of the shapes"


def test_an_example_of_a_file_is_left_out() -> None:
    assert examples(model(Example(title="f", files={"x": "a.png"})))[0][0] == "made of the shapes"


def test_an_input_that_may_be_left_out_is() -> None:
    found = examples(model(inputs={"x": (-1,), "y": (-1,)}, optional=frozenset({"y"})))
    assert found == [("made of the shapes", {"x": [1.0]})]


def test_nothing_is_made_up_for_serialized_messages() -> None:
    given = model(inputs={"inputs": (-1,)}, dtype=S, method_name=CLASSIFY_METHOD_NAME)
    assert examples(given) == []


def test_of_very_many_examples_a_few_are_taken() -> None:
    assert (
        len(examples(model(*(Example(inputs={"x": [n, n]}) for n in range(90))))) == MOST_EXAMPLES
    )


def test_long_bodies_and_those_that_are_no_json_have_no_room() -> None:
    assert is_short({"instances": [1]})
    assert not is_short({"instances": [0.5] * 10_000})
    assert not is_short({"instances": [float("nan")]})
