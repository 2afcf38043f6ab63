"""What a child says of the model that it has loaded, as a text and arrays; and reads back."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from salver.vocabulary.dtypes import DTYPES
from salver.vocabulary.model import InternalBatching, Model, TensorNames
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import Signature, TensorSpec

__all__ = ["Description", "arrays_of", "description_of"]


@dataclass(frozen=True, slots=True)
class Description:
    """What the server knows of a model in a child.

    Attributes:
        signatures: see `Model`.
        definitions: see `Model`.
        batching: see `Model`.
        names: of its graph; None where it has none.
        starts_runs: whether it starts runs without a thread for each; see `StartableModel`.
        streamable: signatures whose runs may answer more than once.
    """

    signatures: Mapping[str, Signature]
    definitions: bytes | None
    batching: InternalBatching | None
    names: Mapping[str, TensorNames] | None
    starts_runs: bool
    streamable: frozenset[str] = frozenset()


def arrays_of(model: Model, *, starts_runs: bool) -> list[Array]:
    """The description of a model, to be sent: its text as bytes, then what the text counts up."""
    arrays: list[Array] = []

    def placed(array: Array) -> int:
        arrays.append(array)
        return len(arrays)  # one more than its index: the text comes first

    said = {
        "signatures": {
            name: _of_signature(signature, placed) for name, signature in model.signatures.items()
        },
        "definitions": None if model.definitions is None else placed(_bytes(model.definitions)),
        "batching": None if model.batching is None else asdict(model.batching),
        "names": None
        if model.graph is None
        else {
            name: [dict(names.inputs), dict(names.outputs)]
            for name, names in model.graph.names.items()
        },
        "starts_runs": starts_runs,
        "streamable": sorted(getattr(model, "streamable", ())),
    }
    return [_bytes(json.dumps(said).encode()), *arrays]


def _bytes(data: bytes) -> Array:
    return np.frombuffer(data, np.uint8)


def _of_signature(signature: Signature, placed: Callable[[Array], int]) -> Any:
    defaults = {
        alias: None if value is None else placed(np.asarray(value))
        for alias, value in signature.defaults.items()
    }
    return [
        *(_of_specs(signature.inputs), _of_specs(signature.outputs)),
        *(signature.method_name, defaults),
        *(sorted(signature.optional), sorted(signature.row_defaults)),
        signature.streams,
    ]


def _of_specs(specs: Mapping[str, TensorSpec]) -> Any:
    return {
        alias: [spec.dtype.name, None if spec.shape is None else list(spec.shape), spec.is_dense]
        for alias, spec in specs.items()
    }


def description_of(arrays: Sequence[Array]) -> Description:
    """Read what `arrays_of` made; nothing of it stays in shared memory.

    Raises:
        ValueError: it is something else. So do KeyError, TypeError and IndexError.
    """
    said = json.loads(arrays[0].tobytes())
    batching = said["batching"]
    if batching is not None:
        batching["allowed_batch_sizes"] = tuple(batching["allowed_batch_sizes"])
    place = said["definitions"]
    return Description(
        {name: _signature(of, arrays) for name, of in said["signatures"].items()},
        None if place is None else arrays[place].tobytes(),
        None if batching is None else InternalBatching(**batching),
        None
        if said["names"] is None
        else {name: TensorNames(*of) for name, of in said["names"].items()},
        bool(said["starts_runs"]),
        frozenset(said["streamable"]),
    )


def _signature(said: Any, arrays: Sequence[Array]) -> Signature:
    inputs, outputs, method_name, defaults, optional, row_defaults, streams = said
    return Signature(
        _specs(inputs),
        _specs(outputs),
        str(method_name),
        {
            alias: None if place is None else arrays[place].copy()
            for alias, place in defaults.items()
        },
        frozenset(optional),
        frozenset(row_defaults),
        bool(streams),
    )


def _specs(said: Mapping[str, Any]) -> Mapping[str, TensorSpec]:
    return {
        alias: TensorSpec(DTYPES[dtype], None if shape is None else tuple(shape), bool(is_dense))
        for alias, (dtype, shape, is_dense) in said.items()
    }
