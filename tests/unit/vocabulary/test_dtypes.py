import copy
import pickle
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from salver.vocabulary.dtypes import (
    DTYPES,
    QUANTIZED,
    DataType,
    data_type,
    dtype_of_array,
    numpy_dtype,
)

STORED = [dtype for dtype in DTYPES.values() if dtype.storage is not None]


def test_each_type_is_found_by_its_name_and_stands_in_the_class() -> None:
    for name, dtype in DTYPES.items():
        assert data_type(name) is dtype
        assert getattr(DataType, name.upper()) is dtype
        assert (dtype.name, repr(dtype)) == (name, f"DataType.{name.upper()}")
    assert len(set(DTYPES.values())) == len(DTYPES) == len(DataType.__annotations__)
    with pytest.raises(KeyError):
        data_type("float")


def test_there_is_one_object_of_each_type_in_every_process() -> None:
    for dtype in DTYPES.values():
        assert pickle.loads(pickle.dumps(dtype)) is dtype
        assert copy.deepcopy(dtype) is dtype


@pytest.mark.parametrize("dtype", STORED, ids=lambda dtype: dtype.name)
def test_an_array_has_the_dtype_that_numpy_or_ml_dtypes_call_so(dtype: DataType) -> None:
    storage = numpy_dtype(dtype)
    if dtype is DataType.STRING:
        assert storage == np.dtype(object)
    elif dtype in QUANTIZED:
        assert storage == np.dtype(dtype.name.removeprefix("q"))
    else:
        assert storage == np.dtype(getattr(ml_dtypes, dtype.name, dtype.name))


@pytest.mark.parametrize("dtype", [DataType.RESOURCE, DataType.VARIANT, DataType.INVALID])
def test_no_array_holds_what_is_not_a_number_or_string(dtype: DataType) -> None:
    with pytest.raises(TypeError, match=f"^no array holds dtype {dtype.name}$"):
        numpy_dtype(dtype)


@pytest.mark.parametrize("dtype", STORED, ids=lambda dtype: dtype.name)
def test_the_type_of_an_array_is_never_a_quantized_one(dtype: DataType) -> None:
    plain = DTYPES[dtype.name.removeprefix("q")] if dtype in QUANTIZED else dtype
    assert dtype_of_array(numpy_dtype(dtype)) is plain


@pytest.mark.parametrize("dtype", ["U3", "S3", "M8[s]", ">f4", "f2,f2", "longdouble", "f4,O"])
def test_an_array_of_something_else_has_no_type(dtype: str) -> None:
    unknown: np.dtype[Any] = np.dtype(dtype)
    with pytest.raises(TypeError, match=r"^no element type is stored as "):
        dtype_of_array(unknown)
