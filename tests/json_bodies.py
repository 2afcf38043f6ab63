"""JSON bodies for a single reader, without the ladder of readers around it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from salver.codecs.json.reading import PredictInputs, Reader
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.signature import Signature, TensorSpec


def _always() -> bool:
    return True


@dataclass(slots=True)
class Body:
    """See `reading.Source`."""

    body: bytes
    is_active: Callable[[], bool] = _always
    tree: Any = None


def signature(**inputs: DataType) -> Signature:
    """A signature of inputs of any shape."""
    specs = {name: TensorSpec(inputs[name], None) for name in sorted(inputs)}
    return Signature(specs, {})


def inputs_by(reader: Reader, body: bytes, wanted: Signature) -> PredictInputs | None:
    """What one reader makes of a body; None where it leaves that to others."""
    reading = reader(Body(body))
    return None if reading is None else reading.inputs(wanted.inputs)
