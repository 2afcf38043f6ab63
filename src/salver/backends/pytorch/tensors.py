"""Arrays → tensors of PyTorch and back, without a copy where both can hold the elements."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from salver.backends.pytorch.leaves import NUMBERS, Leaf
from salver.errors import Internal, InvalidArgument
from salver.vocabulary.dtypes import DataType, dtype_of_array, numpy_dtype
from salver.vocabulary.requests import Array

__all__ = ["array_of", "check_feeds", "value_of"]

# Numpy has these by another package, and PyTorch reads none of its arrays: integers of the same
# size go between them.
_CARRIED: Final[Mapping[DataType, str]] = {
    DataType.BFLOAT16: "uint16",
    DataType.FLOAT8_E4M3FN: "uint8",
    DataType.FLOAT8_E4M3FNUZ: "uint8",
    DataType.FLOAT8_E5M2: "uint8",
    DataType.FLOAT8_E5M2FNUZ: "uint8",
}
_BY_TORCH: Final = {f"torch.{dtype.name}": dtype for dtype in _CARRIED}


def check_feeds(feeds: Mapping[str, Array], leaves: Mapping[str, Leaf]) -> None:
    """Refuse what does not fit: compiled programs would read past the ends of arrays.

    Raises:
        InvalidArgument: a dtype, a rank or a size is wrong.
    """
    sizes: dict[str, tuple[int, str]] = {}
    for name, array in feeds.items():
        leaf = leaves[name]
        if array.dtype != numpy_dtype(leaf.dtype):
            raise _unfit(name, leaf, array)
        if leaf.dims is None:
            continue
        if array.ndim != len(leaf.dims):
            raise _unfit(name, leaf, array)
        for size, wanted in zip(array.shape, leaf.dims, strict=True):
            if isinstance(wanted, str):
                known, other = sizes.setdefault(wanted, (size, name))
                if known != size:
                    raise InvalidArgument(
                        f"Input {name} has the shape {list(array.shape)}: a size of {size} must be "
                        f"{known}, as in the input {other}"
                    )
            elif wanted not in (-1, size):
                raise _unfit(name, leaf, array)


def _unfit(name: str, leaf: Leaf, array: Array) -> InvalidArgument:
    shape = leaf.spec.shape
    wanted = leaf.dtype.name + ("" if shape is None else str(list(shape)))
    given = f"{dtype_of_array(array.dtype).name}{list(array.shape)}"
    return InvalidArgument(f"Input {name} is {wanted}, and not {given}")


def value_of(torch: Any, array: Array, leaf: Leaf, device: Any, *, is_copied: bool) -> Any:
    """The tensor, or the number, that a program takes for an array.

    Args:
        torch: PyTorch's module.
        array: that has passed `check_feeds`.
        leaf: what is wanted.
        device: of the tensor; None for the CPU.
        is_copied: whether the program may write into it.
    """
    if leaf.number is not None:
        return leaf.number(array.item())
    carried = _CARRIED.get(leaf.dtype)
    if carried is not None:
        array = array.view(carried)
    # PyTorch knows no arrays that must not be written, nor axes that run backwards.
    ready = np.array(array, order="C") if is_copied else np.require(array, requirements=("C", "W"))
    tensor = torch.from_numpy(ready)
    if carried is not None:
        tensor = tensor.view(getattr(torch, leaf.dtype.name))
    return tensor if device is None else tensor.to(device)


def array_of(torch: Any, value: Any, name: str) -> Array:
    """The array of what a program has returned.

    Raises:
        Internal: it is nothing that an array holds.
    """
    if not isinstance(value, torch.Tensor):
        dtype = NUMBERS.get(type(value))
        if dtype is None:
            raise Internal(f"The output {name} is a {type(value).__name__}, and no tensor")
        return np.array(value, numpy_dtype(dtype))
    tensor = value.detach().cpu()
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    tensor = tensor.resolve_conj().resolve_neg().contiguous()
    carried = _BY_TORCH.get(str(tensor.dtype))
    try:
        if carried is None:
            array: Array = tensor.numpy()
        else:
            plain = tensor.view(getattr(torch, _CARRIED[carried])).numpy()
            array = plain.view(numpy_dtype(carried))
        dtype_of_array(array.dtype)
    except (TypeError, RuntimeError) as error:
        text = f"The output {name} has elements of {tensor.dtype}, which no answer can hold"
        raise Internal(text) from error
    return array
