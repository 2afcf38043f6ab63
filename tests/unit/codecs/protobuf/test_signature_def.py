from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format

from salver._pb import message_class
from salver.codecs.protobuf.signature_def import (
    definition_text,
    definitions_of,
    signature_definitions,
    signatures_of,
    tensor_names_of,
)
from salver.vocabulary.dtypes import DTYPES, DataType
from salver.vocabulary.model import ModelInfo, TensorNames
from salver.vocabulary.signature import Signature, TensorSpec
from salver.vocabulary.tensorflow_types import number_of

TWO = Signature(
    {"a": TensorSpec(DataType.STRING, (-1, 3)), "b": TensorSpec(DataType.FLOAT32, None)},
    {"y": TensorSpec(DataType.BFLOAT16, ())},
    "tensorflow/serving/classify",
    {"b": np.array([1, 2.5], np.float32)},
)


def parsed(definitions: bytes) -> Any:
    return message_class("tensorflow.serving.SignatureDefMap").FromString(definitions).signature_def


def empty_map() -> Any:
    return message_class("tensorflow.serving.SignatureDefMap")()


def test_a_model_that_brings_its_own_keeps_them() -> None:
    assert definitions_of(ModelInfo({"s": TWO}, b"verbatim")) == b"verbatim"


def test_what_is_made_of_signatures_is_read_as_the_same() -> None:
    made = parsed(definitions_of(ModelInfo({"two": TWO, "nothing": Signature({}, {})})))
    found = signatures_of(made)
    assert found == {"nothing": Signature({}, {}), "two": TWO}
    default = found["two"].defaults["b"]
    assert default is not None
    assert (default.dtype, default.tolist()) == (np.float32, [1, 2.5])


def test_without_a_graph_tensors_are_called_as_their_aliases() -> None:
    made = parsed(definitions_of(ModelInfo({"two": TWO})))
    assert tensor_names_of(made) == {"two": TensorNames({"a": "a", "b": "b"}, {"y": "y"})}


def test_names_of_the_graph_are_written_where_they_are_given() -> None:
    names = {"two": TensorNames({"a": "in:0", "b": "in:1"}, {"y": "out:0"})}
    assert tensor_names_of(signature_definitions({"two": TWO}, names)) == names


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=lambda dtype: dtype.name)
def test_every_type_has_its_number(dtype: DataType) -> None:
    signatures = {"s": Signature({"x": TensorSpec(dtype, (2,))}, {})}
    assert signatures_of(signature_definitions(signatures)) == signatures


def test_the_same_model_is_always_written_with_the_same_bytes() -> None:
    other = dict.fromkeys(("c", "a", "b"), TWO)
    same = dict.fromkeys(("b", "c", "a"), TWO)
    assert definitions_of(ModelInfo(other)) == definitions_of(ModelInfo(same))


def test_what_names_no_tensor_is_not_dense() -> None:
    made = empty_map()
    made.signature_def["s"].inputs["x"].coo_sparse.values_tensor_name = "v:0"
    found = signatures_of(made.signature_def)["s"].inputs["x"]
    assert not found.is_dense
    assert tensor_names_of(made.signature_def)["s"].inputs == {"x": ""}


def test_signatures_are_sorted_and_a_default_that_is_no_tensor_is_none() -> None:
    made = empty_map()
    for name in ("b", "a"):
        made.signature_def[name].inputs["x"].dtype = number_of(DataType.INT32)
        made.signature_def[name].defaults["x"].dtype = number_of(DataType.INT32)
    made.signature_def["b"].defaults["x"].tensor_content = b"cut"
    made.signature_def["b"].defaults["y"].tensor_shape.dim.add(size=1 << 40)  # would fill memory
    made.signature_def["b"].defaults["y"].dtype = number_of(DataType.INT32)
    found = signatures_of(made.signature_def)
    assert list(found) == ["a", "b"]
    assert found["a"].defaults["x"] == np.zeros((), np.int32)
    assert found["b"].defaults == {"x": None, "y": None}


def test_the_text_of_a_definition_is_that_of_protobuf() -> None:
    text = definition_text(ModelInfo({"two": TWO}), "two")
    definition = message_class("tensorflow.SignatureDef")()
    text_format.Parse(text, definition)
    assert definition == signature_definitions({"two": TWO})["two"]
