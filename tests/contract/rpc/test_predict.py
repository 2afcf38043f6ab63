"""Predict over gRPC: what REST cannot ask for, and the words that are gRPC's own."""

from typing import Any

import numpy as np
import pytest

from salver._pb import message_class
from salver.errors import Code
from salver.vocabulary.dtypes import DTYPES, DataType
from salver.vocabulary.tensorflow_types import number_of, short_text
from tests.contract.rpc.server import Rpc, refusal
from tests.messages import array_of, spec, strings, tensor

SIGNATURES = "half_plus_two", "half_plus_two_tf2"


def floats(*values: float) -> Any:
    return tensor(np.array(values, np.float32))


async def outputs(rpc: Rpc, model_spec: Any, *output_filter: str, **inputs: Any) -> dict[str, Any]:
    response = await rpc.predict(model_spec=model_spec, inputs=inputs, output_filter=output_filter)
    return {alias: array_of(proto).tolist() for alias, proto in response.outputs.items()}


async def test_values_are_written_whole_in_the_field_of_their_type(rpc: Rpc) -> None:
    response = await rpc.predict(model_spec=spec("half_plus_two"), inputs={"x": floats(2, 2, 2, 2)})
    y = response.outputs["y"]
    assert (y.dtype, list(y.float_val), y.tensor_content) == (1, [3.0] * 4, b"")
    assert [dim.size for dim in y.tensor_shape.dim] == [4]
    assert response.model_spec == spec("half_plus_two", "serving_default", version=123)


async def test_one_value_fills_a_shape(rpc: Rpc) -> None:
    x = message_class("tensorflow.TensorProto")(dtype=number_of(DataType.FLOAT32), float_val=[2.0])
    x.tensor_shape.dim.add(size=3)
    assert await outputs(rpc, spec("half_plus_two"), x=x) == {"y": [3.0, 3.0, 3.0]}


PLAIN = [
    dtype
    for dtype in DTYPES.values()
    if dtype.storage is not None
    and not short_text(dtype).startswith("q")
    and "4" not in short_text(dtype)[-1:]
    and not short_text(dtype).startswith(("int4", "uint4", "int2", "uint2", "float4", "float8"))
]


@pytest.mark.parametrize("dtype", PLAIN, ids=lambda dtype: short_text(dtype))
async def test_elements_of_every_type_come_back_as_they_went(rpc: Rpc, dtype: DataType) -> None:
    if dtype is DataType.STRING:
        array = strings(b"", b"\xff\x00", b"text")
    else:
        array = np.array([0, 1, 100], np.int64).astype(array_of(_empty(dtype)).dtype)
    response = await rpc.predict(
        model_spec=spec("every_dtype", short_text(dtype)), inputs={"x": tensor(array, dtype)}
    )
    assert response.outputs["y"].dtype == number_of(dtype)
    np.testing.assert_array_equal(array_of(response.outputs["y"]), array)


def _empty(dtype: DataType) -> Any:
    empty = message_class("tensorflow.TensorProto")(dtype=number_of(dtype))
    empty.tensor_shape.dim.add(size=0)
    return empty


async def test_only_what_the_filter_names_is_run(rpc: Rpc) -> None:
    inputs = {
        "a": tensor(np.ones((1, 2), np.float32)),
        "b": tensor(np.array([3], np.int32)),
        "text": tensor(strings(b"t")),
    }
    assert await outputs(rpc, spec("several"), "upper", **inputs) == {"upper": [b"T"]}
    found = await outputs(rpc, spec("several"), "upper", "next", **inputs)
    assert found == {"next": [4], "upper": [b"T"]}
    found = await outputs(rpc, spec("several"), "upper", "product", "next", **inputs)
    assert found.keys() == {"next", "product", "upper"}


async def test_an_input_that_is_left_out_takes_its_default(rpc: Rpc) -> None:
    assert await outputs(rpc, spec("several", "optional"), x=floats(1, 2)) == {"y": [3.0, 6.0]}
    scale = tensor(np.float32(2))
    found = await outputs(rpc, spec("several", "optional"), x=floats(1, 2), scale=scale)
    assert found == {"y": [2.0, 4.0]}
    assert await outputs(rpc, spec("half_plus_two_tf2")) == {"y": [2.0]}


async def test_signatures_without_inputs_keep_their_state(rpc: Rpc) -> None:
    counter = "counter"
    assert await outputs(rpc, spec(counter, "reset_counter")) == {"output": 0.0}
    assert await outputs(rpc, spec(counter, "incr_counter")) == {"output": 1.0}
    found = await outputs(rpc, spec(counter, "incr_counter_by"), delta=tensor(np.float32(3)))
    assert found == {"output": 4.0}
    assert await outputs(rpc, spec(counter, "get_counter")) == {"output": 4.0}


@pytest.mark.parametrize("name", ["regress_x_to_y", "classify_x_to_y"])
async def test_a_signature_of_another_method_can_be_predicted(rpc: Rpc, name: str) -> None:
    examples = tensor(strings(b"\n\x0f\n\r\n\x01x\x12\x08\x12\x06\n\x04\x00\x00\x00@"))
    [values] = (await outputs(rpc, spec("half_plus_two", name), inputs=examples)).values()
    assert values == [[3.0]]


BAD_TENSORS = {
    "no dtype": {},
    "unknown dtype": {"dtype": 99},
    "negative size": {"dtype": 1, "tensor_shape": {"dim": [{"size": -1}]}},
    "short content": {
        "dtype": 1,
        "tensor_shape": {"dim": [{"size": 2}]},
        "tensor_content": b"\0" * 7,
    },
}


@pytest.mark.parametrize("bad", BAD_TENSORS.values(), ids=BAD_TENSORS)
async def test_a_tensor_that_is_none(rpc: Rpc, bad: Any) -> None:
    error = await refusal(rpc.predict(model_spec=spec("half_plus_two"), inputs={"x": bad}))
    assert (error.code, error.message) == (Code.INVALID_ARGUMENT, "tensor parsing error: x")


@pytest.mark.parametrize("model", SIGNATURES)
async def test_a_tensor_of_another_type_fails_in_the_model(rpc: Rpc, model: str) -> None:
    x = tensor(np.array([1], np.int32))
    error = await refusal(rpc.predict(model_spec=spec(model), inputs={"x": x}))
    assert error.code is Code.INVALID_ARGUMENT
    assert "int32" in error.message
    assert "float" in error.message


@pytest.mark.parametrize(
    ("wanted", "inputs", "output_filter", "code", "message"),
    [
        (
            spec("half_plus_two", "nope"),
            {"z": floats(1)},
            ["nope"],
            Code.FAILED_PRECONDITION,
            'Serving signature key "nope" not found.',
        ),
        (
            spec("several"),
            {"a": floats(1), "zz": floats(1)},
            ["nope"],
            Code.INVALID_ARGUMENT,
            "input size does not match signature: 2!=3 len({a,zz}) != len({a,b,text}). "
            "Sent extra: {zz}. Missing but required: {b,text}.",
        ),
        (
            spec("several", "optional"),
            {"scale": floats(1)},
            ["nope"],
            Code.INVALID_ARGUMENT,
            "Signature input alias: x(feed name: optional_x:0) not found in request and no default "
            "value provided. Inputs expected to be in the request {scale}, or default input alias "
            "set: scale",
        ),
        (
            spec("several", "optional"),
            {"x": floats(1), "zz": floats(1)},
            ["nope"],
            Code.INVALID_ARGUMENT,
            "Inputs contains invalid name. Used request inputs: x, request input: x,zz",
        ),
        (
            spec("half_plus_two"),
            {"x": floats(1)},
            ["nope"],
            Code.INVALID_ARGUMENT,
            "output tensor alias not found in signature: nope Outputs expected to be in the set "
            "{y}.",
        ),
        (
            spec("half_plus_two"),
            {"x": floats(1)},
            ["y", "y"],
            Code.INVALID_ARGUMENT,
            "duplicate output tensor alias: y",
        ),
    ],
)
async def test_what_is_wrong_is_told_in_the_words_of_the_reference(
    rpc: Rpc, wanted: Any, inputs: Any, output_filter: list[str], code: Code, message: str
) -> None:
    error = await refusal(
        rpc.predict(model_spec=wanted, inputs=inputs, output_filter=output_filter)
    )
    assert (error.code, error.message) == (code, message)
