"""What a class `Model` declares: inputs, outputs, defaults, further signatures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from salver.errors import FailedPrecondition
from salver.vocabulary.dtypes import DTYPES, DataType, dtype_of_array, numpy_dtype
from salver.vocabulary.hints import fits, shape_text
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import DEFAULT_SIGNATURE, Signature, TensorSpec

__all__ = ["Declaration", "declaration_of"]

_ALIASES: Final[Mapping[str, str]] = {
    "str": "string", "bytes": "string", "object": "string", "int": "int64", "float": "float64",
    "double": "float64", "half": "float16",
}  # fmt: skip
_MOST_ROWS: Final = 1 << 20
_MOST_AXES: Final = 32  # what numpy 1 can hold
_LARGEST_AXIS: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a model says of itself.

    Attributes:
        signatures: by name.
        max_batch_size: the most rows of one run; 0: requests are never merged.
    """

    signatures: Mapping[str, Signature] = field(default_factory=dict)
    max_batch_size: int = 0


def declaration_of(get: Callable[[str], Any]) -> Declaration:
    """Read what a class declares.

    Args:
        get: the value of an attribute; None where there is none.

    Raises:
        FailedPrecondition: something in it is wrong; the text names it.
    """
    rows = get("max_batch_size")
    rows = 0 if rows is None else rows
    if not isinstance(rows, int) or not 0 <= rows <= _MOST_ROWS:
        raise _wrong(f"max_batch_size is a whole number from 0 to {_MOST_ROWS}, not {rows!r:.100}")
    signatures = {}
    inputs, outputs = get("inputs"), get("outputs")
    if inputs is not None or outputs is not None:
        signatures[DEFAULT_SIGNATURE] = _signature("", inputs, outputs, rows)
    more = get("signatures")
    more = {} if more is None else more
    if not isinstance(more, Mapping):
        raise _wrong("signatures is a dict: name → {'inputs': …, 'outputs': …}")
    for name, parts in more.items():
        if not isinstance(name, str) or not isinstance(parts, Mapping):
            raise _wrong("signatures is a dict: name → {'inputs': …, 'outputs': …}")
        if name.startswith("_") or not name.isidentifier() or name in signatures:
            raise _wrong(f"signatures cannot have {name!r:.100}: it is the name of a method")
        of = f"signatures[{name!r}]."
        signatures[name] = _signature(of, parts.get("inputs"), parts.get("outputs"), rows)
    if not signatures:
        raise _wrong("the class has no inputs and outputs: name → (dtype, shape)")
    return Declaration(signatures, rows)


def _signature(of: str, inputs: Any, outputs: Any, rows: int) -> Signature:
    specs, defaults = _tensors(f"{of}inputs", inputs, rows, may_default=True)
    given, _ = _tensors(f"{of}outputs", outputs, rows, may_default=False)
    return Signature(
        specs,
        given,
        defaults=defaults,
        optional=frozenset(defaults),
        row_defaults=frozenset(defaults if rows else ()),
    )


def _tensors(
    what: str, declared: Any, rows: int, *, may_default: bool
) -> tuple[dict[str, TensorSpec], dict[str, Array | None]]:
    if not isinstance(declared, Mapping) or (not declared and not may_default):
        raise _wrong(f"{what} is a dict: name → (dtype, shape)")
    specs: dict[str, TensorSpec] = {}
    defaults: dict[str, Array | None] = {}
    names = [name for name in declared if isinstance(name, str) and name]
    if len(names) < len(declared):
        raise _wrong(f"{what} has a name that is no text")
    for name in sorted(names):
        where, parts = f"{what}[{name!r}]", declared[name]
        most = 3 if may_default else 2
        if not isinstance(parts, Sequence) or isinstance(parts, str) or not 2 <= len(parts) <= most:
            known = "(dtype, shape) or (dtype, shape, default)" if may_default else "(dtype, shape)"
            raise _wrong(f"{where} is {known}, not {parts!r:.100}")
        spec = specs[name] = TensorSpec(_dtype(where, parts[0]), _shape(where, parts[1]))
        if rows and (not spec.shape or spec.shape[0] != -1):
            raise _wrong(
                f"{where} has the shape {parts[1]!r:.100}, and max_batch_size is set: the first "
                "axis of every shape is the rows, -1"
            )
        if len(parts) == 3:
            defaults[name] = _default(where, spec, parts[2], of_row=bool(rows))
    return specs, defaults


def _dtype(where: str, given: Any) -> DataType:
    name = given if isinstance(given, str) else getattr(given, "__name__", "")
    name = name.removeprefix("np.").removeprefix("numpy.").rstrip("_")
    found = DTYPES.get(_ALIASES.get(name, name))
    if found is None or found.storage is None:
        try:
            found = dtype_of_array(np.dtype(given))
        except TypeError:
            raise _wrong(f"{where} has no dtype that is known: {given!r:.100}") from None
    return found


def _shape(where: str, given: Any) -> tuple[int, ...] | None:
    if given is None:
        return None
    if isinstance(given, Sequence) and not isinstance(given, str) and len(given) <= _MOST_AXES:
        sizes = [-1 if size is None else size for size in given]
        if all(isinstance(size, int) and -1 <= size <= _LARGEST_AXIS for size in sizes):
            return tuple(map(int, sizes))
    raise _wrong(f"{where} has a shape that is no list of sizes, -1 being any: {given!r:.100}")


def _default(where: str, spec: TensorSpec, given: Any, *, of_row: bool) -> Array:
    """The value of an input that a request leaves out; of one row where requests are merged."""
    dtype = numpy_dtype(spec.dtype)
    try:
        if dtype.hasobject:
            default = np.array(given, object)
            flat = [_text(one) for one in default.flat]
            default = np.array([*flat, None], object)[:-1].reshape(default.shape)
        else:
            default = np.array(given, dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise _wrong(f"{where} has a default that is no {spec.dtype.name}: {error}") from None
    if of_row:
        default = default[np.newaxis]
    if not fits(default.shape, spec.shape):
        shown = shape_text(default.shape[1:] if of_row else default.shape)
        row = " of one row" if of_row else ""
        raise _wrong(
            f"{where} has a default{row} of shape {shown}, which does not fit "
            f"{shape_text(spec.shape)}"
        )
    default.flags.writeable = False
    return default


def _text(given: Any) -> bytes:
    if isinstance(given, bytes):
        return given
    if isinstance(given, str):
        return given.encode()
    raise TypeError("it is no text")


def _wrong(message: str) -> FailedPrecondition:
    error = FailedPrecondition(message)
    error.is_final = True
    return error
