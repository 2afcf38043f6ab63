"""What a model says of its inputs and outputs: named tensors of one callable function.

Declared dtypes and shapes are what the exporter wrote. They may be wrong (a reference dtype, rank
0 for a batched tensor), so they guide decoding and are never checked against what is fed, as in
TensorFlow Serving.

Source: `SignatureDef` and `TensorInfo` of `tensorflow/core/protobuf/meta_graph.proto`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from salver.dtypes import DataType

__all__ = [
    "CLASSIFY_INPUTS",
    "CLASSIFY_METHOD_NAME",
    "CLASSIFY_OUTPUT_CLASSES",
    "CLASSIFY_OUTPUT_SCORES",
    "DEFAULT_SIGNATURE",
    "PREDICT_METHOD_NAME",
    "REGRESS_INPUTS",
    "REGRESS_METHOD_NAME",
    "REGRESS_OUTPUTS",
    "Signature",
    "TensorSpec",
    "is_internal",
]

DEFAULT_SIGNATURE = "serving_default"
PREDICT_METHOD_NAME = "tensorflow/serving/predict"
CLASSIFY_METHOD_NAME = "tensorflow/serving/classify"
REGRESS_METHOD_NAME = "tensorflow/serving/regress"
CLASSIFY_INPUTS = "inputs"
CLASSIFY_OUTPUT_CLASSES = "classes"
CLASSIFY_OUTPUT_SCORES = "scores"
REGRESS_INPUTS = "inputs"
REGRESS_OUTPUTS = "outputs"
_INTERNAL_PREFIX = "__saved_model"


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output as its signature declares it.

    Attributes:
        tensor_name: where it is fed or fetched in the graph (`x:0`); empty for an encoding that
            names no single dense tensor.
        dtype: never a reference type.
        shape: one number per axis, -1 where unknown; None when the rank is unknown.
    """

    tensor_name: str
    dtype: DataType
    shape: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Signature:
    """One function of a model.

    Attributes:
        inputs: alias → tensor, in alphabetical order.
        outputs: alias → tensor, in alphabetical order.
        method_name: as exported; checked only under `--enable_signature_method_name_check`.
        defaults: alias → value fed when a request leaves the input out, as a serialized
            `tensorflow.TensorProto`.
    """

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    method_name: str = PREDICT_METHOD_NAME
    defaults: Mapping[str, bytes] = field(default_factory=dict)


def is_internal(signature_name: str) -> bool:
    """Whether a signature is for the loader alone, as `__saved_model_init_op` is: no person's."""
    return signature_name.startswith(_INTERNAL_PREFIX)
