"""What goes into a model's own code and what comes out of it, checked against what is declared."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from salver.errors import Internal, InvalidArgument
from salver.vocabulary.dtypes import DataType, numpy_dtype
from salver.vocabulary.hints import feeds_hint, fits, shape_text
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import Signature, TensorSpec

__all__ = ["given_to", "taken_from"]

_SHOWN: Final = 5
_KINDS: Final = "biufc"  # each can be written as those behind it; `i` and `u` both ways


def given_to(signature: Signature, feeds: Sequence[Array]) -> dict[str, Array]:
    """The inputs as a model may have them: its own, which it may change.

    Args:
        signature: which it has declared.
        feeds: in the order of its inputs; stay as they are.

    Raises:
        InvalidArgument: one has another shape or dtype.
    """
    inputs = {}
    for (name, spec), feed in zip(signature.inputs.items(), feeds, strict=True):
        if feed.dtype != numpy_dtype(spec.dtype):
            raise InvalidArgument(
                f"Input {name} is {feed.dtype.name}, and the model takes {spec.dtype.name}"
            )
        is_absent = not feed.size and name in signature.defaults  # its default may be nothing
        if not fits(feed.shape, spec.shape) and not is_absent:
            raise InvalidArgument(
                f"Input {name} has the shape {shape_text(feed.shape)}, and the model takes "
                f"{shape_text(spec.shape)}",
                hint=feeds_hint(signature, feeds),
            )
        inputs[name] = np.array(feed, order="C")
    return inputs


def taken_from(
    signature: Signature, outputs: Any, wanted: Sequence[str], rows: int | None = None
) -> list[Array]:
    """The outputs, as arrays that nothing else refers to.

    Args:
        signature: which the model has declared.
        outputs: what it has returned.
        wanted: names of outputs.
        rows: how many each must have; None where rows mean nothing.

    Raises:
        Internal: it has returned something else; the text names the output.
    """
    if not isinstance(outputs, Mapping):
        raise Internal(f"The model has returned {_kind(outputs)}, and not a dict: output → array")
    if missing := [name for name in signature.outputs if name not in outputs]:
        raise Internal(f"The model has not returned {_names(missing)}")
    if len(outputs) > len(signature.outputs):
        more = [name for name in outputs if name not in signature.outputs]
        raise Internal(f"The model has returned {_names(more)}, which it has not declared")
    return [_array(name, signature.outputs[name], outputs[name], rows) for name in wanted]


def _array(name: str, spec: TensorSpec, value: Any, rows: int | None) -> Array:
    dtype = numpy_dtype(spec.dtype)
    try:
        array = _texts(value) if dtype.hasobject else _numbers(value, spec.dtype)
    except _WrongValue as error:
        raise Internal(f"Output {name} {error}") from None
    except Exception as error:
        raise Internal(
            f"Output {name} is {_kind(value)}, which makes no array of {spec.dtype.name}"
        ) from error
    if not fits(array.shape, spec.shape):
        raise Internal(
            f"Output {name} has the shape {shape_text(array.shape)}, and {shape_text(spec.shape)} "
            "is declared"
        )
    if rows is not None and len(array) != rows:
        raise Internal(f"Output {name} has {len(array)} rows for {rows} of the inputs")
    return array


class _WrongValue(Exception):
    """What is wrong with it."""


def _numbers(value: Any, declared: DataType) -> Array:
    dtype = numpy_dtype(declared)
    given = np.asarray(value)
    if given.dtype == dtype:
        return np.array(given, order="C")
    is_array = hasattr(value, "dtype")
    if np.can_cast(given.dtype, dtype, "safe"):
        return np.ascontiguousarray(given, dtype).reshape(given.shape)
    if not is_array and _is_written_as(given, dtype):
        made = np.ascontiguousarray(given, dtype).reshape(given.shape)
        if dtype.kind not in "iu" or np.array_equal(made, given):
            return made
        raise _WrongValue(f"has numbers that {declared.name} cannot hold")
    raise _WrongValue(
        f"is {given.dtype.name}, and {declared.name} is declared: return it as that, such as by "
        f'.astype("{declared.name}")'
    )


def _is_written_as(given: Array, dtype: "np.dtype[Any]") -> bool:
    """Whether Python's own numbers may become such; a fraction may become no whole number."""
    kind = dtype.kind if dtype.kind in _KINDS else "f"
    if not given.size:
        return True
    if given.dtype.kind not in _KINDS:
        return False
    return (given.dtype.kind in "iu" and kind in "iu") or _KINDS.index(
        given.dtype.kind
    ) <= _KINDS.index(kind)


def _texts(value: Any) -> Array:
    given = np.asarray(value) if hasattr(value, "dtype") else np.array(value, object)
    if given.dtype.kind not in "OSU":
        raise _WrongValue(f"is {given.dtype.name}, and string is declared")
    made = np.empty(given.shape, object)
    flat = [_text(one) for one in given.ravel().tolist()]
    made.reshape(-1)[:] = flat
    return made


def _text(one: Any) -> bytes:
    if isinstance(one, bytes):
        return one
    if isinstance(one, str):
        return one.encode()
    raise _WrongValue(f"has {_kind(one)} in it, where text or bytes are declared")


def _kind(value: object) -> str:
    return f"{type(value).__name__}"


def _names(names: Sequence[object]) -> str:
    shown = ", ".join(f"{name!s:.100}" for name in names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown
