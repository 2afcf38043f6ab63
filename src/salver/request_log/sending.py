"""What it is to send a call of a log again, and to whom."""

from dataclasses import dataclass
from typing import Protocol

from salver.codecs.protobuf.model_spec import ModelSpec
from salver.request_log.answers import Answer
from salver.request_log.reading import LoggedRecord

__all__ = ["Redirection", "Sender"]


@dataclass(frozen=True, slots=True)
class Redirection:
    """Which servable is asked instead of the one in the log; what is None stays.

    Attributes:
        version: if it or `label` is given, both of the log's are gone.
    """

    model: str | None = None
    version: int | None = None
    label: str | None = None
    signature: str | None = None

    def of(self, spec: ModelSpec) -> ModelSpec:
        """What is asked."""
        version, label = spec.version, spec.label
        if self.version is not None or self.label is not None:
            version, label = self.version, self.label
        signature = spec.signature_name if self.signature is None else self.signature
        return ModelSpec(self.model or spec.name, version, label, signature)


class Sender(Protocol):
    """Asks one server. Safe to use from any thread."""

    def __call__(self, record: LoggedRecord) -> Answer:
        """Send a call and wait for its answer.

        Raises:
            ServingError: what the server says, or that it does not.
        """
        ...

    def close(self) -> None:
        """Give the connections back."""
        ...
