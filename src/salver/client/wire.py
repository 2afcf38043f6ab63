"""What a wire form can write and read: REST and gRPC behind one interface. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from salver.client.answers import ListedModel, ModelMetadata, ModelStatus, ScoredClass
from salver.client.exchange import Exchange, Which
from salver.client.features import Example
from salver.errors import Unimplemented
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import Signature

__all__ = ["SIGNATURE_DEF_MAP", "Predicted", "TensorWire", "Wire", "refused_examples"]

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

    @property
    def is_of_tensors(self) -> bool:
        """Whether it is a `TensorWire`."""
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

    def is_up(self, which: Which) -> Exchange[ModelStatus]:
        """Ask whether a model answers: with the states of its versions, where they are told."""
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


class TensorWire(Wire, Protocol):
    """Makes the exchanges of an API that knows no examples, and tells of one signature alone.

    Of any other signature the inputs go as they are, and outputs say themselves what they are.
    """

    def classes(
        self, which: Which, signature: str, feeds: Mapping[str, Array], output: str
    ) -> Exchange[Predicted]:
        """Ask for all classes of an output: strings as `v2_forms.classes_of` reads them."""
        ...


def refused_examples() -> Unimplemented:
    """Why there is no call with examples."""
    return Unimplemented(
        "The Open Inference Protocol has no tensorflow.Example",
        hint='Give the inputs of the model, or use TensorFlow Serving\'s API: protocol="tfs"',
    )
