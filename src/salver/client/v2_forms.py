"""What both wire forms of the Open Inference Protocol share: metadata, states, classes.

Source: the specification of the protocol, and Triton's `docs/protocol/extension_*.md`.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np

from salver.client.answers import (
    ListedModel,
    ModelMetadata,
    ModelStatus,
    ScoredClass,
    VersionStatus,
)
from salver.client.exchange import Which
from salver.codecs.oip.dtypes import dtype_of_name
from salver.codecs.oip.tensors import array_of_raw, checked_shape
from salver.codecs.protobuf.wire import Bytes
from salver.errors import Internal, InvalidArgument, NotFound, Unavailable, Unimplemented
from salver.vocabulary.dtypes import DataType, data_type
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import DEFAULT_SIGNATURE, Signature, TensorSpec

__all__ = [
    "ALL_CLASSES",
    "classes_of",
    "index_of",
    "metadata_of",
    "no_index",
    "number_of",
    "own_array",
    "signature_parameter",
    "status_of",
    "up_status",
    "values_of",
    "version_text",
]

ALL_CLASSES: Final = 1_000_000
"""How many classes are asked for where all are meant; no server answers more."""

_STATES: Final[Mapping[str, str]] = {
    "READY": "AVAILABLE",
    "LOADING": "LOADING",
    "UNLOADING": "UNLOADING",
    "UNAVAILABLE": "END",
}


def version_text(which: Which) -> str:
    """The version as messages name it; empty for any."""
    return (which.label or "") if which.version is None else str(which.version)


def number_of(version: Any) -> int | None:
    """The number that a server calls a version by; None where it is none."""
    text = str(version)
    return int(text) if text.isascii() and text.isdecimal() else None


def signature_parameter(signature: str) -> str | None:
    """What a request says of its signature; None for the one that servers mean anyway."""
    return None if signature == DEFAULT_SIGNATURE else signature


def metadata_of(which: Which, said: Mapping[str, Any], answered: int | None) -> ModelMetadata:
    """The metadata of a model: its inputs and outputs are those of the default signature.

    Args:
        which: was asked for.
        said: `name`, `versions`, `inputs` and `outputs`, as JSON has them.
        answered: the version that the server says has answered; None where it says nothing.
    """
    versions = [number_of(version) for version in said.get("versions") or ()]
    numbers = [version for version in versions if version is not None]
    version = answered if which.version is None else which.version
    if version is None and numbers and (which.label is None or len(numbers) == 1):
        version = max(numbers)
    signature = Signature(_specs(said.get("inputs")), _specs(said.get("outputs")))
    return ModelMetadata(str(said["name"]), version or 0, {DEFAULT_SIGNATURE: signature})


def _specs(tensors: Any) -> dict[str, TensorSpec]:
    return {
        str(of["name"]): TensorSpec(_dtype(of["datatype"]), _shape(of.get("shape")))
        for of in tensors or ()
    }


def _dtype(name: str) -> DataType:
    """The element type that metadata names; those the protocol knows none for have our names."""
    known = dtype_of_name(name)
    if known is not None:
        return known
    try:
        return data_type(name.lower())
    except (KeyError, ValueError):
        raise Internal(f"The server tells of a tensor of datatype {name!r}") from None


def _shape(sizes: Any) -> tuple[int, ...] | None:
    shape = tuple(int(size) for size in sizes or ())
    return None if shape == (-1,) else shape


def no_index() -> Unimplemented:
    """Why a server does not list its models."""
    return Unimplemented(
        "The server does not list its models",
        hint="It has not Triton's repository extension: ask for a model by its name.",
    )


def index_of(entries: Iterable[tuple[str, str, str, str]]) -> tuple[ListedModel, ...]:
    """The models of a repository index.

    Args:
        entries: name, version, state and reason of each.
    """
    versions: dict[str, list[VersionStatus]] = {}
    for name, version, state, reason in entries:
        known = versions.setdefault(name, [])
        number = number_of(version)
        if number is None and not state:  # a model without a version
            continue
        is_over = state == "UNAVAILABLE" and reason and reason != "unloaded"
        known.append(
            VersionStatus(
                number or 0,
                _STATES.get(state, "UNKNOWN"),
                Unavailable(reason) if is_over else None,
            )
        )
    return tuple([ListedModel(of, ModelStatus(of, tuple(all)), {}) for of, all in versions.items()])


def status_of(which: Which, models: Iterable[ListedModel]) -> ModelStatus:
    """Where a model stands, or one version of it.

    Raises:
        NotFound: it is not in the index.
    """
    for model in models:
        if model.name == which.name:
            found = model.status.versions
            if which.version is not None:
                found = tuple([of for of in found if of.version == which.version])
            if found or which.version is None:
                return ModelStatus(which.name, found)
    said = f"Request for unknown model: '{which.name}'"
    if which.version is not None:
        said += f" version {which.version}"
    raise NotFound(f"{said} is not found")


def up_status(which: Which) -> ModelStatus:
    """Of a model that says that it is ready."""
    return ModelStatus(which.name, (VersionStatus(which.version or 0, "AVAILABLE"),))


def own_array(name: str, datatype: Any, shape: Any, raw: Bytes) -> Array:
    """An output of raw bytes, which the caller may write to.

    Raises:
        Internal: they are not what datatype and shape say.
    """
    dtype = dtype_of_name(str(datatype))
    if dtype is None:
        raise Internal(f"The answer has an output of datatype {datatype!r}")
    try:
        array = array_of_raw(dtype, checked_shape(shape, name), raw, name)
    except InvalidArgument as error:
        raise Internal(f"The answer is no tensor: {error.message}") from error
    return array if array.flags.writeable else array.copy()


def classes_of(array: Array) -> list[list[ScoredClass]]:
    """The classes of the strings `score:index:label`, the best first; one list for each row.

    A class without a label is called by its index.

    Raises:
        Internal: the strings are others.
    """
    rows = array.reshape(1, -1) if array.ndim < 2 else array.reshape(len(array), -1)
    return [[_class(text) for text in row] for row in rows.tolist()]


def _class(text: Any) -> ScoredClass:
    try:
        score, index, *label = bytes(text).decode(errors="replace").split(":", 2)
        return ScoredClass(label[0] if label else index, float(score))
    except (TypeError, ValueError):
        raise Internal(f"The answer has no class: {text!r}") from None


def values_of(array: Array) -> Array:
    """One value for each row.

    Raises:
        Internal: there are others.
    """
    if array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16":
        raise Internal(f"The answer has no values, but elements of type {array.dtype}")
    flat = array.reshape(-1)
    if array.ndim and flat.size != len(array):
        raise Internal(f"The answer has {flat.size} values for {len(array)} rows")
    return flat.astype(np.float32)
