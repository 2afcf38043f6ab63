from typing import Any

import numpy as np
import pytest
from tests.shelf import FLOATS, STRINGS, FunctionModel, Specs, signature

from salver._pb import message_class
from salver.codecs.protobuf.example_messages import (
    decode_classification_request,
    decode_regression_request,
)
from salver.codecs.protobuf.model_spec import ModelSpec
from salver.codecs.protobuf.predict_message import decode_predict_request
from salver.codecs.protobuf.prediction_log import LogKind, decode_prediction_log
from salver.codecs.protobuf.tensor_proto import decode_tensor
from salver.errors import FailedPrecondition, InvalidArgument
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.model import ModelInfo
from salver.vocabulary.signature import (
    CLASSIFY_METHOD_NAME,
    PREDICT_METHOD_NAME,
    REGRESS_METHOD_NAME,
    Signature,
    TensorSpec,
)
from salver.warmup.making import Made, Method, Target, default_records, record_of_body

OUTPUTS: Specs = {"y": FLOATS}


def target_of(**signatures: Signature) -> Target:
    model = FunctionModel({name: (of, list) for name, of in signatures.items()})
    return Target("m", ModelInfo(model.signatures, model.definitions))


X = target_of(serving_default=signature({"x": FLOATS}, OUTPUTS))


def predicted(made: Made) -> tuple[ModelSpec | None, dict[str, Any]]:
    """Which servable, and the inputs, of a record of predict."""
    assert made.record is not None
    logged = decode_prediction_log(made.record)
    assert logged is not None
    assert (logged.kind, logged.response, logged.metadata) == (LogKind.PREDICT, None, b"")
    message = decode_predict_request(logged.request)
    return message.spec, {name: decode_tensor(of) for name, of in message.inputs.items()}


def asked(made: Made) -> tuple[LogKind, ModelSpec | None, list[bytes]]:
    assert made.record is not None
    logged = decode_prediction_log(made.record)
    assert logged is not None
    decode = decode_classification_request
    if logged.kind is LogKind.REGRESS:
        decode = decode_regression_request
    request = decode(logged.request)
    return logged.kind, request.spec, request.examples


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances": [1.0, 2.0, 5.0]}',
        b'{"signature_name": "serving_default", "inputs": {"x": [1.0, 2.0, 5.0]}}',
        b'{"inputs": [1, 2, 5]}',
    ],
)
def test_a_predict_body_becomes_a_record(body: bytes) -> None:
    made = record_of_body(body, X)
    spec, inputs = predicted(made)
    assert spec == ModelSpec("m", None, None, "serving_default")
    assert inputs["x"].dtype == np.float32
    assert inputs["x"].tolist() == [1, 2, 5]
    assert made.doubt == ""


def test_a_signature_that_is_named_wins_over_the_body() -> None:
    target = target_of(
        one=signature({"x": FLOATS}, OUTPUTS), two=signature({"x": STRINGS}, OUTPUTS)
    )
    body = b'{"signature_name": "one", "instances": ["a"]}'
    spec, inputs = predicted(record_of_body(body, target, signature_name="two"))
    assert spec == ModelSpec("m", None, None, "two")
    assert inputs["x"].tolist() == [b"a"]


def test_a_signature_that_is_not_there_is_named() -> None:
    with pytest.raises(FailedPrecondition, match='Serving signature key "none" not found'):
        record_of_body(b'{"instances": [1]}', X, signature_name="none")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"{", "JSON Parse error"),
        (b'{"instances": ["a"]}', "is not of expected type: float"),
        (b'{"rows": [1]}', "Missing 'inputs' or 'instances' key"),
    ],
)
def test_what_rest_would_refuse_is_refused(body: bytes, text: str) -> None:
    with pytest.raises(InvalidArgument, match=text):
        record_of_body(body, X)


@pytest.mark.parametrize(
    ("shape", "declared", "doubt"),
    [
        ("[[1, 2]]", (-1, 2), ""),
        ("[[1, 2]]", None, ""),
        ("[[1, 2]]", (-1, 3), "[-1, 3]"),
        ("[1, 2]", (-1, 2), "[-1, 2]"),
        ("[1, 2]", (), "[]"),
    ],
)
def test_a_shape_that_does_not_fit_is_doubted_and_taken(
    shape: str, declared: tuple[int, ...] | None, doubt: str
) -> None:
    target = target_of(
        serving_default=signature({"x": (DataType.FLOAT32, declared)}, OUTPUTS),
    )
    made = record_of_body(b'{"instances": %s}' % shape.encode(), target)
    assert made.record is not None
    if not doubt:
        assert made.doubt == ""
    else:
        assert made.doubt.startswith("input x has shape [")
        assert made.doubt.endswith(f"but signature serving_default says {doubt}")


CLASSIFY = signature({"inputs": STRINGS}, {"scores": FLOATS}, CLASSIFY_METHOD_NAME)
REGRESS = signature({"inputs": STRINGS}, {"outputs": FLOATS}, REGRESS_METHOD_NAME)
LIKE_CLASSIFY = signature({"inputs": STRINGS}, {"scores": FLOATS})
LIKE_REGRESS = signature({"inputs": STRINGS}, {"outputs": FLOATS})
EXAMPLES = b'{"examples": [{"x": 2.0}, {"x": 3.0}]}'


@pytest.mark.parametrize(
    ("of", "method", "kind"),
    [
        (CLASSIFY, "auto", LogKind.CLASSIFY),
        (REGRESS, "auto", LogKind.REGRESS),
        (LIKE_CLASSIFY, "auto", LogKind.CLASSIFY),
        (LIKE_REGRESS, "auto", LogKind.REGRESS),
        (LIKE_CLASSIFY, "classify", LogKind.CLASSIFY),
        (LIKE_REGRESS, "regress", LogKind.REGRESS),
    ],
)
def test_a_body_of_examples_becomes_what_its_signature_is_for(
    of: Signature, method: Method, kind: LogKind
) -> None:
    made = record_of_body(EXAMPLES, target_of(serving_default=of), method=method)
    found, spec, examples = asked(made)
    assert (found, spec) == (kind, ModelSpec("m", None, None, "serving_default"))
    example = message_class("tensorflow.Example").FromString(examples[1])
    assert list(example.features.feature["x"].float_list.value) == [3.0]


def test_examples_for_a_signature_without_examples_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="No classification inputs found in SignatureDef"):
        record_of_body(EXAMPLES, X)


def test_the_method_that_is_asked_for_must_fit_the_signature() -> None:
    with pytest.raises(InvalidArgument, match="No regression outputs found in SignatureDef"):
        record_of_body(EXAMPLES, target_of(serving_default=CLASSIFY), method="regress")


def test_a_signature_of_examples_may_be_asked_to_predict() -> None:
    made = record_of_body(
        b'{"instances": ["a"]}', target_of(serving_default=CLASSIFY), method="predict"
    )
    assert predicted(made)[1]["inputs"].tolist() == [b"a"]


def test_a_body_only_the_exact_parser_takes_is_a_predict() -> None:
    deep = b"[" * 3000 + b"]" * 3000
    made = record_of_body(b'{"instances": [1.0], "more": %s}' % deep, X)
    assert predicted(made)[1]["x"].tolist() == [1.0]


# -- of signatures ---------------------------------------------------------------------------------


def made_of(target: Target, **more: Any) -> dict[str, Made]:
    return dict(default_records(target, **more))


def test_each_signature_gets_a_request_of_its_shapes() -> None:
    target = target_of(
        a=signature(
            {
                "image": (DataType.UINT8, (-1, 2, -1, 3)),
                "scalar": (DataType.INT64, ()),
                "any": (DataType.BOOL, None),
                "half": (DataType.BFLOAT16, (0, 2)),
            },
            OUTPUTS,
        ),
        b=signature({}, OUTPUTS),
    )
    made = made_of(target)
    spec, inputs = predicted(made["a"])
    assert spec == ModelSpec("m", None, None, "a")
    assert {name: (array.shape, str(array.dtype)) for name, array in inputs.items()} == {
        "image": ((1, 2, 1, 3), "uint8"),
        "scalar": ((), "int64"),
        "any": ((1,), "bool"),
        "half": ((0, 2), "bfloat16"),
    }
    assert not any(array.any() for array in inputs.values())
    assert predicted(made["b"])[1] == {}
    assert {of.doubt for of in made.values()} == {""}


def test_strings_are_empty_and_doubted() -> None:
    (made,) = made_of(target_of(text=signature({"x": STRINGS, "n": FLOATS}, OUTPUTS))).values()
    assert predicted(made)[1]["x"].tolist() == [b""]
    assert made.doubt == (
        "the request made is of empty strings; a model that does not take it will fail to load"
    )


def test_inputs_with_a_default_are_left_to_it() -> None:
    of = Signature(
        {name: TensorSpec(DataType.FLOAT32, ()) for name in ("a", "b")},
        {},
        defaults={"a": np.ones((), np.float32)},
    )
    (made,) = made_of(Target("m", ModelInfo({"s": of}))).values()
    assert list(predicted(made)[1]) == ["b"]


@pytest.mark.parametrize(("of", "kind"), [(CLASSIFY, LogKind.CLASSIFY), (REGRESS, LogKind.REGRESS)])
def test_what_was_exported_for_examples_is_asked_about_one(of: Signature, kind: LogKind) -> None:
    (made,) = made_of(target_of(s=of)).values()
    assert asked(made) == (kind, ModelSpec("m", None, None, "s"), [b""])
    assert made.doubt == (
        "the request made is of an example without features; a model that does not take it will "
        "fail to load"
    )


def test_what_classifies_numbers_is_asked_to_predict() -> None:
    of = signature({"inputs": FLOATS}, {"scores": FLOATS}, CLASSIFY_METHOD_NAME)
    (made,) = made_of(target_of(s=of)).values()
    assert predicted(made)[1]["inputs"].tolist() == [0.0]


def test_a_method_and_a_signature_can_be_chosen() -> None:
    target = target_of(like=LIKE_REGRESS, other=X.signatures["serving_default"])
    made = made_of(target, signature_name="like", method="regress")
    assert list(made) == ["like"]
    assert asked(made["like"])[0] is LogKind.REGRESS


def test_a_method_leaves_out_the_signatures_that_are_not_for_it() -> None:
    target = target_of(like=LIKE_REGRESS, other=X.signatures["serving_default"])
    made = made_of(target, method="regress")
    assert made["like"].record is not None
    assert made["other"].record is None
    assert made["other"].doubt.startswith("No regression inputs found in SignatureDef")
    with pytest.raises(InvalidArgument, match="No regression inputs found"):
        made_of(target, method="regress", signature_name="other")


def test_a_signature_that_is_chosen_must_be_there() -> None:
    with pytest.raises(FailedPrecondition, match='Serving signature key "none" not found'):
        made_of(X, signature_name="none")


def test_what_cannot_be_fed_is_left_out_and_named() -> None:
    inputs = {
        "r": TensorSpec(DataType.RESOURCE, ()),
        "s": TensorSpec(DataType.FLOAT32, (2,), is_dense=False),
    }
    signatures = {name: Signature({name: of}, {}) for name, of in inputs.items()}
    made = made_of(Target("m", ModelInfo(signatures)))
    assert made == {
        "r": Made(None, "nothing can be fed to input r of type resource"),
        "s": Made(None, "input s is no dense tensor"),
    }


def test_signatures_for_the_loader_are_passed_over() -> None:
    init = Signature({}, {"__saved_model_init_op": TensorSpec(DataType.INVALID, None)})
    target = Target("m", ModelInfo({"__saved_model_init_op": init, **X.signatures}))
    assert list(made_of(target)) == ["serving_default"]


def test_the_default_method_name_is_that_of_predict() -> None:
    assert LIKE_CLASSIFY.method_name == PREDICT_METHOD_NAME
