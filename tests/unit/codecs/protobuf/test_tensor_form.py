import numpy as np
import pytest

from salver._pb import POOL
from salver.codecs.protobuf.tensor_form import CONTENT_TAG, form_of, form_of_array
from salver.codecs.protobuf.wire import varint
from salver.errors import Internal
from salver.vocabulary.dtypes import DTYPES, DataType, dtype_of_array, numpy_dtype
from salver.vocabulary.tensorflow_types import number_of, value_field

FED = [dtype for dtype in DTYPES.values() if dtype.storage is not None]


@pytest.mark.parametrize("dtype", FED, ids=lambda dtype: dtype.name)
def test_a_form_has_the_tag_of_its_value_field(dtype: DataType) -> None:
    form = form_of(number_of(dtype))
    assert form is not None
    field = POOL.FindMessageTypeByName("tensorflow.TensorProto").fields_by_name[form.field]
    assert form.field == value_field(dtype)
    assert form.tag_bytes == varint(field.number << 3 | 2)
    assert form.tag == int.from_bytes(form.tag_bytes, "little")
    assert (form.number, form.storage) == (number_of(dtype), numpy_dtype(dtype))
    assert (form.tag in form.raw_tags) is (form.kind == "fixed")
    assert (CONTENT_TAG in form.raw_tags) is (form.kind in ("fixed", "varint"))
    assert (form.unsigned.kind, form.unsigned.itemsize) == ("u", min(form.storage.itemsize, 8))


@pytest.mark.parametrize(
    "number", [DataType.INVALID, DataType.RESOURCE, DataType.VARIANT, 34, 99, 101, 133, -1, 2**31]
)
def test_what_no_array_holds_and_reference_dtypes_have_no_form(number: int) -> None:
    assert form_of(number) is None


@pytest.mark.parametrize("dtype", FED, ids=lambda dtype: dtype.name)
def test_an_array_has_the_form_of_its_dtype(dtype: DataType) -> None:
    storage = numpy_dtype(dtype)
    assert form_of_array(storage) == form_of(number_of(dtype_of_array(storage)))


@pytest.mark.parametrize("dtype", ["U1", "S1", "M8[s]", ">f4"])
def test_an_array_no_tensor_holds_has_none(dtype: str) -> None:
    with pytest.raises(Internal, match=r"^No tensor has elements of type "):
        form_of_array(np.dtype(dtype))
