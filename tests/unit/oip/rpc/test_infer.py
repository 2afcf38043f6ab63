"""ModelInfer, asked as a transport asks it."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.messages import method_types, strings
from tests.shelf import (
    FLOATS,
    HALF_PLUS_TWO,
    STRINGS,
    FunctionModel,
    Shelf,
    response_of,
    signature,
)
from tests.wire_forms import broken

from salver._pb import message_class
from salver.codecs.oip.dtypes import datatype_of_array
from salver.codecs.oip.tensors import raw_of
from salver.errors import Code, ServingError
from salver.inference.call import LARGE_BYTES, Inference
from salver.oip.rpc.infer import METER_KEY, servable_of, without_id
from salver.oip.rpc.service import InferenceService
from salver.protocols.methods import Call
from salver.scheduling.run_pool import RunPool
from salver.vocabulary.dtypes import DataType, numpy_dtype
from salver.vocabulary.requests import Array, ServableRequest

REQUEST, RESPONSE = method_types("/inference.GRPCInferenceService/ModelInfer")
INPUT, OUTPUT = REQUEST.InferInputTensor, REQUEST.InferRequestedOutputTensor
CONTENTS = message_class("inference.InferTensorContents")
PARAMETER = message_class("inference.InferParameter")


def floats(*values: float) -> Array:
    return np.array(values, np.float32)


def given_input(name: str, array: Array, **rest: Any) -> Any:
    datatype = datatype_of_array(array.dtype)
    return INPUT(name=name, datatype=datatype, shape=array.shape, **rest)


def raw(model: str = "m", /, *, outputs: Any = (), id: str = "", **arrays: Array) -> bytes:
    """A request with raw contents."""
    data: bytes = REQUEST(
        model_name=model,
        id=id,
        inputs=[given_input(name, array) for name, array in arrays.items()],
        outputs=outputs,
        raw_input_contents=[bytes(raw_of(array)) for array in arrays.values()],
    ).SerializeToString()
    return data


class Asked:
    """A service over a shelf of models."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        inference = Inference(shelf, shelf.in_pool, is_deadline=True)
        self.service = InferenceService(shelf, inference, lambda: None)

    def send(self, data: bytes, timeout_s: float | None = None) -> Any:
        """The response; the failure."""

        async def answer() -> bytes:
            return await response_of(self.service.model_infer(data, Call(timeout_s)))

        return RESPONSE.FromString(asyncio.run(answer()))

    def refusal(self, data: bytes) -> ServingError:
        with pytest.raises(ServingError) as raised:
            self.send(data)
        assert self.shelf.in_flight() == 0
        return raised.value

    def outputs(self, data: bytes) -> dict[str, list[Any]]:
        """Name → elements of the response."""
        response = self.send(data)
        found = {}
        pairs = zip(response.outputs, response.raw_output_contents, strict=True)
        for output, content in pairs:
            if output.datatype == "BYTES":
                found[output.name] = list(_texts(content))
            else:
                dtype = {"FP32": "f4", "INT64": "i8"}[output.datatype]
                array = np.frombuffer(content, dtype)
                found[output.name] = array.reshape(tuple(output.shape)).tolist()
        return found


def _texts(content: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(content):
        size = int.from_bytes(content[at : at + 4], "little")
        yield content[at + 4 : at + 4 + size]
        at += 4 + size


def two_inputs() -> FunctionModel:
    of = signature({"a": FLOATS, "b": FLOATS}, {"difference": FLOATS, "sum": FLOATS})
    return FunctionModel({"serving_default": (of, lambda a, b: [a - b, a + b])})


def texts() -> FunctionModel:
    of = signature({"x": STRINGS}, {"y": STRINGS})
    return FunctionModel({"serving_default": (of, lambda x: [x[::-1].copy()])})


@pytest.fixture
def asked() -> Iterator[Asked]:
    pool = RunPool(1)
    shelf = Shelf(pool)
    shelf.put("m", 7, HALF_PLUS_TWO)
    shelf.put("two", 1, two_inputs())
    shelf.put("texts", 1, texts())
    yield Asked(shelf)
    pool.close()


def test_raw_contents_are_answered_with_raw_contents(asked: Asked) -> None:
    response = asked.send(raw(x=floats(1, 2, 5)))
    assert response == RESPONSE(
        model_name="m",
        model_version="7",
        outputs=[RESPONSE.InferOutputTensor(name="y", datatype="FP32", shape=[3])],
        raw_output_contents=[floats(2.5, 3, 4.5).tobytes()],
    )


def test_contents_are_answered_with_raw_contents_too(asked: Asked) -> None:
    request = REQUEST(
        model_name="m",
        inputs=[given_input("x", floats(1, 2), contents=CONTENTS(fp32_contents=[1, 2]))],
    )
    assert asked.outputs(request.SerializeToString()) == {"y": [2.5, 3]}


def test_who_wants_no_raw_contents_gets_typed_ones(asked: Asked) -> None:
    request = REQUEST.FromString(raw(x=floats(1)))
    request.parameters["binary_data_output"].bool_param = False
    response = asked.send(request.SerializeToString())
    assert list(response.outputs[0].contents.fp32_contents) == [2.5]
    assert not response.raw_output_contents


def test_the_next_request_of_its_kind_is_answered_alike(asked: Asked) -> None:
    for _ in range(2):
        for id in ("", "a", "bc", "é", "7" * 200):
            for value in (1.0, 3.0):
                response = asked.send(raw(x=floats(value, 2), id=id))
                assert response.id == id
                content = floats(value / 2 + 2, 3).tobytes()
                assert list(response.raw_output_contents) == [content]


def test_a_request_with_a_version_and_an_id_is_answered_alike(asked: Asked) -> None:
    request = REQUEST.FromString(raw(x=floats(1)))
    request.model_version = "7"
    for id in ("a", "b", ""):
        request.id = id
        assert asked.send(request.SerializeToString()).id == id


def test_the_last_of_two_ids_counts(asked: Asked) -> None:
    whole = raw(x=floats(1), id="one")
    message, id = without_id(whole)
    at = whole.index(id) + len(id)
    for first in (b"one", b"two"):
        both = whole[: at - 3] + first + b"\x1a\x03two" + whole[at:]
        assert asked.send(both).id == "two"
    assert asked.send(message).id == ""


def test_an_answer_of_another_shape_than_before_is_written_as_it_is(asked: Asked) -> None:
    def shrinking(x: Array) -> list[Array]:
        return [x[x > 0]]

    model = FunctionModel({"serving_default": (signature({"x": FLOATS}, {"y": FLOATS}), shrinking)})
    asked.shelf.put("n", 1, model)
    for id in ("", "a"):
        for values in ((1, 2), (1, -1), (-1, -1), (1, 2)):
            kept = [float(value) for value in values if value > 0]
            data = raw("n", x=floats(*values), id=id)
            assert asked.outputs(data) == {"y": kept}
            assert asked.send(data).id == id


def test_a_new_version_answers_what_an_old_one_did(asked: Asked) -> None:
    data = raw(x=floats(1))
    assert [asked.send(data).model_version for _ in range(2)] == ["7", "7"]
    of = signature({"x": FLOATS}, {"y": FLOATS})
    asked.shelf.put("m", 8, FunctionModel({"serving_default": (of, lambda x: [x + 100])}))
    assert asked.send(data).model_version == "8"
    assert asked.outputs(data) == {"y": [101]}


def test_all_outputs_are_answered_or_those_requested_in_their_order(asked: Asked) -> None:
    def ask(*names: str) -> dict[str, list[Any]]:
        outputs = [OUTPUT(name=name) for name in names]
        return asked.outputs(raw("two", b=floats(1), a=floats(5), outputs=outputs))

    assert ask() == {"difference": [4], "sum": [6]}
    assert list(ask("sum", "difference")) == ["sum", "difference"]
    assert ask("sum") == {"sum": [6]}


def test_strings_are_bytes(asked: Asked) -> None:
    data = raw("texts", x=strings(b"a", b"", b"\xff\x00c"))
    assert asked.outputs(data) == {"y": [b"\xff\x00c", b"", b"a"]}
    contents = CONTENTS(bytes_contents=[b"a", b"b"])
    request = REQUEST(
        model_name="texts", inputs=[given_input("x", strings(b"a", b"b"), contents=contents)]
    )
    assert asked.outputs(request.SerializeToString()) == {"y": [b"b", b"a"]}


def test_scores_can_be_asked_for_as_classes(asked: Asked) -> None:
    of = signature({"x": FLOATS}, {"y": (DataType.FLOAT32, (-1, 3))})
    model = FunctionModel({"serving_default": (of, lambda x: [x.reshape(-1, 3)])})
    asked.shelf.put("scores", 1, model)
    wanted = OUTPUT(name="y")
    wanted.parameters["classification"].int64_param = 2
    data = raw("scores", x=floats(2, 6, 4, 9, 8, 7), outputs=[wanted])
    for _ in range(2):
        assert asked.outputs(data) == {
            "y": [b"6.000000:1", b"4.000000:2", b"9.000000:0", b"8.000000:1"]
        }
    assert list(asked.send(data).outputs[0].shape) == [2, 2]


def test_a_large_image_reaches_the_model_without_a_copy(asked: Asked) -> None:
    seen: list[Array] = []

    def first(x: Array) -> list[Array]:
        seen.append(x)
        return [x[0, 0, :1].copy()]

    of = signature({"x": (DataType.FLOAT32, (-1, -1, 3))}, {"y": FLOATS})
    asked.shelf.put("image", 1, FunctionModel({"serving_default": (of, first)}))
    image = np.random.default_rng(0).random((224, 224, 3), np.float32)
    data = raw("image", x=image)
    assert len(data) > LARGE_BYTES
    assert asked.outputs(data) == {"y": image[0, 0, :1].tolist()}
    assert np.shares_memory(seen[0], np.frombuffer(data, np.uint8))


@pytest.mark.parametrize("id", ["", "one"])
def test_a_large_request_like_an_earlier_one_is_read_in_the_loop(asked: Asked, id: str) -> None:
    of = signature({"x": FLOATS}, {"y": FLOATS})
    asked.shelf.put("first", 1, FunctionModel({"serving_default": (of, lambda x: [x[:1]])}))
    for number in range(3):
        values = np.full(LARGE_BYTES, number, np.float32)
        assert asked.outputs(raw("first", id=id, x=values)) == {"y": [number]}
    # A request with an id is not alike, and not copied in the loop to find out.
    assert asked.shelf.pooled == (3 if id else 1)


@pytest.mark.parametrize("dtype", ["BOOL", "INT8", "UINT64", "FP16", "BF16", "FP64"])
def test_each_element_type_is_answered_as_it_was_sent(asked: Asked, dtype: str) -> None:
    of = {"FP16": "float16", "BF16": "bfloat16", "FP64": "float64"}.get(dtype, dtype.lower())
    data_type: DataType = getattr(DataType, of.upper())
    model = signature({"x": (data_type, (-1,))}, {"y": (data_type, (-1,))})
    asked.shelf.put("same", 1, FunctionModel({"serving_default": (model, lambda x: [x])}))
    array = np.array([0, 1, 1]).astype(numpy_dtype(data_type))
    for _ in range(2):
        response = asked.send(raw("same", x=array))
        assert response.outputs[0].datatype == dtype
        assert response.raw_output_contents[0] == array.tobytes()


def test_answers_are_counted_as_those_of_this_protocol(asked: Asked) -> None:
    counted: list[tuple[str, str, str]] = []
    shelf = asked.shelf
    handle = shelf.acquire(ServableRequest("m"))
    call = handle.model.require_call("serving_default")

    class Meter:
        def succeeded(self, begun_s: float, ended_s: float, run_s: float) -> None:
            counted.append(("m", *METER_KEY))

        def exemplify(self, trace_id: int, total_s: float, run_s: float) -> None:
            """Nothing of this is traced."""

    call.meters[METER_KEY] = Meter()
    handle.release()
    for _ in range(3):
        asked.send(raw(x=floats(1)))
    assert counted == [("m", "infer", "GRPC")] * 3


# Wrong requests.


def edited(edit: Callable[[Any], object], data: bytes | None = None) -> bytes:
    request = REQUEST.FromString(raw(x=floats(1, 2)) if data is None else data)
    edit(request)
    written: bytes = request.SerializeToString()
    return written


def set_parameter(of: Any, name: str, **value: Any) -> object:
    return of.parameters[name].CopyFrom(PARAMETER(**value))


WRONG: dict[str, tuple[bytes, Code, str]] = {
    "no model": (edited(lambda r: r.ClearField("model_name")), Code.NOT_FOUND, ""),
    "unknown model": (raw("other", x=floats(1)), Code.NOT_FOUND, "other"),
    "unknown version": (
        edited(lambda r: setattr(r, "model_version", "9")), Code.NOT_FOUND, "9",
    ),
    "a shape that lies": (
        edited(lambda r: r.inputs[0].shape.__setitem__(0, 3)),
        Code.INVALID_ARGUMENT,
        "Expected 12, got 8",
    ),
    "2^62 elements": (
        edited(lambda r: r.inputs[0].shape.__setitem__(0, 2**62)),
        Code.INVALID_ARGUMENT,
        "input byte size mismatch",
    ),
    "2^124 elements": (
        edited(lambda r: r.inputs[0].shape.__setitem__(slice(None), [2**62, 2**62])),
        Code.INVALID_ARGUMENT,
        "exceed maximum size",
    ),
    "a negative axis": (
        edited(lambda r: r.inputs[0].shape.__setitem__(0, -1)),
        Code.INVALID_ARGUMENT,
        "invalid dimensions",
    ),
    "an unknown datatype": (
        edited(lambda r: setattr(r.inputs[0], "datatype", "FP31")),
        Code.INVALID_ARGUMENT,
        "invalid datatype",
    ),
    "another datatype": (
        edited(lambda r: setattr(r.inputs[0], "datatype", "INT32")),
        Code.INVALID_ARGUMENT,
        "data-type is 'INT32', but model 'm' expects 'FP32'",
    ),
    "an unknown input": (raw(z=floats(1)), Code.INVALID_ARGUMENT, "'z'"),
    "a missing input": (raw("two", a=floats(1)), Code.INVALID_ARGUMENT, "expected 2 inputs"),
    "an input twice": (
        edited(
            lambda r: (r.inputs.append(r.inputs[0]), r.raw_input_contents.append(b"")),
        ),
        Code.INVALID_ARGUMENT,
        "input 'x' already exists in request",
    ),
    "an output twice": (
        raw(x=floats(1), outputs=[OUTPUT(name="y")] * 2), Code.INVALID_ARGUMENT, "'y'",
    ),
    "an unknown output": (
        raw(x=floats(1), outputs=[OUTPUT(name="z")]), Code.INVALID_ARGUMENT, "'z'",
    ),
    "contents beside raw ones": (
        edited(lambda r: r.inputs[0].contents.fp32_contents.append(1)),
        Code.INVALID_ARGUMENT,
        "contents field must not be specified when using raw_input_contents for 'x' for model 'm'",
    ),
    "too many raw contents": (
        edited(lambda r: r.raw_input_contents.append(b"")),
        Code.INVALID_ARGUMENT,
        "the number of inputs (1) does not match the number of raw_input_contents (2)",
    ),
    "no contents at all": (
        edited(lambda r: r.ClearField("raw_input_contents")),
        Code.INVALID_ARGUMENT,
        "unable to find data for input tensor 'x' for model 'm' in request.",
    ),
    "contents of another type": (
        REQUEST(
            model_name="m",
            inputs=[given_input("x", floats(1), contents=CONTENTS(int_contents=[1]))],
        ).SerializeToString(),
        Code.INVALID_ARGUMENT,
        "unexpected explicit tensor data for input tensor 'x'",
    ),
    "BYTES cut short": (
        edited(
            lambda r: r.raw_input_contents.__setitem__(0, b"\x05\0\0\0ab"),
            raw("texts", x=strings(b"a")),
        ),
        Code.INVALID_ARGUMENT,
        "cut short",
    ),
    "BYTES without a length": (
        edited(lambda r: r.raw_input_contents.__setitem__(0, b"\5"), raw("texts", x=strings(b""))),
        Code.INVALID_ARGUMENT,
        "expected 1 string elements",
    ),
    "an input in shared memory": (
        edited(
            lambda r: (
                set_parameter(r.inputs[0], "shared_memory_region", string_param="r"),
                r.ClearField("raw_input_contents"),
            )
        ),
        Code.UNIMPLEMENTED,
        "shared memory is not supported: parameter 'shared_memory_region' of input 'x'",
    ),
    "one of two inputs in shared memory": (
        edited(
            lambda r: (
                set_parameter(r.inputs[0], "shared_memory_region", string_param="r"),
                r.raw_input_contents.pop(),
            ),
            raw("two", a=floats(1), b=floats(1)),
        ),
        Code.UNIMPLEMENTED,
        "shared memory",
    ),
    "an output in shared memory": (
        edited(
            lambda r: set_parameter(
                r.outputs.add(name="y"), "shared_memory_region", string_param="r"
            )
        ),
        Code.UNIMPLEMENTED,
        "of output 'y'",
    ),
    "a sequence": (
        edited(lambda r: set_parameter(r, "sequence_id", int64_param=3)),
        Code.UNIMPLEMENTED,
        "sequences are not supported: parameter 'sequence_id'",
    ),
    "a timeout that is none": (
        edited(lambda r: set_parameter(r, "timeout", string_param="1")),
        Code.INVALID_ARGUMENT,
        "Unable to parse 'timeout'",
    ),
    "classes that are no number": (
        edited(
            lambda r: set_parameter(r.outputs.add(name="y"), "classification", string_param="1")
        ),
        Code.INVALID_ARGUMENT,
        "invalid value type for 'classification' parameter, expected int64_param",
    ),
    "a negative number of classes": (
        edited(lambda r: set_parameter(r.outputs.add(name="y"), "classification", int64_param=-1)),
        Code.INVALID_ARGUMENT,
        "invalid value for 'classification' parameter, expected >= 0",
    ),
    "another signature": (
        edited(lambda r: set_parameter(r, "signature_name", string_param="other")),
        Code.INVALID_ARGUMENT,
        "other",
    ),
    "no message": (b"\x0a\x05m", Code.INTERNAL, "Failed to parse inference.ModelInferRequest"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("after_a_right_one", [False, True])
def test_a_wrong_request_is_refused_in_words(
    asked: Asked, wrong: str, after_a_right_one: bool
) -> None:
    if after_a_right_one:
        asked.send(raw(x=floats(1, 2)))
    data, code, text = WRONG[wrong]
    error = asked.refusal(data)
    assert (error.code, text in error.message) == (code, True), error.message


def test_an_error_says_which_version_it_is_of(asked: Asked) -> None:
    assert asked.refusal(WRONG["a shape that lies"][0]).version == 7
    assert asked.refusal(WRONG["unknown model"][0]).version is None


def test_a_timeout_in_the_request_ends_the_run(asked: Asked) -> None:
    request = REQUEST.FromString(raw(x=floats(1)))
    set_parameter(request, "timeout", int64_param=5_000_000)
    assert asked.outputs(request.SerializeToString()) == {"y": [2.5]}


def test_a_call_that_comes_too_late_is_not_run(asked: Asked) -> None:
    with pytest.raises(ServingError) as raised:
        asked.send(raw(x=floats(1)), timeout_s=-1.0)
    assert raised.value.code == Code.DEADLINE_EXCEEDED


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    broken(
        st.sampled_from(
            [
                raw(x=floats(1, 2)),
                raw(x=floats(1, 2), id="7"),
                raw("two", a=floats(1), b=floats(2)),
                raw("texts", x=strings(b"a", b"bc")),
                *(data for data, _, _ in WRONG.values()),
            ]
        )
    )
)
def test_whatever_comes_is_answered_or_refused_and_no_version_stays_pinned(
    asked: Asked, data: bytes
) -> None:
    try:
        asked.send(data)
    except ServingError as error:
        assert error.code in (  # noqa: PT017 - either way is right
            Code.INVALID_ARGUMENT, Code.NOT_FOUND, Code.UNIMPLEMENTED, Code.INTERNAL,
        )  # fmt: skip
    assert asked.shelf.in_flight() == 0


# What a request is remembered by.


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x0a",
        b"\x0a\x01",
        b"\x0a\x01m",
        b"\x0a\x01m\x1a",
        b"\x0a\x01m\x1a\x05a",
        b"\x0a\x01m\x12\x017",
        b"\x0a\x80\x01" + b"m" * 128 + b"\x1a\x01a",
        b"\x0a\x01m\x1a\x80\x01" + b"a" * 128,
        b"\x0a\x01m\x1a\x02\xc3\xa9",
        raw(x=floats(1)),
    ],
)
def test_a_request_without_an_id_of_the_usual_form_is_left_as_it_is(data: bytes) -> None:
    assert without_id(data) == (data, b"")


@given(st.binary(max_size=40))
def test_what_is_taken_for_an_id_is_one(rest: bytes) -> None:
    for head in (b"", b"\x0a\x01m", b"\x0a\x01m\x12\x017"):
        data = head + rest
        message, id = without_id(data)
        if id:
            assert len(message) + len(id) == len(data)
            at = data.index(id, len(message) and 2)
            before = REQUEST.FromString(data[: at + len(id)])
            assert before.id == id[2:].decode()


def test_a_version_that_is_no_number_is_a_label() -> None:
    assert servable_of("m", "") == ServableRequest("m")
    assert servable_of("m", "12") == ServableRequest("m", 12)
    assert servable_of("m", "stable") == ServableRequest("m", None, "stable")
    for version in ("-1", "٣", "9" * 5000):
        assert servable_of("m", version) == ServableRequest("m", None, version)
