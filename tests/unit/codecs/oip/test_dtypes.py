import ml_dtypes
import numpy as np
import pytest

from salver.codecs.oip.dtypes import (
    DATATYPES,
    config_name,
    datatype_name,
    datatype_of_array,
    dtype_of_name,
)
from salver.vocabulary.dtypes import DTYPES, DataType, numpy_dtype


@pytest.mark.parametrize("name", DATATYPES)
def test_every_datatype_is_called_the_same_both_ways(name: str) -> None:
    dtype = dtype_of_name(name)
    assert dtype is not None
    assert datatype_name(dtype) == name
    assert datatype_of_array(numpy_dtype(dtype)) == name


def test_the_datatypes_are_those_of_the_specification() -> None:
    assert set(DATATYPES) == {
        *("BOOL", "BYTES", "FP16", "BF16", "FP32", "FP64"),
        *(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)),
    }


@pytest.mark.parametrize("name", ["fp32", "DT_FLOAT", "TYPE_FP32", "", "STRING"])
def test_any_other_name_is_none(name: str) -> None:
    assert dtype_of_name(name) is None


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        (DataType.FLOAT32, "TYPE_FP32"),
        (DataType.BFLOAT16, "TYPE_BF16"),
        (DataType.STRING, "TYPE_STRING"),
        (DataType.BOOL, "TYPE_BOOL"),
        (DataType.QUINT8, "TYPE_UINT8"),
        (DataType.COMPLEX64, "TYPE_INVALID"),
        (DataType.VARIANT, "TYPE_INVALID"),
    ],
)
def test_a_model_configuration_has_names_of_its_own(dtype: DataType, name: str) -> None:
    assert config_name(dtype) == name


def test_every_dtype_has_a_name_to_be_told_by() -> None:
    assert all(datatype_name(dtype).isupper() for dtype in DTYPES.values())
    assert datatype_name(DataType.QINT32) == "INT32"
    assert datatype_name(DataType.COMPLEX64) == "COMPLEX64"


def test_arrays_tell_their_datatype() -> None:
    assert datatype_of_array(np.dtype(np.float32)) == "FP32"
    assert datatype_of_array(np.dtype(object)) == "BYTES"
    assert datatype_of_array(np.dtype(ml_dtypes.bfloat16)) == "BF16"
    with pytest.raises(TypeError):
        datatype_of_array(np.dtype(">f4"))
