"""What a `config.pbtxt` says of inputs and outputs, as a signature."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from salver.errors import FailedPrecondition
from salver.vocabulary.dtypes import DataType, numpy_dtype
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import DEFAULT_SIGNATURE, Signature, TensorSpec

__all__ = ["signature_of"]

_TYPES: Final[Mapping[str, DataType]] = {
    "TYPE_BOOL": DataType.BOOL,
    "TYPE_UINT8": DataType.UINT8,
    "TYPE_UINT16": DataType.UINT16,
    "TYPE_UINT32": DataType.UINT32,
    "TYPE_UINT64": DataType.UINT64,
    "TYPE_INT8": DataType.INT8,
    "TYPE_INT16": DataType.INT16,
    "TYPE_INT32": DataType.INT32,
    "TYPE_INT64": DataType.INT64,
    "TYPE_FP16": DataType.FLOAT16,
    "TYPE_FP32": DataType.FLOAT32,
    "TYPE_FP64": DataType.FLOAT64,
    "TYPE_STRING": DataType.STRING,
    "TYPE_BF16": DataType.BFLOAT16,
}


def signature_of(config: Mapping[str, Any]) -> dict[str, Signature]:
    """The one signature of a model for Triton.

    An optional input has an empty array as its default, which the model is never shown.

    Raises:
        FailedPrecondition: inputs or outputs are missing or wrong.
    """
    has_rows = config["max_batch_size"] > 0
    inputs = _specs("input", config["input"], has_rows=has_rows)
    outputs = _specs("output", config["output"], has_rows=has_rows)
    defaults: dict[str, Array | None] = {
        each["name"]: _absent(inputs[each["name"]])
        for each in config["input"]
        if each.get("optional")
    }
    return {
        DEFAULT_SIGNATURE: Signature(
            inputs, outputs, defaults=defaults, optional=frozenset(defaults)
        )
    }


def _absent(spec: TensorSpec) -> Array:
    """An array without elements, of the rank of an input."""
    return np.empty((0,) * max(1, len(spec.shape or ())), numpy_dtype(spec.dtype))


def _specs(
    kind: str, tensors: Sequence[Mapping[str, Any]], *, has_rows: bool
) -> dict[str, TensorSpec]:
    if not tensors and kind == "output":
        raise _wrong(f"config.pbtxt names no {kind}, and auto_complete_config adds none")
    specs = {}
    for each in sorted(tensors, key=lambda tensor: str(tensor["name"])):
        dtype = _TYPES.get(each["data_type"])
        if not each["name"] or each["name"] in specs:
            raise _wrong(f"config.pbtxt has an {kind} without a name, or of a name twice")
        if dtype is None:
            raise _wrong(f"{kind} {each['name']} has the data_type {each['data_type']}")
        dims = tuple(int(size) for size in each["dims"])
        specs[each["name"]] = TensorSpec(dtype, (-1, *dims) if has_rows else dims)
    return specs


def _wrong(message: str) -> FailedPrecondition:
    error = FailedPrecondition(message)
    error.is_final = True
    return error
