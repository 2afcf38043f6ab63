"""Messages as clients write and read them, by protobuf's own classes alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from salver._pb import POOL, message_class
from salver.vocabulary.dtypes import DTYPES, DataType
from salver.vocabulary.requests import Array
from salver.vocabulary.tensorflow_types import base_dtype, number_of, short_text, value_field

__all__ = ["array_of", "example", "method_types", "spec", "strings", "tensor"]


def method_types(path: str) -> tuple[Any, Any]:
    """The classes of a method's request and response; the path is as gRPC calls it."""
    _, service, name = path.split("/")
    method = POOL.FindServiceByName(service).methods_by_name[name]
    return message_class(method.input_type.full_name), message_class(method.output_type.full_name)


def spec(
    name: str, signature: str = "", *, version: int | None = None, label: str | None = None
) -> Any:
    """A ModelSpec."""
    made = message_class("tensorflow.serving.ModelSpec")(name=name, signature_name=signature)
    if version is not None:
        made.version.value = version
    if label is not None:
        made.version_label = label
    return made


def strings(*values: bytes) -> Array:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def tensor(array: Any, dtype: DataType | None = None) -> Any:
    """A TensorProto: its numbers as content, its strings as values."""
    array = np.asarray(array)
    made = message_class("tensorflow.TensorProto")(dtype=number_of(dtype or _dtype_of(array)))
    made.tensor_shape.SetInParent()
    for size in array.shape:
        made.tensor_shape.dim.add(size=size)
    if array.dtype == object:
        made.string_val.extend(array.ravel().tolist())
    else:
        made.tensor_content = array.tobytes()
    return made


def _dtype_of(array: Array) -> DataType:
    if array.dtype == object:
        return DataType.STRING
    return next(
        dtype
        for dtype in DTYPES.values()
        if dtype.storage is not None
        and dtype.storage.removesuffix("_") == array.dtype.name
        and not short_text(dtype).startswith("q")
    )


def array_of(proto: Any) -> Array:
    """The array of a TensorProto with all its values."""
    dtype = base_dtype(proto.dtype)
    assert dtype.storage is not None
    field = value_field(dtype)
    assert field is not None
    shape = [dim.size for dim in proto.tensor_shape.dim]
    values = getattr(proto, field)
    if dtype is DataType.STRING:
        return strings(*values).reshape(shape)
    numpy_dtype = np.dtype(
        getattr(ml_dtypes, dtype.storage, None) or dtype.storage.removesuffix("_")
    )
    if proto.tensor_content:
        assert not len(values)
        return np.frombuffer(proto.tensor_content, numpy_dtype).reshape(shape)
    if field == "half_val":
        return np.array(values, np.uint16).view(numpy_dtype).reshape(shape)
    if field == "float8_val":
        return np.frombuffer(values, numpy_dtype).reshape(shape)
    if numpy_dtype.kind == "c":
        return np.array(values).view(np.complex128).astype(numpy_dtype).reshape(shape)
    return (
        np.array(values, np.int64 if field == "int_val" else None)
        .astype(numpy_dtype)
        .reshape(shape)
    )


def example(**features: Sequence[Any]) -> Any:
    """A tf.Example; the kind of a feature is that of its first value."""
    made = message_class("tensorflow.Example")()
    for name, values in features.items():
        feature = made.features.feature[name]
        kinds: Mapping[type, Any] = {
            int: feature.int64_list,
            float: feature.float_list,
            bytes: feature.bytes_list,
        }
        if values:
            kinds[type(values[0])].value.extend(values)
    return made
