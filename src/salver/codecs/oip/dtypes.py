"""The element types of the Open Inference Protocol.

`FP32` is a name in its messages, `TYPE_FP32` one in Triton's model configuration.

Source: the specification's table of tensor data types, and Triton's `model_config.proto`.
"""

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from salver.vocabulary.dtypes import DataType, data_type, dtype_of_array

__all__ = ["DATATYPES", "config_name", "datatype_name", "datatype_of_array", "dtype_of_name"]

DATATYPES: Final[Mapping[str, DataType]] = MappingProxyType(
    {
        "BOOL": DataType.BOOL,
        "UINT8": DataType.UINT8,
        "UINT16": DataType.UINT16,
        "UINT32": DataType.UINT32,
        "UINT64": DataType.UINT64,
        "INT8": DataType.INT8,
        "INT16": DataType.INT16,
        "INT32": DataType.INT32,
        "INT64": DataType.INT64,
        "FP16": DataType.FLOAT16,
        "BF16": DataType.BFLOAT16,
        "FP32": DataType.FLOAT32,
        "FP64": DataType.FLOAT64,
        "BYTES": DataType.STRING,
    }
)
"""Name in the protocol → element type, of all that it knows."""

_NAMES: Final = {dtype: name for name, dtype in DATATYPES.items()}


def dtype_of_name(name: str) -> DataType | None:
    """The element type that a message calls `name`; None where the protocol knows no such."""
    return DATATYPES.get(name)


def datatype_name(dtype: DataType) -> str:
    """What messages call an element type.

    Quantized integers are the integers they are stored in. What the protocol has no name for is
    called by ours in capitals (`COMPLEX64`): it can be told of, but not sent.
    """
    name = _NAMES.get(dtype)
    if name is not None:
        return name
    if dtype.name.startswith("q"):
        return _NAMES[data_type(dtype.name[1:])]
    return dtype.name.upper()


def config_name(dtype: DataType) -> str:
    """What a model configuration calls it: `TYPE_FP32`, `TYPE_STRING` for `BYTES`.

    `TYPE_INVALID` where the protocol has no name.
    """
    name = datatype_name(dtype)
    if name == "BYTES":
        return "TYPE_STRING"
    return f"TYPE_{name}" if name in DATATYPES else "TYPE_INVALID"


@lru_cache(maxsize=64)
def datatype_of_array(dtype: "np.dtype[Any]") -> str:
    """What messages call the elements of an array; see `datatype_name`.

    Raises:
        TypeError: no element type is stored so.
    """
    return datatype_name(dtype_of_array(dtype))
