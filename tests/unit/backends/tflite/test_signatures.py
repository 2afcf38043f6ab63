import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from salver._pb import message_class
from salver.backends.tflite.model_file import ModelFile, Subgraph, TableSignature, Tensor, read
from salver.backends.tflite.signatures import Signatures, read_signatures
from salver.errors import Code, Internal, ServingError
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.model import TensorNames
from salver.vocabulary.signature import PREDICT_METHOD_NAME, TensorSpec

VersionPath = Callable[[str], Path]


@pytest.fixture
def signatures_of(version_path: VersionPath) -> Callable[[str], Signatures]:
    return lambda name: read_signatures(read(version_path(name) / "model.tflite"))


SignaturesOf = Callable[[str], Signatures]


def _tensor(name: str, index: int = 0) -> Tensor:
    return Tensor(name, index, DataType.FLOAT32, (-1,))


def _file(
    inputs: tuple[Tensor, ...] = (_tensor("x", 0),),
    outputs: tuple[Tensor, ...] = (_tensor("y", 1),),
    **more: Any,
) -> ModelFile:
    return ModelFile(data=b"", subgraphs=(Subgraph(inputs, outputs),), **more)


def _definition(feed: str, fetch: str) -> bytes:
    definition = message_class("tensorflow.SignatureDef")()
    definition.inputs["in"].name = feed
    definition.outputs["out"].name = fetch
    return bytes(definition.SerializeToString())


def test_signatures_of_the_metadata_keep_what_they_say(signatures_of: SignaturesOf) -> None:
    found = signatures_of("lite_metadata").signatures
    assert list(found) == ["doubtful", "serving_default"]
    assert found["doubtful"].method_name == "some/method"
    assert found["serving_default"].inputs == {"x": TensorSpec(DataType.FLOAT32, (-1,))}


def test_the_map_of_signatures_names_the_tensors_as_the_file_does(
    signatures_of: SignaturesOf,
) -> None:
    verbatim = message_class("tensorflow.serving.SignatureDefMap").FromString(
        signatures_of("lite_metadata").definitions
    )
    definition = verbatim.signature_def["serving_default"]
    assert (definition.inputs["x"].name, definition.outputs["y"].name) == ("x_in", "y_out")
    assert definition.method_name == PREDICT_METHOD_NAME


def test_signatures_of_the_table_have_the_aliases_of_the_exporter(
    signatures_of: SignaturesOf,
) -> None:
    found = signatures_of("lite").signatures
    assert sorted(found) == ["classify", "mixed", "regress", "serving_default", "strings"]
    assert {alias: (s.dtype, s.shape) for alias, s in found["mixed"].inputs.items()} == {
        "a": (DataType.FLOAT32, (-1, 2)),
        "b": (DataType.INT32, (-1,)),
    }
    assert list(found["mixed"].outputs) == ["next", "product"]
    assert found["mixed"].method_name == PREDICT_METHOD_NAME


def test_the_metadata_counts_where_there_are_both() -> None:
    table = (TableSignature("table", 0, {"a": 0}, {"b": 1}),)
    file = _file(signature_defs={"metadata": _definition("x", "y")}, table_signatures=table)
    assert list(read_signatures(file).signatures) == ["metadata"]


def test_without_signatures_one_is_made_and_a_warning_said(
    signatures_of: SignaturesOf, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        found = signatures_of("lite_plain").signatures
    assert caplog.messages == ["No signature def found in TFLite model. Generating one."]
    assert list(found) == ["serving_default"]
    made = found["serving_default"]
    assert made.inputs == {"x_in": TensorSpec(DataType.FLOAT32, (-1,))}
    assert made.outputs == {"y_out": TensorSpec(DataType.FLOAT32, (-1,))}
    assert made.method_name == PREDICT_METHOD_NAME


def test_aliases_that_are_made_end_before_a_colon() -> None:
    made = read_signatures(_file((_tensor("x:0"),), (_tensor("y:1", 1),)))
    assert made.names["serving_default"] == TensorNames({"x": "x:0"}, {"y": "y:1"})


def test_a_signature_is_made_of_the_first_function_alone() -> None:
    graph = Subgraph((_tensor("other"),), (_tensor("more", 1),))
    file = _file()
    made = read_signatures(replace(file, subgraphs=(*file.subgraphs, graph)))
    assert list(made.signatures["serving_default"].inputs) == ["x"]
    assert made.input("other").subgraph == 1


def test_a_scalar_is_told_from_a_tensor_of_unknown_rank() -> None:
    made = read_signatures(_file((Tensor("x", 0, DataType.INT32, ()),)))
    assert made.signatures["serving_default"].inputs["x"].shape == ()


def test_names_that_two_functions_have_are_told_apart() -> None:
    graph = Subgraph((_tensor("x"),), (_tensor("y", 1),))
    table = (
        TableSignature("a", 0, {"x": 0}, {"y": 1}),
        TableSignature("b", 1, {"x": 0}, {"y": 1}),
    )
    found = read_signatures(ModelFile(data=b"", subgraphs=(graph, graph), table_signatures=table))
    assert found.names["a"].inputs["x"] == "x"
    assert found.names["b"].inputs["x"] == "x@1"
    assert (found.input("x").subgraph, found.output("y@1").subgraph) == (0, 1)


def test_one_tensor_may_be_an_output_twice() -> None:
    found = read_signatures(_file(outputs=(_tensor("y", 1), _tensor("y", 1))))
    assert list(found.outputs) == ["y"]


@pytest.mark.parametrize(
    ("file", "code", "text"),
    [
        (
            _file(inputs=(_tensor("x", 0), _tensor("x", 2))),
            Code.ALREADY_EXISTS,
            "Input tensor name: x has multiple indices",
        ),
        (
            _file(outputs=(_tensor("y", 1), _tensor("y", 2))),
            Code.ALREADY_EXISTS,
            "Output tensor name: y has multiple indices",
        ),
        (
            _file(signature_defs={"s": _definition("z:0", "y")}),
            Code.INTERNAL,
            "Unknown tensor 'z:0'.\n\tSignature input in references an unknown tensor",
        ),
        (
            _file(signature_defs={"s": _definition("x:0", "z")}),
            Code.INTERNAL,
            "Unknown tensor 'z'.\n\tSignature output out references an unknown tensor",
        ),
        (
            _file(signature_defs={"s": b"\xff"}),
            Code.INVALID_ARGUMENT,
            "Invalid SignatureDefs found in TfLite model: Cannot parse signature def",
        ),
        (
            _file(table_signatures=(TableSignature("s", 0, {"a": 5}, {}),)),
            Code.INTERNAL,
            "Unknown tensor '5'.\n\tSignature input a references an unknown tensor",
        ),
    ],
)
def test_what_cannot_be_served_is_refused_in_the_references_words(
    file: ModelFile, code: Code, text: str
) -> None:
    with pytest.raises(ServingError) as raised:
        read_signatures(file)
    assert (raised.value.code, raised.value.message) == (code, text)


def test_a_tensor_is_found_with_and_without_a_colon() -> None:
    found = read_signatures(_file())
    assert found.input("x:0") is found.input("x")
    assert found.output("y:0") is found.output("y")


def test_a_tensor_there_is_not_is_named() -> None:
    found = read_signatures(_file())
    with pytest.raises(Internal) as fed:
        found.input("z")
    assert fed.value.message == "Unknown tensor 'z'.\n\tMissing input TFLite tensor: z"
    with pytest.raises(Internal) as fetched:
        found.output("z")
    assert fetched.value.message == "Missing output TFLite tensor: z: Unknown tensor 'z'."
