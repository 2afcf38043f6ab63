"""Predict, by a plain client: what comes back, and each way it is refused."""

import struct
from typing import Any

import grpc
import numpy as np
import pytest

from salver.vocabulary.dtypes import DTYPES, DataType
from salver.vocabulary.tensorflow_types import number_of, short_text, value_field
from tests.integration.grpc_clients.plain import (
    Client,
    message,
    model_spec,
    predict_request,
    tensor,
    values,
)

ALL_BYTES = bytes(range(256))

# What each dtype is sent as in its value field, and what must come back there.
SENT: dict[DataType, list[Any]] = {
    DataType.FLOAT32: [1.5, -0.0, 3.4028234663852886e38],
    DataType.FLOAT64: [0.1, -1e300, 5e-324],
    DataType.INT32: [0, -1, 2**31 - 1, -(2**31)],
    DataType.UINT8: [0, 255],
    DataType.INT16: [-32768, 32767],
    DataType.INT8: [-128, 127],
    DataType.STRING: [b"", b"text", ALL_BYTES],
    DataType.COMPLEX64: [1.0, 2.0, -3.0, 0.5],
    DataType.INT64: [2**63 - 1, -(2**63), 0],
    DataType.BOOL: [True, False],
    DataType.QINT8: [-128, 127],
    DataType.QUINT8: [0, 255],
    DataType.QINT32: [-(2**31), 2**31 - 1],
    DataType.BFLOAT16: [0x3F80, 0x8000, 0x7FC0, 0xFFFF],
    DataType.QINT16: [-32768, 32767],
    DataType.QUINT16: [0, 65535],
    DataType.UINT16: [0, 65535],
    DataType.COMPLEX128: [1.0, 2.0, -3.0, 0.5],
    DataType.FLOAT16: [0x3C00, 0x8000, 0x7E00, 0x0001, 0xFFFF],
    DataType.UINT32: [0, 2**32 - 1],
    DataType.UINT64: [0, 2**64 - 1],
}
FLOAT8 = [dtype for dtype in DTYPES.values() if short_text(dtype).startswith("float8")]
PARTS_OF = {DataType.COMPLEX64: 2, DataType.COMPLEX128: 2}


def in_field(dtype: DataType, sent: Any, size: int | None = None) -> Any:
    """A vector TensorProto with the given value field."""
    proto = message("tensorflow.TensorProto", dtype=number_of(dtype))
    count = len(sent) // PARTS_OF.get(dtype, 1)
    proto.tensor_shape.dim.add(size=count if size is None else size)
    field = value_field(dtype) or ""
    if field == "float8_val":
        proto.float8_val = sent
    else:
        getattr(proto, field).extend(sent)
    return proto


def echo(client: Client, dtype: DataType, proto: Any) -> Any:
    """The output of the identity of a dtype."""
    spec = model_spec("every_dtype", signature=short_text(dtype))
    return client.call("Predict", predict_request(spec, {"x": proto})).outputs["y"]


class TestTensors:
    @pytest.mark.parametrize("dtype", SENT, ids=lambda dtype: short_text(dtype))
    def test_every_value_field_goes_there_and_back(self, dtype: DataType, client: Client) -> None:
        output = echo(client, dtype, in_field(dtype, SENT[dtype]))
        assert list(getattr(output, value_field(dtype) or "")) == SENT[dtype]
        assert output.dtype == number_of(dtype)
        assert not output.tensor_content

    @pytest.mark.parametrize("dtype", FLOAT8, ids=lambda dtype: short_text(dtype))
    def test_float8_goes_there_and_back_bit_by_bit(self, dtype: DataType, client: Client) -> None:
        assert echo(client, dtype, in_field(dtype, ALL_BYTES)).float8_val == ALL_BYTES

    @pytest.mark.parametrize(
        "dtype",
        [d for d in SENT if d not in (DataType.STRING, DataType.BFLOAT16, DataType.FLOAT16)],
        ids=lambda dtype: short_text(dtype),
    )
    def test_tensor_content_is_understood(self, dtype: DataType, client: Client) -> None:
        proto = in_field(dtype, SENT[dtype])
        nested = values(proto)
        assert values(echo(client, dtype, tensor(nested, dtype))) == nested

    def test_bits_of_half_in_tensor_content_come_back_as_half_val(self, client: Client) -> None:
        proto = in_field(DataType.FLOAT16, [])
        bits = SENT[DataType.FLOAT16]
        proto.tensor_content = struct.pack(f"<{len(bits)}H", *bits)
        proto.tensor_shape.dim[0].size = len(bits)
        assert list(echo(client, DataType.FLOAT16, proto).half_val) == bits

    def test_a_short_field_is_filled_up_with_its_last_value(self, client: Client) -> None:
        output = echo(client, DataType.FLOAT32, in_field(DataType.FLOAT32, [1.0, 2.0], size=5))
        assert values(output) == [1.0, 2.0, 2.0, 2.0, 2.0]
        output = echo(client, DataType.STRING, in_field(DataType.STRING, [b"a"], size=2))
        assert values(output) == [b"a", b"a"]

    def test_an_empty_field_stands_for_zeros(self, client: Client) -> None:
        assert values(echo(client, DataType.INT64, in_field(DataType.INT64, [], size=2))) == [0, 0]

    def test_what_is_too_much_in_a_field_is_dropped(self, client: Client) -> None:
        output = echo(client, DataType.INT32, in_field(DataType.INT32, [1, 2, 3], size=2))
        assert values(output) == [1, 2]

    def test_narrow_integers_wrap(self, client: Client) -> None:
        assert values(echo(client, DataType.UINT8, in_field(DataType.UINT8, [300, -1]))) == [
            44,
            255,
        ]

    def test_a_tensor_without_rows_comes_back_without_rows(self, client: Client) -> None:
        output = echo(client, DataType.FLOAT32, in_field(DataType.FLOAT32, []))
        assert [dim.size for dim in output.tensor_shape.dim] == [0]
        assert values(output) == []

    def test_a_scalar_has_no_dimension(self, client: Client) -> None:
        response = client.call(
            "Predict",
            predict_request(
                model_spec("several", signature="scalar_output"), {"x": tensor([1.0, 2.0])}
            ),
        )
        assert values(response.outputs["total"]) == 3.0

    def test_not_finite_numbers_come_back(self, client: Client) -> None:
        answer = client.predict("several", {"x": [1.0, -1.0, 0.0]}, signature="not_finite")
        assert [str(y) for y in answer["y"]] == ["inf", "-inf", "nan"]


class TestModels:
    def test_the_newest_version_answers_and_says_so(self, client: Client) -> None:
        request = predict_request(model_spec("versions"), {"x": [2.0]})
        response = client.call("Predict", request)
        assert response.model_spec == model_spec("versions", 124, signature="serving_default")

    @pytest.mark.parametrize(
        ("which", "version"),
        [({"version": 123}, 123), ({"label": "stable"}, 123), ({"label": "canary"}, 124)],
    )
    def test_a_version_or_label_chooses_and_no_label_comes_back(
        self, which: dict[str, Any], version: int, client: Client
    ) -> None:
        spec = model_spec("versions", signature="serving_default", **which)
        response = client.call("Predict", predict_request(spec, {"x": [2.0]}))
        assert response.model_spec == model_spec("versions", version, signature="serving_default")

    def test_a_signature_is_chosen_by_its_name(self, client: Client) -> None:
        inputs = {"words": ["fox", "the", "dog"]}
        assert client.predict("strings", inputs) == {"ids": [3, 0, 4], "lengths": [3, 3, 3]}
        split = client.predict("strings", {"text": ["ab"]}, signature="split")
        assert split == {"characters": [[b"a", b"b"]]}

    def test_output_filter_leaves_the_others_out(self, client: Client) -> None:
        inputs = {"a": [[1.0, 2.0]], "b": tensor([3], DataType.INT32), "text": ["word"]}
        assert client.predict("several", inputs, outputs=["upper"]) == {"upper": [b"WORD"]}
        both = client.predict("several", inputs, outputs=["upper", "next"])
        assert both == {"upper": [b"WORD"], "next": [4]}
        assert client.predict("several", inputs).keys() == {"upper", "next", "product"}

    def test_an_input_with_a_default_may_be_left_out(self, client: Client) -> None:
        assert client.predict("half_plus_two_tf2", {}) == {"y": [2.0]}
        assert client.predict("several", {"x": [1.0, 2.0]}, signature="optional") == {
            "y": [3.0, 6.0]
        }
        given = {"x": [1.0, 2.0], "scale": 5.0}
        assert client.predict("several", given, signature="optional") == {"y": [5.0, 10.0]}

    def test_a_signature_without_inputs_works(self, client: Client) -> None:
        assert client.predict("several", {}, signature="constant") == {"y": [1.0, 2.0]}

    def test_outputs_that_are_variables_are_read(self, client: Client) -> None:
        client.predict("counter", {}, signature="reset_counter")
        client.predict("counter", {"delta": 5.0}, signature="incr_counter_by")
        assert client.predict("counter", {}, signature="get_counter") == {"output": 5.0}

    def test_a_classify_signature_may_be_predicted(self, client: Client) -> None:
        assert client.predict(
            "half_plus_two", {"inputs": [[2.0]]}, signature="classify_x2_to_y3"
        ) == {"scores": [[4.0]]}

    def test_an_input_sent_twice_counts_as_sent_last(self, client: Client) -> None:
        """A map on the wire is a list of entries; parsers keep the last of a key."""
        first = predict_request(model_spec("half_plus_two"), {"x": [2.0]})
        second = predict_request(None, {"x": [4.0]})
        path = "/tensorflow.serving.PredictionService/Predict"
        answer = client.raw(path, first.SerializeToString() + second.SerializeToString())
        assert values(message("PredictResponse").FromString(answer).outputs["y"]) == [4.0]

    def test_fields_a_server_does_not_know_are_passed_over(self, client: Client) -> None:
        request = predict_request(model_spec("half_plus_two"), {"x": [2.0]})
        request.client_id = b"me"
        request.predict_streamed_options.return_single_response = True
        unknown = b"\xa2\x06\x03abc" + b"\xa8\x06\x01"  # fields 100 and 101
        path = "/tensorflow.serving.PredictionService/Predict"
        answer = client.raw(path, request.SerializeToString() + unknown)
        assert values(message("PredictResponse").FromString(answer).outputs["y"]) == [3.0]


X = {"x": [2.0]}
MIXED = {"a": [[1.0, 2.0]], "b": tensor([3], DataType.INT32), "text": ["word"]}
REFUSALS: dict[str, tuple[Any, str, str]] = {
    "no model_spec": (predict_request(None, X), "INVALID_ARGUMENT", "Missing ModelSpec"),
    "no name": (
        predict_request(model_spec(""), X),
        "INVALID_ARGUMENT",
        "ModelSpec has no name specified.",
    ),
    "unknown model": (
        predict_request(model_spec("no"), X),
        "NOT_FOUND",
        "Servable not found for request: Latest(no)",
    ),
    "unknown version": (
        predict_request(model_spec("versions", 7), X),
        "NOT_FOUND",
        "Servable not found for request: Specific(versions, 7)",
    ),
    "version 0 is a version": (
        predict_request(model_spec("versions", 0), X),
        "NOT_FOUND",
        "Servable not found for request: Specific(versions, 0)",
    ),
    "negative version": (
        predict_request(model_spec("versions", -1), X),
        "NOT_FOUND",
        "Servable not found for request: Specific(versions, -1)",
    ),
    "unknown label": (
        predict_request(model_spec("versions", label="latest"), X),
        "INVALID_ARGUMENT",
        "Unrecognized servable version label: latest",
    ),
    "label of a model without labels": (
        predict_request(model_spec("half_plus_two", label="stable"), X),
        "INVALID_ARGUMENT",
        "Unrecognized servable version label: stable",
    ),
    "label of a version that is not there": (
        predict_request(model_spec("versions", label="gone"), X),
        "NOT_FOUND",
        "Servable not found for request: Specific(versions, 99)",
    ),
    "unknown signature": (
        predict_request(model_spec("half_plus_two", signature="other"), X),
        "FAILED_PRECONDITION",
        'Serving signature key "other" not found.',
    ),
    "too many inputs": (
        predict_request(model_spec("half_plus_two"), {"x": [2.0], "b": [1.0], "a": [1.0]}),
        "INVALID_ARGUMENT",
        "input size does not match signature: 3!=1 len({a,b,x}) != len({x})."
        " Sent extra: {a,b}. Missing but required: {}.",
    ),
    "too few inputs": (
        predict_request(model_spec("several"), {"b": MIXED["b"]}),
        "INVALID_ARGUMENT",
        "input size does not match signature: 1!=3 len({b}) != len({a,b,text})."
        " Sent extra: {}. Missing but required: {a,text}.",
    ),
    "no inputs": (
        predict_request(model_spec("half_plus_two"), {}),
        "INVALID_ARGUMENT",
        "input size does not match signature: 0!=1 len({}) != len({x})."
        " Sent extra: {}. Missing but required: {x}.",
    ),
    "wrong name": (
        predict_request(model_spec("half_plus_two"), {"y": [2.0]}),
        "INVALID_ARGUMENT",
        "Signature input alias: x(feed name: x:0) not found in request and no default value"
        " provided. Inputs expected to be in the request {y}, or default input alias set: ",
    ),
    "undecodable tensor": (
        predict_request(model_spec("half_plus_two"), {"x": message("tensorflow.TensorProto")}),
        "INVALID_ARGUMENT",
        "tensor parsing error: x",
    ),
    "unknown output": (
        predict_request(model_spec("several"), MIXED, outputs=["upper", "lower"]),
        "INVALID_ARGUMENT",
        "output tensor alias not found in signature: lower"
        " Outputs expected to be in the set {next,product,upper}.",
    ),
    "output twice": (
        predict_request(model_spec("several"), MIXED, outputs=["upper", "upper"]),
        "INVALID_ARGUMENT",
        "duplicate output tensor alias: upper",
    ),
}


class TestRefusals:
    @pytest.mark.parametrize("why", REFUSALS)
    def test_what_is_refused_has_the_reference_s_code_and_text(
        self, why: str, client: Client
    ) -> None:
        request, code, text = REFUSALS[why]
        assert client.refusal("Predict", request) == (code, text)

    @pytest.mark.parametrize(
        "spoil",
        [
            {"dtype": 0},
            {"dtype": 20},
            {"dtype": 77},
            {"tensor_content": b"\0\0\0"},
            {"tensor_content": b"\0" * 8},
        ],
        ids=str,
    )
    def test_a_tensor_that_cannot_be_read_is_refused(
        self, spoil: dict[str, Any], client: Client
    ) -> None:
        proto = tensor([2.0])
        for field, value in spoil.items():
            setattr(proto, field, value)
        assert client.refusal(
            "Predict", predict_request(model_spec("half_plus_two"), {"x": proto})
        ) == ("INVALID_ARGUMENT", "tensor parsing error: x")

    @pytest.mark.parametrize("sizes", [[-1], [-5], [2**40, 2**40], [2**62, 2, 2]])
    def test_a_shape_that_cannot_be_is_refused(self, sizes: list[int], client: Client) -> None:
        proto = message(
            "tensorflow.TensorProto", dtype=number_of(DataType.FLOAT32), float_val=[1.0]
        )
        for size in sizes:
            proto.tensor_shape.dim.add(size=size)
        code, text = client.refusal(
            "Predict", predict_request(model_spec("half_plus_two"), {"x": proto})
        )
        assert (code, text) == ("INVALID_ARGUMENT", "tensor parsing error: x")

    def test_a_wrong_dtype_is_refused_by_the_model(self, client: Client) -> None:
        wrong = {"x": tensor([2], DataType.INT32)}
        code, text = client.refusal("Predict", predict_request(model_spec("half_plus_two"), wrong))
        assert code in ("INVALID_ARGUMENT", "INTERNAL")
        assert "int32" in text
        assert "float" in text

    def test_a_wrong_shape_is_refused_by_the_model(self, client: Client) -> None:
        wrong = MIXED | {"a": np.ones((4, 2)), "b": tensor([1, 2, 3], DataType.INT32)}
        code, text = client.refusal("Predict", predict_request(model_spec("several"), wrong))
        assert code == "INVALID_ARGUMENT"
        assert "Incompatible shapes: [" in text

    def test_a_run_that_fails_tells_why(self, client: Client) -> None:
        code, text = client.refusal(
            "Predict", predict_request(model_spec("failing"), {"x": [-1.0]})
        )
        assert code == "INVALID_ARGUMENT"
        assert "x must not be negative:" in text
        spec = model_spec("failing", signature="read_file")
        code, text = client.refusal("Predict", predict_request(spec, {"path": ["/no/such/file"]}))
        assert code == "NOT_FOUND"
        assert "/no/such/file" in text

    def test_a_long_text_is_cut_after_1024_bytes(self, client: Client) -> None:
        name = "n" * 2000
        code, text = client.refusal("Predict", predict_request(model_spec(name), X))
        whole = f"Servable not found for request: Latest({name})"
        assert (code, text) == ("NOT_FOUND", whole[:1024] + "...TRUNCATED")

    def test_a_cut_text_is_still_text(self, client: Client) -> None:
        """The cut may fall inside a character."""
        for shift in range(2):
            name = "a" * shift + "é" * 1000
            code, text = client.refusal("Predict", predict_request(model_spec(name), X))
            assert code == "NOT_FOUND"
            assert text.endswith("...TRUNCATED")

    def test_a_text_of_any_characters_arrives(self, client: Client) -> None:
        name = "50% of\n\tünï\u2603cødé \x7f"
        refused = client.refusal("Predict", predict_request(model_spec(name), X))
        assert refused == ("NOT_FOUND", f"Servable not found for request: Latest({name})")

    @pytest.mark.parametrize(
        "path",
        [
            "/tensorflow.serving.PredictionService/PredictStreamed",
            "/tensorflow.serving.PredictionService/predict",
            "/tensorflow.serving.Nothing/Predict",
            "/nothing",
        ],
    )
    def test_a_method_that_is_not_served_is_unimplemented(self, path: str, client: Client) -> None:
        with pytest.raises(grpc.RpcError) as raised:
            client.raw(path, b"")
        assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
