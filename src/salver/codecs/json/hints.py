"""Advice for a person whose request is refused; it goes beside the reference's message."""

from collections.abc import Sequence
from itertools import islice
from typing import Any

from salver.codecs.json.arrays import INTEGERS
from salver.codecs.json.text import base64_text
from salver.codecs.json.tree import OBJECT_TYPES, type_name
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.hints import declared_text
from salver.vocabulary.signature import TensorSpec
from salver.vocabulary.tensorflow_types import short_text

__all__ = [
    "BASE64",
    "EXAMPLES",
    "MIXED_ROWS",
    "ROWS",
    "missing_key",
    "nesting",
    "no_object",
    "wrong_type",
]

ROWS = (
    "'instances' must be a list with one element per row, "
    'for example {"instances": [[1.0, 2.0], [3.0, 4.0]]}.'
)
MIXED_ROWS = (
    "All elements of 'instances' must be of one kind: values and lists for the only input, "
    "or objects with one key per input."
)
BASE64 = 'Binary data is written {"b64": "<base64>"}: that one key, and a string.'
EXAMPLES = (
    "'examples' must be a list with at least one object of features, "
    'for example {"examples": [{"age": 39, "country": "NZ"}]}.'
)

_SHOWN_NAMES = 20


def no_object(document: Any) -> str:
    """For a body that is JSON, and no object."""
    example = 'for example {"instances": [[1.0, 2.0]]}.'
    if isinstance(document, str) and document.lstrip().startswith(("{", "[")):
        return (
            "The body is a string that holds JSON: it was written twice. In Python send "
            f"json.dumps(data) as it is, or requests.post(url, json=data), {example}"
        )
    return f"The body must be a JSON object, {example}"


def missing_key(document: Any) -> str:
    """For a body with neither 'instances' nor 'inputs'."""
    found = ", ".join(f"'{name}'" for name, _ in islice(document.items(), _SHOWN_NAMES))
    return (
        "The body must have the key 'instances' (a list with one element per row) or 'inputs' "
        f"(whole tensors, with their batch axis). It has {found or 'no key'}."
    )


def nesting(name: str, spec: TensorSpec, sent: Sequence[int], *, is_row: bool) -> str:
    """For lists of unequal lengths or depths.

    Args:
        name: of the input.
        spec: what the signature says of it.
        sent: lengths of the lists along the first elements.
        is_row: whether `sent` is one row rather than the whole tensor.
    """
    declared = f"Input '{name}' is declared as {declared_text(spec)}"
    if is_row and spec.shape:
        declared += f", so one row has shape {list(spec.shape[1:])}"
    what = "This row" if is_row else "This value"
    return (
        f"{declared}. {what} has shape {list(sent)} along its first elements; "
        "every list of one level must be of equal length."
    )


def wrong_type(name: str, spec: TensorSpec, value: Any) -> str:
    """For a scalar that the dtype does not take."""
    takes = f"Input '{name}' takes {short_text(spec.dtype)}"
    if value is None:
        return f"{takes}; null is accepted nowhere. A missing float can be sent as NaN."
    if base64_text(value) is not None:
        return (
            f"{takes}, not encoded bytes: send decoded data, such as an image's pixels, "
            "as nested lists of numbers."
        )
    if isinstance(value, OBJECT_TYPES):
        if {"data", "shape"} <= {member for member, _ in islice(value.items(), _SHOWN_NAMES)}:
            return (
                f"{takes}. This is a request of the Open Inference Protocol; here it is written "
                f'{{"inputs": {{"{name}": [[1.0, 2.0]]}}}}.'
            )
        return f"{takes}, not objects."
    if spec.dtype is DataType.STRING:
        return f"{takes}: put quotes around the {type_name(value).lower()}."
    if spec.dtype is DataType.BOOL:
        return f"{takes}: write true or false, without quotes."
    if isinstance(value, str):
        return f"{takes}: write the number without quotes."
    if spec.dtype in INTEGERS and isinstance(value, float) and abs(value) < 2**63:
        return f"{takes}: write 1, not 1.0."
    return f"{takes}, and this value is none or out of its range."
