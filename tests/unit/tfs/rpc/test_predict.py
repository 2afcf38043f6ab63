"""What `test_prediction` leaves: calls after others like them, whose requests are known by then."""

from collections.abc import Callable
from contextlib import suppress
from itertools import chain
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.messages import array_of, method_types, spec, tensor
from tests.shelf import (
    FLOATS,
    HALF_PLUS_TWO,
    STRINGS,
    FunctionModel,
    InlineProgram,
    Shelf,
    half_plus_two,
    response_of,
    signature,
)

from salver.errors import Code, ServingError, error_of
from salver.inference.call import LARGE_BYTES
from salver.inference.servable import Servable, SignatureCall
from salver.protocols.methods import Call
from salver.tfs.rpc.prediction import PredictionService
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.requests import Array, ServableRequest
from salver.vocabulary.servable import ServableId
from salver.vocabulary.signature import Signature
from salver.vocabulary.tensorflow_types import number_of

REQUEST, RESPONSE = method_types("/tensorflow.serving.PredictionService/Predict")
X, Y = {"x": FLOATS}, {"y": FLOATS}
LARGE = LARGE_BYTES // 4 + 1  # elements of a float tensor that is large


def model_of(function: Callable[..., list[Array]], of: Signature | None = None) -> FunctionModel:
    return FunctionModel({"serving_default": (of or signature(X, Y), function)})


def plus(number: float) -> FunctionModel:
    return model_of(lambda x: [x + np.float32(number)])


def fail_on_nine(x: Array) -> list[Array]:
    if 9 in x:
        raise error_of(Code.INTERNAL, "a nine")
    return half_plus_two(x)


class Predict:
    """A service, asked without a deadline."""

    def __init__(self, shelf: Shelf, *, as_content: bool) -> None:
        self._service = PredictionService(shelf, in_pool=shelf.in_pool, as_content=as_content)

    def answer(self, data: bytes) -> Any:
        return self._service.predict(data, Call(None))


def usual(shelf: Shelf, *, as_content: bool = False) -> Predict:
    return Predict(shelf, as_content=as_content)


def request(*values: float, alias: str = "x", **of: Any) -> bytes:
    array = np.array(values, np.float32)
    data: bytes = REQUEST(
        model_spec=spec("m", **of), inputs={alias: tensor(array)}
    ).SerializeToString()
    return data


def version_and_values(answer: Any) -> tuple[int, list[float]]:
    assert isinstance(answer, bytes)
    response = RESPONSE.FromString(answer)
    return response.model_spec.version.value, array_of(response.outputs["y"]).tolist()


def refused(predict: Predict, data: bytes) -> ServingError:
    with pytest.raises(ServingError) as raised:
        predict.answer(data)
    return raised.value


@pytest.mark.parametrize("as_content", [False, True])
def test_the_second_answer_is_written_as_the_first(shelf: Shelf, as_content: bool) -> None:
    shelf.put("m", 7, HALF_PLUS_TWO)
    predict = usual(shelf, as_content=as_content)
    first = predict.answer(request(2, 4))
    assert predict.answer(request(2, 4)) == first
    assert version_and_values(predict.answer(request(6, 8))) == (7, [5, 6])
    assert shelf.in_flight() == 0


def test_a_quantized_output_is_called_so_each_time(shelf: Shelf) -> None:
    of = signature(X, {"y": (DataType.QINT32, (-1,))})
    shelf.put("m", 7, model_of(lambda x: [x.astype(np.int32)], of))
    predict = usual(shelf, as_content=True)
    first = predict.answer(request(2))
    assert isinstance(first, bytes)
    assert RESPONSE.FromString(first).outputs["y"].dtype == number_of(DataType.QINT32)
    assert predict.answer(request(2)) == first


def test_the_newest_version_answers_though_the_request_is_known(shelf: Shelf) -> None:
    predict = usual(shelf)
    for version in (1, 2, 3):  # the same model, so that only the number tells
        shelf.put("m", version, HALF_PLUS_TWO)
        for _ in range(3):
            assert version_and_values(predict.answer(request(2))) == (version, [3])
    shelf.put("m", 4, plus(10))
    for _ in range(3):
        assert version_and_values(predict.answer(request(2))) == (4, [12])
    assert shelf.in_flight() == 0


def test_a_label_is_looked_up_though_the_request_is_known(shelf: Shelf) -> None:
    predict = usual(shelf)
    shelf.put("m", 1, plus(1))
    shelf.put("m", 2, plus(2))
    for version in (1, 1, 2, 2, 1):
        shelf.serving.assign_labels({"m": {"l": version}}, {})
        answer = predict.answer(request(2, label="l"))
        assert version_and_values(answer) == (version, [2 + version])


def test_another_model_of_the_same_version_is_asked_in_its_own_way(shelf: Shelf) -> None:
    predict = usual(shelf)
    shelf.put("m", 7, plus(1))
    for _ in range(2):
        predict.answer(request(2))
    shelf.serving.withdraw(ServableId("m", 7), lambda: None)
    assert refused(predict, request(2)).code is Code.NOT_FOUND
    shelf.put("m", 7, model_of(half_plus_two, signature({"z": FLOATS}, Y)))
    assert "alias: z" in refused(predict, request(2)).message
    assert version_and_values(predict.answer(request(2, alias="z"))) == (7, [3])


@pytest.mark.parametrize(
    ("model", "code"),
    [
        (FunctionModel({"other": (signature(X, Y), half_plus_two)}), Code.FAILED_PRECONDITION),
        (model_of(half_plus_two, signature({"": FLOATS}, Y)), Code.INVALID_ARGUMENT),
        (model_of(half_plus_two, signature({**X, "z": FLOATS}, Y)), Code.INVALID_ARGUMENT),
        (model_of(fail_on_nine), Code.INTERNAL),
    ],
    ids=["no such signature", "no such tensor", "another input", "fails"],
)
def test_a_new_version_that_cannot_answer_refuses_a_known_request(
    shelf: Shelf, model: FunctionModel, code: Code
) -> None:
    predict = usual(shelf)
    shelf.put("m", 7, HALF_PLUS_TWO)
    for _ in range(2):
        predict.answer(request(9))
    shelf.put("m", 8, model)
    expected = refused(usual(shelf), request(9))
    error = refused(predict, request(9))
    assert (error.code, error.message, error.version) == (code, expected.message, 8)
    assert shelf.in_flight() == 0


def test_a_run_that_fails_is_told_of_with_its_version(shelf: Shelf) -> None:
    shelf.put("m", 7, model_of(fail_on_nine))
    predict = usual(shelf)
    assert version_and_values(predict.answer(request(1))) == (7, [2.5])
    error = refused(predict, request(9))
    assert (error.message, error.version) == ("a nine", 7)
    assert shelf.in_flight() == 0


async def test_outputs_of_another_shape_or_type_or_number_are_answered_as_they_are(
    shelf: Shelf,
) -> None:
    def repeated(x: Array) -> list[Array]:
        if x[0] < 0:
            return [x.astype(np.float64)]
        if x[0] == 0:
            return [x, x]
        return [np.repeat(x, int(x[0]))]

    shelf.put("m", 7, model_of(repeated))
    predict = usual(shelf)
    for value, expected in [(1, [1]), (3, [3, 3, 3]), (-2, [-2]), (LARGE, [LARGE] * LARGE)]:
        answer = await response_of(predict.answer(request(value)))
        assert version_and_values(answer) == (7, expected)
    assert refused(predict, request(0)).message == "Predict internal error"
    assert shelf.in_flight() == 0


async def test_a_run_that_is_not_over_at_once_is_waited_for(shelf: Shelf) -> None:
    shelf.put("m", 7, HALF_PLUS_TWO)
    shelf.put("m", 8, HALF_PLUS_TWO, is_inline=False)
    call, pooled = [_call(shelf, version) for version in (7, 8)]
    predict = usual(shelf)
    for _ in range(2):
        assert isinstance(predict.answer(request(2, version=7)), bytes)
    call.start = pooled.start
    answer = predict.answer(request(4, version=7))
    assert not isinstance(answer, bytes)
    assert version_and_values(await response_of(answer)) == (7, [4])


def _call(shelf: Shelf, version: int) -> SignatureCall:
    handle = shelf.acquire(ServableRequest("m", version))
    call = handle.model.call("serving_default")
    handle.release()
    assert call is not None
    return call


async def test_a_large_request_like_an_earlier_one_is_read_in_the_loop(shelf: Shelf) -> None:
    seen: list[Array] = []

    def first(x: Array) -> list[Array]:
        seen.append(x)
        return [x[:1].copy()]

    shelf.put("m", 7, model_of(first))
    predict = usual(shelf)
    for number in range(3):
        data = request(*[number] * LARGE)
        answer = await response_of(predict.answer(data))
        assert version_and_values(answer) == (7, [number])
        assert np.shares_memory(seen[-1], np.frombuffer(data, np.uint8))
    assert shelf.pooled == 1  # the first alone
    shelf.put("m", 8, model_of(lambda x: [x[:1] + 1]))
    answer = await response_of(predict.answer(request(*[3] * LARGE)))
    assert version_and_values(answer) == (8, [4])
    assert shelf.pooled == 2


async def test_what_is_remembered_of_large_answers_is_nothing(shelf: Shelf) -> None:
    shelf.put("m", 7, HALF_PLUS_TWO)
    predict = usual(shelf)
    for _ in range(3):
        before = shelf.pooled
        version, values = version_and_values(
            await response_of(predict.answer(request(*[1] * LARGE)))
        )
        assert (version, values) == (7, [2.5] * LARGE)
        assert shelf.pooled == before + 2


def test_every_answer_is_counted_and_no_failure(shelf: Shelf) -> None:
    shelf.put("m", 7, model_of(fail_on_nine))
    predict = usual(shelf)
    for value in (1, 2, 9, 3, 9):
        with suppress(ServingError):
            predict.answer(request(value))
    lines = shelf.metrics.draw()().decode().splitlines()
    (count,) = [line for line in lines if line.startswith("salver_request_seconds_count{")]
    assert count.split()[-1] == "3"


def test_a_model_that_nobody_counts_is_answered_too(shelf: Shelf) -> None:
    shelf.serving.publish(ServableId("m", 7), Servable(HALF_PLUS_TWO, InlineProgram))
    predict = usual(shelf)
    for _ in range(2):
        assert version_and_values(predict.answer(request(2))) == (7, [3])


# -- whatever was asked before ---------------------------------------------------------------------

MODEL = FunctionModel(
    {
        "serving_default": (signature(X, Y), lambda x: [x]),
        "two": (signature({"a": FLOATS, "b": FLOATS}, {"c": FLOATS}), lambda a, b: [b]),
        "pair": (signature(X, {"y": FLOATS, "z": FLOATS}), lambda x: [x, x]),
        "optional": (
            Signature(
                signature(X, Y).inputs,
                signature(X, Y).outputs,
                defaults={"x": np.ones(1, np.float32)},
            ),
            lambda x: [x],
        ),
        "texts": (signature({"x": STRINGS}, {"y": STRINGS}), lambda x: [x]),
        "any": (signature(X, {"y": (DataType.FLOAT64, None)}), lambda x: [x]),
    }
)

arrays = st.sampled_from(
    [
        *[np.zeros(size, np.float32) for size in range(4)],
        np.float32(0),
        np.zeros((2, 1), np.float32),
        np.zeros(2, np.float64),
        np.zeros(3, np.int32),
        np.zeros(2, np.bool_),
        np.array([b"ab", b"c"], object),
    ]
)
specs = st.builds(
    spec,
    st.sampled_from("mmmn"),
    st.sampled_from(["", "", "serving_default", *MODEL.functions, "none"]),
    version=st.sampled_from([None, None, 7, 8]),
)
requests = st.builds(
    lambda spec, inputs, output_filter, tail: (
        REQUEST(
            model_spec=spec,
            inputs={alias: tensor(array) for alias, array in inputs.items()},
            output_filter=output_filter,
        ).SerializeToString()
        + tail
    ),
    specs,
    st.dictionaries(st.sampled_from("xxxab"), arrays, max_size=2),
    st.sampled_from([(), (), (), ("y",), ("none",)]),
    st.sampled_from([b"", b"", b"\x78\x01", b"\x0a\x03\x0a\x01m"]),
)

numbers = st.sampled_from([np.zeros(size, dtype) for size in (2, 3) for dtype in "fdiF"])
plain = st.builds(
    lambda array: REQUEST(model_spec=spec("m"), inputs={"x": tensor(array)}).SerializeToString(),
    numbers,
)


@st.composite
def alike(draw: Callable[[st.SearchStrategy[Any]], Any]) -> list[bytes]:
    """A request and others whose last bytes are different."""
    first = draw(plain | requests)
    made = [first]
    for _ in range(draw(st.integers(1, 3))):
        last = draw(st.binary(min_size=1, max_size=8))[: len(first)]
        made.append(first[: len(first) - len(last)] + last)
    return made


def outcome(predict: Predict, data: bytes) -> Any:
    try:
        return predict.answer(data)
    except ServingError as error:
        return error.code, error.message, error.hint, error.version


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(alike(), min_size=1, max_size=3))
def test_a_call_is_answered_as_if_it_were_the_first(shelf: Shelf, asked: list[list[bytes]]) -> None:
    if not shelf.names:
        shelf.put("m", 7, MODEL)
        shelf.put("m", 8, MODEL)
    experienced = usual(shelf)
    for data in [*chain.from_iterable(asked)] * 2:
        assert outcome(experienced, data) == outcome(usual(shelf), data)
    assert shelf.in_flight() == 0
