"""What a wire form can write and read: REST and gRPC behind one door. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from salver.client.answers import ListedModel, ModelMetadata, ModelStatus, ScoredClass
from salver.client.exchange import Exchange, Which
from salver.client.features import Example
from salver.dtypes import base_dtype
from salver.requests import Array
from salver.signature import Signature, TensorSpec

__all__ = ["SIGNATURE_DEF_MAP", "Predicted", "Wire", "signatures_of"]

SIGNATURE_DEF_MAP: Final = "tensorflow.serving.SignatureDefMap"


@dataclass(frozen=True, slots=True)
class Predicted:
    """The answer of a predict call.

    Attributes:
        version: that answered; None where the server does not say.
        arrays: reads the outputs by the signature of that version; raises `Internal` when they are
            not what it says.
    """

    version: int | None
    arrays: Callable[[Signature], Mapping[str, Array]]


class Wire(Protocol):
    """Makes the exchanges of one API."""

    @property
    def needs_signature(self) -> bool:
        """Whether outputs can be read only with the signature of the version that answered."""
        ...

    def predict(
        self, which: Which, signature: str, feeds: Mapping[str, Array], outputs: Sequence[str]
    ) -> Exchange[Predicted]:
        """Ask for outputs; for all where none is named. More may come back."""
        ...

    def classify(
        self, which: Which, signature: str, examples: Sequence[Example]
    ) -> Exchange[list[list[ScoredClass]]]:
        """Ask for the classes of examples."""
        ...

    def regress(self, which: Which, signature: str, examples: Sequence[Example]) -> Exchange[Array]:
        """Ask for the values of examples, shape (examples,), float32."""
        ...

    def status(self, which: Which) -> Exchange[ModelStatus]:
        """Ask where versions stand."""
        ...

    def metadata(self, which: Which) -> Exchange[ModelMetadata]:
        """Ask for signatures."""
        ...

    def models(self) -> Exchange[tuple[ListedModel, ...]]:
        """Ask for all models."""
        ...

    def ready(self) -> Exchange[bool]:
        """Ask whether the server wants requests."""
        ...


def signatures_of(signature_def_map: Any) -> dict[str, Signature]:
    """What a `tensorflow.serving.SignatureDefMap` of `salver._pb` says, sorted by name."""
    definitions = signature_def_map.signature_def
    return {name: _signature(definitions[name]) for name in sorted(definitions)}


def _signature(definition: Any) -> Signature:
    return Signature(
        inputs={alias: _spec(definition.inputs[alias]) for alias in sorted(definition.inputs)},
        outputs={alias: _spec(definition.outputs[alias]) for alias in sorted(definition.outputs)},
        method_name=definition.method_name,
        defaults={of: tensor.SerializeToString() for of, tensor in definition.defaults.items()},
    )


def _spec(info: Any) -> TensorSpec:
    shape = info.tensor_shape
    return TensorSpec(
        tensor_name=info.name,
        dtype=base_dtype(info.dtype),
        shape=None if shape.unknown_rank else tuple(dim.size for dim in shape.dim),
    )
