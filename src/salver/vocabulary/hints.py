"""Advice for a person whose call failed: what the model takes, and what it was given.

TensorFlow checks no shapes, and its operations complain in their own terms, of nodes that the
caller has never heard of; so what is fed is set against what the signature says. Nothing here is
called for a request that succeeds. Pure.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence

from salver.errors import Cancelled, DeadlineExceeded, ResourceExhausted, ServingError, Unavailable
from salver.vocabulary.dtypes import dtype_of_array, numpy_dtype
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import Signature, TensorSpec, is_internal
from salver.vocabulary.tensorflow_types import short_text

__all__ = [
    "HINT_METADATA",
    "declared_text",
    "explain",
    "feeds_hint",
    "fits",
    "inputs_hint",
    "shape_text",
    "signatures_hint",
    "without_nodes",
]

HINT_METADATA = "salver-hint"
"""The field of gRPC's trailing metadata that has the hint of an error, percent-encoded UTF-8 as the
message is. Clients that do not know it never see it."""

_NO_FAULT_OF_FEEDS = (Cancelled, DeadlineExceeded, ResourceExhausted, Unavailable)
_MOST_INPUTS = 5  # that are told of
_SHOWN_NAMES = 20
_LONGEST = 1000  # characters

# [[{{function_node __inference_call_1}}{{node dense/MatMul}}]], or bare in front.
_NODES = re.compile(r"\[\[\{\{.{0,999}?\}\}\]\]|\{\{(?:function_)?node [^}]*\}\}", re.DOTALL)

Shape = tuple[int, ...]


def explain(error: ServingError, signature: Signature | None, feeds: Sequence[Array]) -> None:
    """Give the error of a run a hint, if what was fed is not what the signature says.

    Args:
        error: its text stays as it is.
        signature: that was run; None where it is not known.
        feeds: in the order of its inputs.
    """
    if signature is None or isinstance(error, _NO_FAULT_OF_FEEDS):
        return
    hint = feeds_hint(signature, feeds)
    given = error.hint or ""  # by the model itself, perhaps in the same words
    if hint is not None and hint not in given:
        error.hint = f"{hint} {given}".rstrip()


def feeds_hint(signature: Signature, feeds: Sequence[Array]) -> str | None:
    """`Input x is [1, 3], the signature says [-1, 2]: …`; None where everything fits."""
    found = [
        text
        for (alias, spec), array in zip(signature.inputs.items(), feeds, strict=False)
        if (text := _misfit(alias, spec, array)) is not None
    ]
    if not found:
        return _uneven_rows(signature, feeds)
    return " ".join(found[:_MOST_INPUTS])[:_LONGEST]


def without_nodes(message: str) -> tuple[str, str]:
    """The words of a message in one line, and the names of the graph's nodes that stood in it."""
    words = " ".join(_NODES.sub(" ", message).split())
    return (words, " ".join(_NODES.findall(message))) if words else (message, "")


def fits(shape: Shape, declared: Shape | None) -> bool:
    """Whether a shape is one that was declared; -1 stands for any size, None for any shape."""
    if declared is None:
        return True
    if len(shape) != len(declared):
        return False
    for size, wanted in zip(shape, declared, strict=True):  # a generator takes thrice as long
        if size != wanted and wanted >= 0:
            return False
    return True


def shape_text(shape: Shape | None) -> str:
    """`[-1, 2]`; `[]` for a scalar and where nothing is known."""
    return f"[{', '.join(map(str, shape or ()))}]"


def signatures_hint(names: Iterable[str]) -> str:
    """For a signature that is not there."""
    return f"The model has the signatures: {', '.join(of for of in names if not is_internal(of))}"


def inputs_hint(specs: Mapping[str, TensorSpec]) -> str:
    """For inputs that are not named, or named wrongly."""
    if not specs:
        return "This signature has no inputs."
    named = [f"'{name}' ({declared_text(spec)})" for name, spec in specs.items()]
    more = f" and {len(named) - _SHOWN_NAMES} more" if len(named) > _SHOWN_NAMES else ""
    return f"The inputs of this signature are: {', '.join(named[:_SHOWN_NAMES])}{more}."


def declared_text(spec: TensorSpec) -> str:
    """`float, shape [-1, 2]`."""
    shape = "any shape" if spec.shape is None else f"shape {shape_text(spec.shape)}"
    return f"{short_text(spec.dtype)}, {shape}"


def _misfit(alias: str, spec: TensorSpec, array: Array) -> str | None:
    declared = spec.shape
    if declared is not None and not fits(array.shape, declared):
        said = f"Input {alias} is {shape_text(array.shape)}, the signature says "
        return f"{said}{shape_text(declared)}: {_advice(array.shape, declared)}."
    try:
        is_right = array.dtype == numpy_dtype(spec.dtype)
        given = short_text(dtype_of_array(array.dtype))
    except (TypeError, ServingError):  # a dtype that no array is of
        return None
    wanted = short_text(spec.dtype)
    return None if is_right else f"Input {alias} is {given}, the signature says {wanted}."


def _uneven_rows(signature: Signature, feeds: Sequence[Array]) -> str | None:
    """The inputs of a call by rows must have as many rows each."""
    rows = {
        alias: array.shape[0]
        for (alias, spec), array in zip(signature.inputs.items(), feeds, strict=False)
        if spec.shape and spec.shape[0] < 0 and array.ndim
    }
    if len(set(rows.values())) < 2:
        return None
    said = ", ".join(f"{alias} has {count}" for alias, count in list(rows.items())[:_MOST_INPUTS])
    return f"The inputs have different numbers of rows: {said}."


# -- advice ----------------------------------------------------------------------------------------


def _advice(shape: Shape, declared: Shape) -> str:
    """What is wrong with a shape, in words that follow a colon."""
    if len(shape) == len(declared):
        found = _moved_axis(shape, declared)
    elif len(shape) < len(declared):
        found = _missing_axis(shape, declared)
    else:
        found = _axis_too_many(shape, declared)
    return found or _reshaped(shape, declared) or _difference(shape, declared)


def _missing_axis(shape: Shape, declared: Shape) -> str | None:
    if fits((1, *shape), declared):
        whole = shape_text((1, *shape))
        return (
            f"the first axis, which counts the rows, is missing. One row is {whole}; in JSON it is "
            'an element of the list: {"instances": [ROW]}'
        )
    for axis in range(1, len(declared)):
        if fits(whole_shape := (*shape[:axis], 1, *shape[axis:]), declared):
            return f"an axis of 1 is missing, as in {shape_text(whole_shape)}"
    if fits((1, *shape, 1), declared):
        return f"the axes of rows and of channels are missing, as in {shape_text((1, *shape, 1))}"
    return None


def _axis_too_many(shape: Shape, declared: Shape) -> str | None:
    if shape[0] == 1 and fits(shape[1:], declared):
        return (
            "there is an axis too many in front. In JSON, 'instances' is the list of rows: "
            '{"instances": [ROW]}'
        )
    for axis in range(len(shape)):
        if shape[axis] == 1 and fits((*shape[:axis], *shape[axis + 1 :]), declared):
            return f"the axis {axis}, of 1, is too many"
    return None


def _moved_axis(shape: Shape, declared: Shape) -> str | None:
    if len(shape) < 3:
        return None
    if fits((shape[0], *shape[2:], shape[1]), declared):
        return "the channels are to be the last axis"
    if fits((shape[0], shape[-1], *shape[1:-1]), declared):
        return "the channels are to be the axis behind the rows"
    return None


def _reshaped(shape: Shape, declared: Shape) -> str | None:
    """The same numbers in other axes: a picture that was flattened, or was not."""
    row = declared[1:]
    if not row or any(size < 0 for size in row) or not math.prod(row):
        return None
    rows, rest = divmod(math.prod(shape), math.prod(row))
    if rest or rows < 1 or declared[0] not in (-1, rows):
        return None
    if rows > 1 and shape[:1] != (rows,):  # by chance
        return None
    return f"the same numbers would fit as {shape_text((rows, *row))}"


def _difference(shape: Shape, declared: Shape) -> str:
    if len(shape) != len(declared):
        axes = "1 axis" if len(shape) == 1 else f"{len(shape)} axes"
        return f"it has {axes}, not {len(declared)}"
    wrong = [
        f"axis {axis} has {size}, not {wanted}"
        for axis, (size, wanted) in enumerate(zip(shape, declared, strict=True))
        if wanted not in (-1, size)
    ]
    return " and ".join(wrong)
