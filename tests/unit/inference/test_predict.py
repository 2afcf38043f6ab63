from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from salver.errors import FailedPrecondition, Internal, InvalidArgument
from salver.inference.predict import (
    check_predict_signature,
    predict_feeds,
    predict_fetches,
    unknown_serving_signature,
)
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import Signature, TensorSpec

METHODS = "tensorflow/serving/predict, tensorflow/serving/classify, tensorflow/serving/regress"


def spec(name: str) -> TensorSpec:
    return TensorSpec(DataType.FLOAT32, None)


def signature_of(inputs: str, outputs: str = "y", **defaults: float) -> Signature:
    return Signature(
        inputs={alias: spec(f"in_{alias}") for alias in inputs.split()},
        outputs={alias: spec(f"out_{alias}") for alias in outputs.split()},
        defaults={alias: np.array(value) for alias, value in defaults.items()},
    )


def decode(tensor: bytes) -> Array:
    """A number as text."""
    try:
        return np.array(float(tensor))
    except ValueError as error:
        raise InvalidArgument("no number") from error


def feed_names(signature: Signature) -> list[str]:
    return [f"in_{alias}:0" for alias in signature.inputs]


def fed(signature: Signature, **given: bytes) -> list[float]:
    return [float(feed) for feed in predict_feeds(signature, given, decode, feed_names(signature))]


def refusal(signature: Signature, given: Mapping[str, bytes]) -> str:
    with pytest.raises(InvalidArgument) as raised:
        predict_feeds(signature, given, decode, feed_names(signature))
    return raised.value.message


@pytest.mark.parametrize("kind", ["predict", "classify", "regress"])
def test_methods_that_name_no_other_purpose_may_be_predicted(kind: str) -> None:
    check_predict_signature(Signature({}, {}, method_name=f"tensorflow/serving/{kind}"))


@pytest.mark.parametrize("name", ["", "tensorflow/serving/Predict", "x"])
def test_other_methods_are_refused(name: str) -> None:
    with pytest.raises(Internal) as raised:
        check_predict_signature(Signature({}, {}, method_name=name))
    assert raised.value.message == (
        "Expected prediction signature method_name to be one of {" + METHODS + "}. Was: " + name
    )


def test_an_unknown_signature_is_named_and_the_known_ones_are_a_hint() -> None:
    error = unknown_serving_signature("s", ["a", "b"])
    assert isinstance(error, FailedPrecondition)
    assert error.message == 'Serving signature key "s" not found.'
    assert error.hint == "The model has the signatures: a, b"


def test_inputs_are_fed_in_the_order_of_the_signature() -> None:
    assert fed(signature_of("a b c"), c=b"3", a=b"1", b=b"2") == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("given", [{}, {"q": b"1"}, {"a": b"1", "q": b"2"}])
def test_inputs_that_are_not_those_of_the_signature_come_with_a_list_of_those_that_are(
    given: dict[str, bytes],
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        fed(signature_of("a b", b=7), **given)
    assert (caught.value.hint or "").startswith("The inputs of this signature are: 'a' (")


def test_a_signature_may_have_no_inputs() -> None:
    assert fed(signature_of("")) == []


def test_an_input_that_is_left_out_is_fed_its_default() -> None:
    signature = signature_of("a b", b=7)
    assert fed(signature, a=b"1") == [1.0, 7.0]
    assert fed(signature, a=b"1", b=b"2") == [1.0, 2.0]


def test_a_default_of_one_row_is_repeated_for_each_row_of_the_request() -> None:
    signature = replace(
        signature_of("a x z"),
        defaults={"a": np.array([7.0]), "z": np.array([[8.0, 9.0]])},
        row_defaults=frozenset("az"),
    )

    def decode_list(text: bytes) -> Array:
        return np.array(list(map(float, text.split())))

    def fed_of(**given: bytes) -> list[object]:
        feeds = predict_feeds(signature, given, decode_list, feed_names(signature))
        return [feed.tolist() for feed in feeds]

    assert fed_of(x=b"1 2 3") == [[7, 7, 7], [1, 2, 3], [[8, 9]] * 3]
    assert fed_of(a=b"1 2", x=b"3 4") == [[1, 2], [3, 4], [[8, 9]] * 2]
    default = signature.defaults["a"]
    assert default is not None
    assert default.shape == (1,)


@pytest.mark.parametrize(
    ("inputs", "given", "message"),
    [
        (
            "x",
            "",
            "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. "
            "Missing but required: {x}.",
        ),
        (
            "x",
            "z x a",
            "input size does not match signature: 3!=1 len({a,x,z}) != len({x}). "
            "Sent extra: {a,z}. Missing but required: {}.",
        ),
        (
            "a b c",
            "q b",
            "input size does not match signature: 2!=3 len({b,q}) != len({a,b,c}). "
            "Sent extra: {q}. Missing but required: {a,c}.",
        ),
        (
            "",
            "x",
            "input size does not match signature: 1!=0 len({x}) != len({}). Sent extra: {x}. "
            "Missing but required: {}.",
        ),
    ],
)
def test_a_wrong_number_of_inputs_is_told_with_their_names(
    inputs: str, given: str, message: str
) -> None:
    assert refusal(signature_of(inputs), dict.fromkeys(given.split(), b"1")) == message


def test_with_defaults_there_may_be_too_few_inputs_but_not_too_many() -> None:
    signature = signature_of("a b", a=1, b=2)
    assert fed(signature) == [1.0, 2.0]
    assert refusal(signature, {"a": b"1", "b": b"1", "c": b"1"}).startswith(
        "input size does not match signature: 3!=2 "
    )


@pytest.mark.parametrize(
    ("defaults", "given", "message"),
    [
        (
            "",
            "y z",
            "Signature input alias: x(feed name: in_x:0) not found in request and no default "
            "value provided. Inputs expected to be in the request {y,z}, or default input alias "
            "set: ",
        ),
        (
            "y w",
            "y",
            "Signature input alias: x(feed name: in_x:0) not found in request and no default "
            "value provided. Inputs expected to be in the request {y}, or default input alias "
            "set: w,y",
        ),
    ],
)
def test_an_input_without_a_value_is_told_with_those_there_are(
    defaults: str, given: str, message: str
) -> None:
    signature = replace(signature_of("x y"), defaults=dict.fromkeys(defaults.split(), np.ones(1)))
    assert refusal(signature, dict.fromkeys(given.split(), b"1")) == message


def test_a_tensor_that_is_none_is_told_by_its_alias() -> None:
    with pytest.raises(InvalidArgument, match=r"^tensor parsing error: b$") as raised:
        fed(signature_of("a b"), a=b"1", b=b"?")
    assert raised.value.hint == "no number"


def test_a_default_that_is_none_is_told_by_its_alias() -> None:
    signature = replace(signature_of("a"), defaults={"a": None})
    assert refusal(signature, {}) == "tensor parsing error: a"
    assert fed(signature, a=b"1") == [1.0]


def test_what_comes_first_by_name_is_told_first() -> None:
    signature = signature_of("a b c", a=1)
    assert refusal(signature, {"b": b"?", "z": b"1"}) == "tensor parsing error: b"
    assert refusal(signature, {"c": b"?", "z": b"1"}).startswith("Signature input alias: b(")


def test_an_input_nobody_asked_for_is_told_last() -> None:
    signature = signature_of("a b c", b=2, c=3)
    assert refusal(signature, {"a": b"1", "y": b"1", "z": b"?"}) == (
        "Inputs contains invalid name. Used request inputs: a, request input: a,y,z"
    )
    assert refusal(signature_of("a", a=1), {"z": b"1"}) == (
        "Inputs contains invalid name. Used request inputs: , request input: z"
    )


def test_all_outputs_are_fetched_where_no_filter_says_which() -> None:
    assert predict_fetches(signature_of("", "a b c"), ()) == ("a", "b", "c")


def test_filtered_outputs_are_fetched_in_the_order_of_the_signature() -> None:
    signature = signature_of("", "a b c")
    assert predict_fetches(signature, ("c", "a")) == ("a", "c")
    assert predict_fetches(signature, ("c", "b", "a")) == ("a", "b", "c")


def test_an_output_there_is_not_is_told_with_those_there_are() -> None:
    with pytest.raises(InvalidArgument) as raised:
        predict_fetches(signature_of("", "b a"), ("a", "nope", "nope"))
    assert raised.value.message == (
        "output tensor alias not found in signature: nope Outputs expected to be in the set {a,b}."
    )


def test_an_output_may_be_asked_for_once() -> None:
    with pytest.raises(InvalidArgument, match=r"^duplicate output tensor alias: a$"):
        predict_fetches(signature_of("", "a b"), ("a", "b", "a", "nope"))
