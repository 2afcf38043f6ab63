"""Example bodies: those that a model brings, and one made up where it brings none."""

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from salver.openapi.description import ServedModel
from salver.openapi.parts import MOST_EXAMPLE_CHARACTERS
from salver.openapi.tensors import rows_of, sample
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.signature import PREDICT_METHOD_NAME, Signature

__all__ = ["MOST_EXAMPLES", "Rows", "example_rows", "is_short"]

MOST_EXAMPLES: Final = 16  # of a signature

Rows = dict[str, list[Any]]
"""Input → its rows. Of an input that has none, a scalar say, its value is the only one."""


def example_rows(model: ServedModel, name: str) -> Iterator[tuple[str, Rows]]:
    """Titles and values to try a signature with, a few at most.

    Examples of files are left out: what a picture becomes is for a page to decide.
    """
    signature = model.signatures[name]
    found = list(islice(_given(model, name, signature), MOST_EXAMPLES))
    if found:
        yield from found
        return
    if signature.method_name != PREDICT_METHOD_NAME and _has_text(signature):
        return  # serialized tf.Examples, of which only the features would tell something
    made = {}
    for alias, spec in signature.inputs.items():
        if alias in signature.optional:
            continue
        value = sample(spec, model.said(name).inputs.get(alias))
        if value is None or not spec.is_dense:
            return
        made[alias] = value if spec.shape else [value]
    yield "made of the shapes", made


def is_short(body: Any) -> bool:
    """Whether an example is JSON, and of a length that a document has room for."""
    try:
        return len(json.dumps(body, allow_nan=False)) <= MOST_EXAMPLE_CHARACTERS
    except ValueError:  # NaN
        return False


def _has_text(signature: Signature) -> bool:
    return any(spec.dtype is DataType.STRING for spec in signature.inputs.values())


def _given(model: ServedModel, name: str, signature: Signature) -> Iterator[tuple[str, Rows]]:
    for at, example in enumerate(model.said(name).examples):
        rows: Rows = {}
        for alias, value in example.inputs.items():
            spec = signature.inputs.get(alias)
            found = None if spec is None else rows_of(value, spec)
            if found is not None:
                rows[alias] = found
        missing = signature.inputs.keys() - rows.keys() - signature.optional
        if rows and not missing and len(rows) == len(example.inputs):
            yield example.title or f"example {at + 1}", rows
