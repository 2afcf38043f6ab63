from ctypes import addressof, c_int64, c_void_p
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver._pb import message_class
from salver.backends.tensorflow import tensors
from salver.backends.tensorflow.library import Library
from salver.backends.tensorflow.tensors import from_tensor, string_tensor_proto, to_tensor
from salver.errors import Internal, InvalidArgument, ResourceExhausted, ServingError, Unimplemented
from salver.vocabulary.dtypes import DTYPES, DataType, numpy_dtype
from salver.vocabulary.requests import Array
from salver.vocabulary.tensorflow_types import number_of

NUMERIC = [
    dtype for dtype in DTYPES.values() if dtype.storage is not None and dtype is not DataType.STRING
]
SMALL, MIDDLE, LARGE = 1 << 15, 1 << 17, 1 << 21  # bytes; each is copied in a way of its own


def passed(library: Library, array: Array, declared: DataType = DataType.INVALID) -> Array:
    """The array as it comes out of a tensor made from it."""
    status = library.quick.TF_NewStatus()
    try:
        tensor = to_tensor(library, array, status, number_of(declared))
        try:
            return from_tensor(library, tensor)
        finally:
            library.quick.TF_DeleteTensor(tensor)
    finally:
        library.quick.TF_DeleteStatus(status)


def strings(*values: bytes) -> Array:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def random(dtype: DataType, shape: tuple[int, ...]) -> Array:
    noise = np.random.default_rng(number_of(dtype)).integers(0, 2, (*shape, 3))
    array: Array = noise.sum(axis=-1).astype(np.float32).astype(numpy_dtype(dtype))
    return array


@pytest.mark.parametrize("dtype", NUMERIC, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (2, 0, 3), (1,) * 20])
def test_numbers_come_out_as_they_went_in(
    library: Library, dtype: DataType, shape: tuple[int, ...]
) -> None:
    array = random(dtype, shape)
    result = passed(library, array, dtype)
    assert (result.shape, result.dtype) == (array.shape, array.dtype)
    assert result.tobytes() == array.tobytes()


@pytest.mark.parametrize("dtype", NUMERIC, ids=lambda dtype: dtype.name)
def test_a_tensor_has_the_declared_type_where_the_array_may_hold_it(
    library: Library, dtype: DataType
) -> None:
    status = library.quick.TF_NewStatus()
    tensor = to_tensor(library, random(dtype, (2,)), status, number_of(dtype))
    assert library.quick.TF_TensorType(tensor) == number_of(dtype)
    library.quick.TF_DeleteTensor(tensor)
    library.quick.TF_DeleteStatus(status)


@pytest.mark.parametrize("declared", [DataType.FLOAT64, DataType.STRING, DataType.RESOURCE])
def test_a_tensor_has_the_arrays_own_type_where_another_is_declared(
    library: Library, declared: DataType
) -> None:
    assert passed(library, np.array([1.5], np.float32), declared).dtype == np.float32


@pytest.mark.parametrize("n_bytes", [SMALL, MIDDLE, LARGE])
def test_tensors_of_every_size_are_copied_whole(library: Library, n_bytes: int) -> None:
    array = np.random.default_rng(n_bytes).bytes(n_bytes)
    result = passed(library, np.frombuffer(array, np.uint8), DataType.UINT8)
    assert result.tobytes() == array


@pytest.mark.parametrize("n_bytes", [SMALL, MIDDLE, LARGE])
@pytest.mark.parametrize("order", ["transposed", "strided", "reversed"])
def test_an_array_that_is_not_contiguous_is_fed_in_its_own_order(
    library: Library, n_bytes: int, order: str
) -> None:
    whole = np.arange(n_bytes // 4, dtype=np.int32).reshape(8, -1)
    array = {"transposed": whole.T, "strided": whole[:, ::2], "reversed": whole[::-1]}[order]
    if order == "strided":
        whole = np.repeat(whole, 2, axis=1)
        array = whole[:, ::2]
    result = passed(library, array, DataType.INT32)
    np.testing.assert_array_equal(result, array)


def test_what_comes_out_outlives_its_tensor(library: Library) -> None:
    results = [passed(library, np.full(1000, n, np.int64), DataType.INT64) for n in range(50)]
    assert [int(result.sum()) for result in results] == [1000 * n for n in range(50)]


@pytest.mark.parametrize("dtype", ["U1", "M8[s]", ">f4"])
def test_an_array_no_tensor_holds_is_refused(library: Library, dtype: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^No tensor holds elements of type "):
        passed(library, np.zeros(2, dtype))


class ForgetfulApi:
    """The part of the C API that makes tensors, in a machine without memory."""

    def __init__(self, tensor: int | None) -> None:
        self.tensor = tensor
        self.deleted: list[int | None] = []

    def TF_AllocateTensor(self, *_: object) -> int | None:
        return self.tensor

    def TF_TensorData(self, tensor: int) -> None:
        assert tensor == self.tensor

    def TF_DeleteTensor(self, tensor: int | None) -> None:
        self.deleted.append(tensor)


@pytest.mark.parametrize("tensor", [None, 7])
def test_a_tensor_for_which_there_is_no_memory_is_refused(tensor: int | None) -> None:
    # The real allocator tries for ten seconds before it gives up.
    api = ForgetfulApi(tensor)
    library: Any = SimpleNamespace(quick=api)
    with pytest.raises(ResourceExhausted, match=r"^No memory for a tensor of 12 bytes$"):
        to_tensor(library, np.zeros(3, np.float32), 0, number_of(DataType.FLOAT32))
    assert api.deleted == [tensor]


@pytest.mark.parametrize(
    "values",
    [
        [],
        [b""],
        [b"a"],
        [b"", b"", b""],
        [b"x" * 22, b"x" * 23],  # the longest that fits into a string's own 24 bytes; one more
        [b"\0", b"a\0", b"\0a", b"\0\0"],
        [b"\xff\xfe\x80", "grün".encode()],
        [b"x" * 1_000_000],
        [b"%d" % n * (n % 40) for n in range(5000)],
    ],
    ids=lambda values: f"{len(values)}-{sum(map(len, values))}",
)
def test_strings_come_out_as_they_went_in(library: Library, values: list[bytes]) -> None:
    result = passed(library, strings(*values), DataType.STRING)
    assert (result.dtype, result.tolist()) == (np.dtype(object), values)


@pytest.mark.parametrize("shape", [(6,), (2, 3), (1, 6, 1), (3, 2, 1)])
def test_strings_keep_their_shape(library: Library, shape: tuple[int, ...]) -> None:
    array = strings(*[b"%d" % n for n in range(6)]).reshape(shape)
    assert passed(library, array).tolist() == array.tolist()
    assert passed(library, array.T).tolist() == array.T.tolist()


def test_a_single_string_has_no_axes(library: Library) -> None:
    array: Array = np.array(b"alone", dtype=object)
    result = passed(library, array)
    assert (result.shape, result.item()) == ((), b"alone")


@given(st.lists(st.binary(max_size=300), max_size=300))
def test_strings_are_written_as_protobuf_would(values: list[bytes]) -> None:
    proto = message_class("tensorflow.TensorProto")(
        dtype=number_of(DataType.STRING), string_val=values
    )
    proto.tensor_shape.dim.add(size=len(values))
    assert same(string_tensor_proto(strings(*values)), proto)


@given(st.lists(st.integers(0, 3), max_size=5))
def test_shapes_are_written_as_protobuf_would(shape: list[int]) -> None:
    array: Array = np.full(shape, b"s", dtype=object)
    proto = message_class("tensorflow.TensorProto")(
        dtype=number_of(DataType.STRING), string_val=[b"s"] * array.size
    )
    proto.tensor_shape.SetInParent()
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    assert same(string_tensor_proto(array), proto)


def same(written: bytes, proto: Any) -> bool:
    # Read and written again, because protobuf leaves a dimension of 0 out and reads it as 0.
    parsed = message_class("tensorflow.TensorProto").FromString(written)
    return bool(parsed == proto)


def test_a_string_tensor_that_tensorflow_refuses_is_an_error(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensors, "string_tensor_proto", lambda array: b"\xff")
    with pytest.raises(ServingError, match="Unpars"):
        passed(library, strings(b"a"))
    monkeypatch.undo()
    assert passed(library, strings(b"a")).tolist() == [b"a"]


@pytest.mark.parametrize("dtype", [DataType.RESOURCE, DataType.VARIANT])
def test_what_no_array_holds_cannot_leave_the_model(library: Library, dtype: DataType) -> None:
    tensor = library.quick.TF_AllocateTensor(number_of(dtype), None, 0, 64)
    with pytest.raises(
        Unimplemented, match=f"^Tensors of type {dtype.name.lower()} cannot leave the model$"
    ):
        from_tensor(library, tensor)


@pytest.mark.parametrize("dtype", [DataType.FLOAT32, DataType.STRING])
@pytest.mark.parametrize("shape", [(0,) * 65, (0,) * 254, (0, 2**62, 2)])
def test_a_tensor_of_a_shape_that_no_array_has_is_refused(
    library: Library, dtype: DataType, shape: tuple[int, ...]
) -> None:
    dims = (c_int64 * len(shape))(*shape)
    tensor = library.quick.TF_AllocateTensor(number_of(dtype), addressof(dims), len(shape), 0)
    with pytest.raises(InvalidArgument, match=f"has a shape of {len(shape)} dimensions"):
        from_tensor(library, tensor)
    library.quick.TF_DeleteTensor(tensor)


def test_a_tensor_whose_bytes_do_not_fit_its_shape_is_an_invariant_broken(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(tensors._STORAGE, number_of(DataType.FLOAT32), np.dtype(np.float64))
    with pytest.raises(Internal, match=r"^A tensor of shape \(3,\) holds 12 bytes$"):
        passed(library, np.zeros(3, np.float32), DataType.FLOAT32)


def test_the_two_handles_are_one_library(library: Library) -> None:
    pointer = c_void_p(library.quick.TF_NewStatus())
    assert library.long.TF_GetCode(pointer) == 0
    library.long.TF_DeleteStatus(pointer)
