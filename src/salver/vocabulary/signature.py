"""What a model says of its inputs and outputs: named tensors of one callable function.

Declared dtypes and shapes are what the exporter wrote. They may be wrong (a reference dtype, rank
0 for a batched tensor), so they guide decoding and are never checked against what is fed, as in
TensorFlow Serving.

`codecs.signature_def` makes them of TensorFlow's messages, and these of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from salver.vocabulary.dtypes import DataType
from salver.vocabulary.requests import Array

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
        dtype: of its elements.
        shape: one number per axis, -1 where unknown; None when the rank is unknown.
        is_dense: whether it is one array. A sparse tensor is several: nothing can be made up for
            it.
    """

    dtype: DataType
    shape: tuple[int, ...] | None
    is_dense: bool = True


@dataclass(frozen=True, slots=True)
class Signature:
    """One function of a model.

    Attributes:
        inputs: alias → tensor, in alphabetical order.
        outputs: alias → tensor, in alphabetical order.
        method_name: as exported; checked only under `--enable_signature_method_name_check`.
        defaults: alias → value fed when a request leaves the input out; None for one that the
            model has and that cannot be read. Not compared.
        optional: those of them that every API may leave out; others JSON must name, as in the
            reference. Not compared.
        row_defaults: those whose value is that of one row, and is repeated for each row of a
            request. Not compared.
        streams: whether a run is known to answer more than once. Not compared.
    """

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    method_name: str = PREDICT_METHOD_NAME
    defaults: Mapping[str, Array | None] = field(default_factory=dict, compare=False)
    optional: frozenset[str] = field(default=frozenset(), compare=False)
    row_defaults: frozenset[str] = field(default=frozenset(), compare=False)
    streams: bool = field(default=False, compare=False)

    def filled(self, given: Mapping[str, Array]) -> list[Array]:
        """One array per input, in order: what is given, and else its default, which is there."""
        rows = next((len(array) for array in given.values() if array.ndim), 1)
        arrays: list[Array] = []
        for alias in self.inputs:
            array = given.get(alias)
            if array is None:
                array = self.defaults[alias]
                assert array is not None
                if alias in self.row_defaults:
                    array = np.repeat(array, rows, axis=0)
            arrays.append(array)
        return arrays


def is_internal(signature_name: str) -> bool:
    """Whether a signature is for the loader alone, as `__saved_model_init_op` is: no person's."""
    return signature_name.startswith(_INTERNAL_PREFIX)
