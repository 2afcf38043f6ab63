"""What both wires of the Open Inference Protocol make of a caller's calls in the same way."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from salver.client.answers import ListedModel, ModelStatus, ScoredClass
from salver.client.exchange import Exchange, Which
from salver.client.features import Example
from salver.client.v2_forms import ALL_CLASSES, status_of
from salver.client.wire import Predicted, refused_examples
from salver.vocabulary.requests import Array

__all__ = ["V2Calls"]


class V2Calls(ABC):
    """The part of a `TensorWire` that is the same over REST and gRPC."""

    needs_signature = False
    is_of_tensors = True

    def predict(
        self,
        which: Which,
        signature: str,
        feeds: Mapping[str, Array],
        outputs: Sequence[str],
    ) -> Exchange[Predicted]:
        """See `Wire`.

        Raises:
            Unimplemented: the protocol has no datatype for an input.
        """
        return self._infer(which, signature, feeds, outputs, 0)

    def classes(
        self, which: Which, signature: str, feeds: Mapping[str, Array], output: str
    ) -> Exchange[Predicted]:
        """See `TensorWire`.

        Raises:
            Unimplemented: the protocol has no datatype for an input.
        """
        return self._infer(which, signature, feeds, (output,), ALL_CLASSES)

    def classify(
        self, which: Which, signature: str, examples: Sequence[Example]
    ) -> Exchange[list[list[ScoredClass]]]:
        """Always refused: this API has tensors; see `classes`."""
        raise refused_examples()

    def regress(self, which: Which, signature: str, examples: Sequence[Example]) -> Exchange[Array]:
        """Always refused, as `classify`."""
        raise refused_examples()

    def status(self, which: Which) -> Exchange[ModelStatus]:
        """See `Wire`; of the repository index."""
        index = self.models()
        return Exchange(
            index.path, index.body, lambda reply: status_of(which, index.read(reply)), index.headers
        )

    @abstractmethod
    def models(self) -> Exchange[tuple[ListedModel, ...]]:
        """See `Wire`."""

    @abstractmethod
    def _infer(
        self,
        which: Which,
        signature: str,
        feeds: Mapping[str, Array],
        outputs: Sequence[str],
        classes: int,
    ) -> Exchange[Predicted]:
        """Run a signature; of its outputs so many classes, or what they are where that is 0."""
