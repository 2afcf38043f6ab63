import numpy as np
import pytest

from salver.errors import DeadlineExceeded, InvalidArgument, ServingError, Unavailable
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.hints import (
    explain,
    feeds_hint,
    fits,
    inputs_hint,
    shape_text,
    signatures_hint,
    without_nodes,
)
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import Signature, TensorSpec

Shape = tuple[int, ...]


def signature(**shapes: Shape | None) -> Signature:
    inputs = {alias: TensorSpec(DataType.FLOAT32, of) for alias, of in shapes.items()}
    return Signature(inputs=inputs, outputs={})


def floats(*shape: int) -> Array:
    return np.zeros(shape, np.float32)


def hint(shape: Shape, declared: Shape | None) -> str | None:
    return feeds_hint(signature(x=declared), [floats(*shape)])


@pytest.mark.parametrize(
    ("shape", "declared"),
    [((3, 2), (-1, 2)), ((3, 2), (3, -1)), ((), ()), ((1, 2, 3), None), ((0, 2), (-1, 2))],
)
def test_what_fits_needs_no_hint(shape: Shape, declared: Shape | None) -> None:
    assert fits(shape, declared)
    assert hint(shape, declared) is None


@pytest.mark.parametrize(
    ("shape", "declared", "said"),
    [
        ((2,), (-1, 2), "the first axis, which counts the rows, is missing. One row is [1, 2]"),
        ((8, 8, 1), (-1, 8, 8, 1), "One row is [1, 8, 8, 1]; in JSON it is an element of the list"),
        ((3, 8, 8), (-1, 8, 8, 1), "an axis of 1 is missing, as in [3, 8, 8, 1]"),
        ((8, 8), (-1, 8, 8, 1), "the axes of rows and of channels are missing"),
        (
            (1, 1, 2),
            (-1, 2),
            "there is an axis too many in front. In JSON, 'instances'",
        ),
        ((3, 8, 8, 1), (-1, 8, 8), "the axis 3, of 1, is too many"),
        ((1, 3, 224, 200), (-1, 224, 200, 3), "the channels are to be the last axis"),
        ((1, 224, 200, 3), (-1, 3, 224, 200), "the channels are to be the axis behind the rows"),
        ((784,), (-1, 28, 28), "the same numbers would fit as [1, 28, 28]"),
        ((5, 784), (-1, 28, 28, 1), "the same numbers would fit as [5, 28, 28, 1]"),
        ((5, 28, 28), (-1, 784), "the same numbers would fit as [5, 784]"),
        ((1, 3), (-1, 2), "axis 1 has 3, not 2"),
        ((4, 3, 5), (-1, 2, 6), "axis 1 has 3, not 2 and axis 2 has 5, not 6"),
        ((4,), (-1, 2, 3), "it has 1 axis, not 3"),
        ((), (-1, 2, 3), "it has 0 axes, not 3"),
        ((0, 5), (-1, 2, -1, 3), "it has 2 axes, not 4"),
    ],
)
def test_what_does_not_fit_is_set_against_the_signature(
    shape: Shape, declared: Shape, said: str
) -> None:
    found = hint(shape, declared)
    assert found is not None
    assert found.startswith(
        f"Input x is {shape_text(shape)}, the signature says {shape_text(declared)}: "
    )
    assert said in found
    assert found.endswith(".")


def test_a_wrong_type_is_told() -> None:
    wrong = np.zeros((1, 2), np.int64)
    assert feeds_hint(signature(x=(-1, 2)), [wrong]) == (
        "Input x is int64, the signature says float."
    )
    texts = np.array([b"a"], object)
    assert feeds_hint(signature(x=(-1,)), [texts]) == "Input x is string, the signature says float."


def test_each_input_that_does_not_fit_is_told_of_up_to_five() -> None:
    shapes: dict[str, Shape | None] = {f"x{n}": (-1, 2) for n in range(9)}
    found = feeds_hint(signature(**shapes), [floats(1, n) for n in range(9)])
    assert found is not None
    assert found.count("the signature says") == 5
    assert "Input x2 " not in found


def test_a_hint_is_never_long() -> None:
    found = feeds_hint(signature(**{"x" * 5000: (-1, 2)}), [floats(3)])
    assert found is not None
    assert len(found) <= 1000


def test_inputs_with_different_numbers_of_rows_are_told() -> None:
    of_rows = signature(a=(-1, 2), b=(-1,), c=())
    assert feeds_hint(of_rows, [floats(3, 2), floats(2), floats()]) == (
        "The inputs have different numbers of rows: a has 3, b has 2."
    )
    assert feeds_hint(of_rows, [floats(3, 2), floats(3), floats()]) is None


def test_a_dtype_that_no_array_is_of_is_left_alone() -> None:
    strange = Signature(inputs={"x": TensorSpec(DataType.RESOURCE, ())}, outputs={})
    assert feeds_hint(strange, [floats()]) is None


def test_an_error_keeps_its_text_and_the_hint_it_has() -> None:
    error = InvalidArgument("Matrix size-incompatible", hint="arg[0] is the tensor x.")
    explain(error, signature(x=(-1, 2)), [floats(1, 3)])
    assert error.message == "Matrix size-incompatible"
    assert error.hint == (
        "Input x is [1, 3], the signature says [-1, 2]: axis 1 has 3, not 2. "
        "arg[0] is the tensor x."
    )


@pytest.mark.parametrize("error", [DeadlineExceeded("late"), Unavailable("stopping")])
def test_what_the_feeds_have_no_part_in_is_not_put_on_them(error: ServingError) -> None:
    explain(error, signature(x=(-1, 2)), [floats(1, 3)])
    assert error.hint is None


def test_what_the_model_has_said_itself_is_not_said_twice() -> None:
    said = hint((1, 3), (-1, 2))
    error = InvalidArgument("odd", hint=said)
    explain(error, signature(x=(-1, 2)), [floats(1, 3)])
    assert error.hint == said


def test_without_a_signature_nothing_is_said() -> None:
    error = InvalidArgument("odd")
    explain(error, None, [floats(1, 3)])
    explain(error, signature(x=(-1, 2)), [floats(1, 2)])
    assert error.hint is None


def test_the_inputs_of_the_signature_are_listed() -> None:
    specs = {
        "a": TensorSpec(DataType.FLOAT32, (-1, 3)),
        "b": TensorSpec(DataType.STRING, None),
    }
    assert inputs_hint(specs) == (
        "The inputs of this signature are: 'a' (float, shape [-1, 3]), 'b' (string, any shape)."
    )
    assert inputs_hint({}) == "This signature has no inputs."
    many = {str(n): TensorSpec(DataType.FLOAT32, None, is_dense=False) for n in range(25)}
    assert inputs_hint(many).endswith("'19' (float, any shape) and 5 more.")


def test_signatures_that_are_the_loaders_are_not_listed() -> None:
    names = ["__saved_model_init_op", "serve", "serving_default"]
    assert signatures_hint(names) == "The model has the signatures: serve, serving_default"


@pytest.mark.parametrize(
    ("message", "words", "nodes"),
    [
        (
            "Matrix size-incompatible: In[0]: [1,3]\n\t [[{{function_node f}}{{node a/MatMul}}]]",
            "Matrix size-incompatible: In[0]: [1,3]",
            "[[{{function_node f}}{{node a/MatMul}}]]",
        ),
        ("{{function_node f}} odd\n\t [[{{node a}}]]", "odd", "{{function_node f}} [[{{node a}}]]"),
        ("Servable not found", "Servable not found", ""),
        ("[[{{node a}}]]", "[[{{node a}}]]", ""),
        ("", "", ""),
    ],
)
def test_the_names_of_nodes_are_taken_out_of_a_message(
    message: str, words: str, nodes: str
) -> None:
    assert without_nodes(message) == (words, nodes)
