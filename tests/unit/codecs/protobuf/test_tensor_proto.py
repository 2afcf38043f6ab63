import ctypes
import importlib.util
import math
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from tests.wire_forms import (
    Draw,
    Field,
    broken,
    joined,
    long_varint,
    sized,
    unknown_fields,
)

from salver._pb import POOL, message_class
from salver.backends.tensorflow.library import Buffer, Library, load_library
from salver.backends.tensorflow.tensors import from_tensor
from salver.codecs.protobuf.room import Room
from salver.codecs.protobuf.tensor_proto import (
    decode_tensor,
    encode_tensor,
    fixed_tensor_head,
    has_raw_elements,
    raw_elements,
)
from salver.codecs.protobuf.wire import read_length
from salver.errors import Internal, InvalidArgument, ServingError
from salver.vocabulary.dtypes import DTYPES, DataType, dtype_of_array, numpy_dtype
from salver.vocabulary.requests import Array, TakesLong
from salver.vocabulary.tensorflow_types import base_dtype, number_of, value_field

MESSAGE = message_class("tensorflow.TensorProto")
FED = [dtype for dtype in DTYPES.values() if dtype.storage is not None]
NUMERIC = [dtype for dtype in FED if dtype is not DataType.STRING]
OWN = [dtype for dtype in FED if dtype_of_array(numpy_dtype(dtype)) is dtype]  # none is quantized
FIELDS = [field for dtype in FED if (field := value_field(dtype)) is not None]

needs_tensorflow = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None, reason="tensorflow is not installed"
)


def same(one: Array, other: Array) -> bool:
    if (one.shape, one.dtype) != (other.shape, other.dtype):
        return False
    if one.dtype == object:
        return bool(one.tolist() == other.tolist())
    return one.tobytes() == other.tobytes()


def outcome(data: bytes | memoryview) -> Any:
    """Something equal for equal arrays, and for errors of the same code."""
    try:
        array = decode_tensor(data)
    except ServingError as error:
        return error.code
    elements = array.tolist() if array.dtype == object else array.tobytes()
    return (array.shape, array.dtype, elements)


def message(dims: list[int] | None = None, **fields: Any) -> Any:
    made = MESSAGE(**fields)
    if dims is not None:
        made.tensor_shape.SetInParent()
        for size in dims:
            made.tensor_shape.dim.add(size=size)
    return made


def serialized(dims: list[int] | None = None, **fields: Any) -> bytes:
    data: bytes = message(dims, **fields).SerializeToString()
    return data


def noise(dtype: DataType, shape: tuple[int, ...], seed: int = 0) -> Array:
    generator = np.random.default_rng(seed)
    if dtype is DataType.STRING:
        strings = np.empty(math.prod(shape), object)
        strings[:] = [
            generator.bytes(int(size)) for size in generator.integers(0, 300, len(strings))
        ]
        return strings.reshape(shape)
    if dtype is DataType.BOOL:
        return generator.integers(0, 2, shape).astype(np.bool_)
    storage = numpy_dtype(dtype)
    data = generator.bytes(math.prod(shape) * storage.itemsize)
    if dtype in (DataType.INT4, DataType.UINT4, DataType.INT2, DataType.UINT2):
        whole: Array = np.frombuffer(data, np.uint8) & 1
        return whole.view(storage).reshape(shape)
    return np.frombuffer(data, storage).reshape(shape)


SHAPES = [(), (0,), (3,), (2, 3), (2, 0, 3), (600,), (1,) * 32]  # as many axes as every numpy has


@pytest.mark.parametrize("dtype", OWN, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("as_content", [False, True], ids=["values", "content"])
def test_arrays_come_out_as_they_went_in(dtype: DataType, as_content: bool) -> None:
    for shape in SHAPES:
        array = noise(dtype, shape)
        data = encode_tensor(array, as_content=as_content)
        assert same(decode_tensor(data), array)
        assert same(decode_tensor(memoryview(data)), array)


@pytest.mark.parametrize("dtype", OWN, ids=lambda dtype: dtype.name)
def test_a_tensor_is_written_as_protobuf_would(dtype: DataType) -> None:
    for shape in SHAPES:
        array = noise(dtype, shape, seed=1)
        data = encode_tensor(array, as_content=False)
        parsed = MESSAGE.FromString(data)
        assert parsed.HasField("tensor_shape")
        assert parsed.SerializeToString() == data
        assert parsed.dtype == number_of(dtype)
        assert tuple(dim.size for dim in parsed.tensor_shape.dim) == shape
        names = {descriptor.name for descriptor, _ in parsed.ListFields()}
        assert names <= {"dtype", "tensor_shape", value_field(dtype)}


@pytest.mark.parametrize("dtype", OWN, ids=lambda dtype: dtype.name)
def test_content_is_written_as_protobuf_would(dtype: DataType) -> None:
    array = noise(dtype, (2, 3))
    data = encode_tensor(array, as_content=True)
    parsed = MESSAGE.FromString(data)
    assert parsed.SerializeToString() == data
    if dtype is DataType.STRING:
        assert list(parsed.string_val) == array.ravel().tolist()
    else:
        assert parsed.tensor_content == array.tobytes()


@pytest.mark.parametrize(
    "dtype", [DataType.FLOAT32, DataType.INT32, DataType.BOOL, DataType.STRING]
)
@pytest.mark.parametrize("as_content", [False, True], ids=["values", "content"])
def test_an_array_that_is_not_contiguous_is_written_row_by_row(
    dtype: DataType, as_content: bool
) -> None:
    array = noise(dtype, (40, 60))
    for view in (array.T, array[:, ::2], array[::-1]):
        assert same(decode_tensor(encode_tensor(view, as_content=as_content)), view)


def test_a_large_array_is_written_whole_and_read_without_a_copy() -> None:
    array = noise(DataType.FLOAT32, (224, 224, 3))
    for as_content in (False, True):
        data = encode_tensor(array, as_content=as_content)
        for form in (data, memoryview(data)):
            read = decode_tensor(form)
            assert same(read, array)
            assert np.shares_memory(read, np.frombuffer(data, np.uint8))
            assert not read.flags.writeable
    assert same(decode_tensor(encode_tensor(array.T, as_content=True)), array.T)


def test_raw_elements_of_a_large_array_are_not_copied() -> None:
    array = noise(DataType.FLOAT32, (1 << 16,))
    assert np.shares_memory(np.frombuffer(raw_elements(array), np.uint8), array)
    assert raw_elements(array[:2]) == array[:2].tobytes()


@pytest.mark.parametrize("dtype", OWN, ids=lambda dtype: dtype.name)
def test_a_head_goes_before_elements_that_are_as_in_memory(dtype: DataType) -> None:
    array = noise(dtype, (2, 3))
    for as_content in (False, True):
        head = fixed_tensor_head(array.dtype, array.shape, as_content)
        if head is not None:
            assert head + array.tobytes() == encode_tensor(array, as_content=as_content)
        else:
            assert dtype is DataType.STRING or not as_content


@pytest.mark.parametrize("dtype", OWN, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (600,)], ids=str)
def test_other_bytes_instead_of_raw_elements_are_other_elements(
    dtype: DataType, shape: tuple[int, ...]
) -> None:
    array, other = noise(dtype, shape), noise(dtype, shape, seed=1)
    for as_content in (False, True):
        data = encode_tensor(array, as_content=as_content)
        is_raw = fixed_tensor_head(array.dtype, shape, as_content) is not None
        assert has_raw_elements(data, decode_tensor(data)) is (
            is_raw and dtype is not DataType.BOOL
        )
        if is_raw:
            other_data = data[: len(data) - array.nbytes] + other.tobytes()
            assert same(decode_tensor(other_data), other)


@pytest.mark.parametrize(
    "data",
    [
        serialized([0], dtype=1),
        serialized([2], dtype=1, float_val=[1]),
        serialized([1], dtype=1, float_val=[1, 2]),
        serialized([1], dtype=1, float_val=[1]) + b"\x18\x01",
        serialized([1], dtype=1, float_val=[1], tensor_content=b"abcd"),
        serialized([2], dtype=3, int_val=[1, 2]),
        serialized([1], dtype=number_of(DataType.QINT32), tensor_content=b"abcd"),
        b"\x08\x01\x12\x00\x2d\x00\x00\x80\x3f",
    ],
    ids=["none", "few", "many", "version", "both", "varints", "quantized", "unpacked"],
)
def test_elements_that_are_not_raw_are_not_taken_for_it(data: bytes) -> None:
    assert not has_raw_elements(data, decode_tensor(data))


def test_an_array_no_tensor_holds_is_an_internal_error() -> None:
    with pytest.raises(Internal, match=r"^No tensor has elements of type "):
        encode_tensor(np.array(["text"]), as_content=False)


def test_a_byte_that_is_neither_0_nor_1_is_written_as_true() -> None:
    array = np.array([0, 1, 2, 128, 255], np.uint8).view(np.bool_)
    data = encode_tensor(array, as_content=False)
    assert decode_tensor(data).tolist() == [False, True, True, True, True]


@pytest.mark.parametrize("dtype", FED, ids=lambda dtype: dtype.name)
def test_no_values_are_zeros_and_a_missing_shape_is_a_scalar(dtype: DataType) -> None:
    zero = b"" if dtype is DataType.STRING else np.zeros((), numpy_dtype(dtype)).item()
    for dims, shape in ((None, ()), ([], ()), ([2], (2,)), ([0], (0,))):
        array = decode_tensor(serialized(dims, dtype=number_of(dtype)))
        assert (array.shape, array.dtype) == (shape, numpy_dtype(dtype))
        assert array.ravel().tolist() == [zero] * array.size


def test_content_goes_before_values() -> None:
    one = np.float32(1).tobytes()
    data = serialized([1], dtype=1, float_val=[2.0, 3.0], tensor_content=one)
    assert decode_tensor(data).tolist() == [1.0]
    assert decode_tensor(serialized([1], dtype=1, double_val=[2.0])).tolist() == [0.0]


@pytest.mark.parametrize("number", [0, 20, 21, 34, 99, 101, 107, 133, -1])
@pytest.mark.parametrize("dims", [[], [0]])
def test_a_dtype_that_cannot_be_fed_is_refused(number: int, dims: list[int]) -> None:
    with pytest.raises(InvalidArgument, match=f"^A tensor of dtype {number} cannot be fed$"):
        decode_tensor(serialized(dims, dtype=number, float_val=[1]))


@pytest.mark.parametrize(
    "data",
    [
        serialized([-1], dtype=1, float_val=[1]),
        serialized([2**40, 2**40], dtype=1, float_val=[1]),
        serialized([3], dtype=1, tensor_content=b"1234"),
        serialized([1] * 65, dtype=1, float_val=[1]),
        serialized([1] * 255, dtype=1, float_val=[1]),
        serialized([2**40], dtype=1, float_val=[1]),
        serialized([2**40], dtype=7, string_val=[b"a"]),
        serialized([2**40], dtype=1),
        b"",
    ],
)
def test_a_tensor_that_makes_no_array_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidArgument):
        decode_tensor(data)


def test_many_unpacked_values_are_read_without_a_loop() -> None:
    values = np.random.default_rng(0).random(100_000, np.float32)
    head = serialized([100_000], dtype=1)
    records = np.empty(len(values), np.dtype([("tag", "u1"), ("value", "<f4")]))
    records["tag"] = 5 << 3 | 5
    records["value"] = values
    assert same(decode_tensor(head + records.tobytes()), values)


def test_strings_among_other_fields_are_read() -> None:
    strings = joined([(8, 2, sized(b"a")), (8, 2, sized(b"b" * 200))])
    head = serialized([2], dtype=7)
    for data in (head + strings, head + strings + b"\x18\x01", head + b"\x18\x01" + strings):
        assert decode_tensor(data).tolist() == [b"a", b"b" * 200]
    with pytest.raises(Internal):
        decode_tensor((head + strings)[:-1])


PADDED = {
    "packed": serialized([3 << 20], dtype=1, float_val=[1]),
    "unusual": serialized([3 << 20], dtype=1, float_val=[1]) + b"\x18\x01",
    "strings": serialized([3 << 14], dtype=7, string_val=[b"a"]),
    "unusual strings": serialized([3 << 14], dtype=7, string_val=[b"a"]) + b"\x18\x01",
}


@pytest.mark.parametrize("form", PADDED)
def test_what_all_tensors_of_a_message_grow_is_bounded(form: str) -> None:
    data = PADDED[form]
    room = Room(1)
    first = decode_tensor(data, room)
    assert (first == first[0]).all()
    with pytest.raises(InvalidArgument, match=r"lacks \d+ of its values"):
        decode_tensor(data, room)
    assert len(decode_tensor(data)) == len(first)


@pytest.mark.parametrize("form", PADDED)
def test_a_tensor_that_grows_much_is_not_made_where_that_takes_too_long(form: str) -> None:
    with pytest.raises(TakesLong):
        decode_tensor(PADDED[form], Room(1, made_bytes=1 << 16))


# Truth: TensorFlow itself.


@pytest.fixture(scope="module")
def library() -> Library:
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("TensorFlow is not installed")
    return load_library()


def tensorflow_decodes(library: Library, data: bytes, n_elements: int) -> Array | None:
    """What Tensor::FromProto makes of a message; None where it refuses."""
    quick = library.quick
    status = quick.TF_NewStatus()
    proto = Buffer.of(data)
    tensor = quick.TF_AllocateTensor(number_of(DataType.UINT8), None, 0, 1)  # to be replaced
    try:
        quick.TF_TensorFromProto(ctypes.addressof(proto), tensor, status)
        if quick.TF_GetCode(status):
            return None
        if n_elements:
            return from_tensor(library, tensor)
        # It has no memory, and asking for its size crashes.
        shape = tuple(quick.TF_Dim(tensor, axis) for axis in range(quick.TF_NumDims(tensor)))
        return np.empty(shape, numpy_dtype(base_dtype(quick.TF_TensorType(tensor))))
    finally:
        quick.TF_DeleteTensor(tensor)
        quick.TF_DeleteStatus(status)


def values_for(field: str) -> st.SearchStrategy[Any]:
    descriptor = POOL.FindMessageTypeByName("tensorflow.TensorProto").fields_by_name[field]
    if field == "float8_val":
        return st.binary(max_size=7)
    kinds: dict[int, st.SearchStrategy[Any]] = {
        descriptor.TYPE_FLOAT: st.floats(width=32),
        descriptor.TYPE_DOUBLE: st.floats(),
        descriptor.TYPE_INT32: st.integers(-(2**31), 2**31 - 1) | st.integers(-300, 300),
        descriptor.TYPE_INT64: st.integers(-(2**63), 2**63 - 1),
        descriptor.TYPE_UINT32: st.integers(0, 2**32 - 1),
        descriptor.TYPE_UINT64: st.integers(0, 2**64 - 1),
        descriptor.TYPE_BOOL: st.booleans(),
        descriptor.TYPE_BYTES: st.binary(max_size=5),
    }
    return st.lists(kinds[descriptor.type], max_size=7)


@st.composite
def tensors(draw: Draw) -> Any:
    """Messages, most of them sensible."""
    dtype = draw(st.sampled_from(FED))
    assert value_field(dtype) is not None
    dims = draw(st.none() | st.lists(st.integers(0, 3), max_size=3))
    if dims and draw(st.integers(0, 9)) == 0:
        dims[0] = draw(st.sampled_from([-1, -5, 2**62]))
    number = draw(
        st.just(number_of(dtype))
        | st.sampled_from([number_of(dtype), 0, 40, 100 + number_of(dtype)])
    )
    made = message(dims, dtype=number)
    for field in {value_field(dtype), draw(st.sampled_from(FIELDS))}:
        values = draw(values_for(field))
        if field == "float8_val":
            made.float8_val = values
        else:
            getattr(made, field).extend(values)
    if draw(st.integers(0, 3)) == 0:
        n_bytes = math.prod(dims or ()) * numpy_dtype(dtype).itemsize
        made.tensor_content = draw(
            st.binary(max_size=9) | st.binary(min_size=n_bytes % 200, max_size=n_bytes % 200)
        )
    return made


@given(tensors())
def test_every_tensor_is_read_as_tensorflow_does(library: Library, made: Any) -> None:
    data = made.SerializeToString()
    n_elements = math.prod(dim.size for dim in made.tensor_shape.dim)
    dims = [dim.size for dim in made.tensor_shape.dim]
    if max(dims, default=0) > 1000:  # too large, or if it has no elements perhaps so for numpy
        try:
            found = decode_tensor(data)
        except InvalidArgument:
            return
        assert (n_elements, list(found.shape)) == (0, dims)
        return
    truth = tensorflow_decodes(library, data, n_elements)
    if truth is None:
        with pytest.raises(InvalidArgument):
            decode_tensor(data)
    else:
        assert same(decode_tensor(data), truth)


@given(tensors().map(lambda made: made.SerializeToString()))
def test_every_array_is_written_so_that_tensorflow_reads_it(library: Library, data: bytes) -> None:
    try:
        array = decode_tensor(data)
    except ServingError:
        return
    if array.size == 0 or dtype_of_array(array.dtype) in (DataType.INT4, DataType.UINT4):
        return  # TensorFlow keeps the bits that int4 has no place for
    if dtype_of_array(array.dtype) in (DataType.INT2, DataType.UINT2):
        return
    for as_content in (False, True):
        written = encode_tensor(array, as_content=as_content)
        truth = tensorflow_decodes(library, written, array.size)
        assert truth is not None
        assert same(truth, array)


_CHILD = """
import pickle, sys
import numpy as np
import tensorflow as tf

asked = pickle.load(sys.stdin.buffer)
written, read = {}, {}
message = type(tf.make_tensor_proto(0))
for name, (shape, number, elements, protos) in asked.items():
    if name == "string":
        array = np.array(elements, object).reshape(shape)
    else:
        array = np.ndarray(shape, tf.dtypes.DType(number).as_numpy_dtype, elements)
    try:  # its Python does not know every dtype
        written[name] = tf.make_tensor_proto(array).SerializeToString()
        arrays = [tf.make_ndarray(message.FromString(proto)) for proto in protos]
        read[name] = [found.tolist() == array.tolist() for found in arrays]
    except TypeError:
        pass
pickle.dump((written, read), sys.stdout.buffer)
"""


@needs_tensorflow
def test_tensorflows_python_reads_and_writes_the_same() -> None:
    arrays = {dtype: noise(dtype, (2, 3)) for dtype in OWN}
    for dtype, array in arrays.items():
        if array.dtype.kind in "fcV" and dtype is not DataType.STRING:
            arrays[dtype] = np.ones((2, 3)).astype(array.dtype)  # not a number equals itself
    asked = {
        dtype.name: (
            array.shape,
            number_of(dtype),
            array.ravel().tolist() if array.dtype == object else array.tobytes(),
            [encode_tensor(array, as_content=form) for form in (False, True)],
        )
        for dtype, array in arrays.items()
    }
    child = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _CHILD],
        input=pickle.dumps(asked),
        capture_output=True,
        check=True,
        timeout=120,
    )
    written, read = pickle.loads(child.stdout)
    usual = {"float32", "float64", "int32", "int64", "uint8", "string", "bfloat16", "float16"}
    assert usual | {"bool", "complex64"} <= read.keys() <= written.keys()
    for name, data in written.items():
        assert same(decode_tensor(data), arrays[DTYPES[name]]), name
    assert read == {name: [True, True] for name in read}


# Other spellings of the same, and what is none.


def unpacked(number: int, data: bytes) -> list[Field]:
    """Each number of a packed field as a field of its own."""
    if number in (5, 9):
        return [(number, 5, data[at : at + 4]) for at in range(0, len(data), 4)]
    if number in (6, 12):
        return [(number, 1, data[at : at + 8]) for at in range(0, len(data), 8)]
    fields: list[Field] = []
    start = 0
    for at, octet in enumerate(data):
        if octet < 0x80:
            fields.append((number, 0, data[start : at + 1]))
            start = at + 1
    return fields


def repeated(number: int, data: bytes, draw: Draw) -> list[Field]:
    """A packed field: some of its numbers unpacked, then the others, packed in two parts."""
    singles = unpacked(number, data)
    cuts = sorted(draw(st.tuples(*[st.integers(0, len(singles))] * 2)))
    parts = [b"".join([s[2] for s in part]) for part in (singles[slice(*cuts)], singles[cuts[1] :])]
    packed: list[Field] = [(number, 2, sized(part, draw(st.integers(1, 5)))) for part in parts]
    return singles[: cuts[0]] + packed


def fields_of(made: Any, draw: Draw) -> list[Field]:
    """The fields of a tensor, none of them as it is usual."""
    fields: list[Field] = []
    for descriptor, value in made.ListFields():
        number = descriptor.number
        if number == 1:
            fields.append((1, 0, long_varint(draw(st.integers(0, 33)), 1)))
            fields.append((1, 0, long_varint(value % (1 << 64), draw(st.integers(1, 10)))))
        elif number == 2:  # in two parts, which protobuf merges
            cut = draw(st.integers(0, len(value.dim)))
            for dims in (value.dim[:cut], value.dim[cut:]):
                part = type(value)(dim=dims).SerializeToString()
                fields.append((2, 2, sized(part, draw(st.integers(1, 5)))))
        elif number in (4, 18):
            fields += [(number, 2, sized(b"overwritten")), (number, 2, sized(value, 2))]
        elif number == 8:
            fields += [(8, 2, sized(string, 2)) for string in value]
        else:
            only = MESSAGE()
            getattr(only, descriptor.name).extend(value)
            data = only.SerializeToString()
            head = 1 if number < 16 else 2
            fields += repeated(number, data[read_length(data, head)[1] :], draw)
    return fields


@st.composite
def spelled(draw: Draw) -> tuple[bytes, bytes]:
    """A tensor as it is usual, and as it is not."""
    made = draw(tensors())
    fields = fields_of(made, draw)
    order = draw(st.permutations(range(19)))
    fields.sort(key=lambda field: order[field[0]])
    for stranger in draw(st.lists(unknown_fields(st.sampled_from([3, 19, 2**29 - 1])), max_size=3)):
        fields.insert(draw(st.integers(0, len(fields))), stranger)
    return made.SerializeToString(), joined(fields)


@given(spelled())
def test_any_spelling_of_a_tensor_is_read_alike(pair: tuple[bytes, bytes]) -> None:
    usual, unusual = pair
    assert outcome(unusual) == outcome(usual)
    assert outcome(memoryview(unusual)) == outcome(usual)


def check_as_protobuf(data: bytes) -> None:
    """What protobuf refuses is refused; what it takes gives what its own bytes would."""
    try:
        parsed = MESSAGE.FromString(data)
    except DecodeError:
        with pytest.raises(Internal):
            decode_tensor(data)
    else:
        parsed.DiscardUnknownFields()
        assert outcome(data) == outcome(parsed.SerializeToString())


@given(broken(tensors().map(lambda made: made.SerializeToString())) | st.binary(max_size=40))
def test_broken_bytes_are_an_internal_error_or_what_protobuf_reads(data: bytes) -> None:
    check_as_protobuf(data)


@pytest.mark.parametrize("dtype", OWN, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("as_content", [False, True], ids=["values", "content"])
def test_a_tensor_cut_off_anywhere_is_what_protobuf_makes_of_the_rest(
    dtype: DataType, as_content: bool
) -> None:
    array = noise(dtype, (2, 3))
    whole = encode_tensor(array, as_content=as_content)
    for end in range(len(whole)):
        check_as_protobuf(whole[:end])
    assert same(decode_tensor(whole), array)
