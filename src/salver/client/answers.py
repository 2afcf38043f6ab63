"""What a client's calls return, beside arrays."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from salver.errors import ServingError
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import Signature

__all__ = [
    "ListedModel",
    "ModelMetadata",
    "ModelStatus",
    "Outputs",
    "ScoredClass",
    "VersionStatus",
]


class Outputs(dict[str, Array]):
    """Output alias → array, and which version computed them.

    Attributes:
        version: None where the server does not say, as TensorFlow Serving's REST API.
    """

    def __init__(self, arrays: Mapping[str, Array], version: int | None) -> None:
        super().__init__(arrays)
        self.version = version


class ScoredClass(NamedTuple):
    """One class of a classification, with its score; the label is empty where there is none."""

    label: str
    score: float


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """Where one version stands.

    Attributes:
        version: its number.
        state: `START`, `LOADING`, `AVAILABLE`, `UNLOADING`, `END` or `UNKNOWN`.
        error: why it failed; None where it did not.
    """

    version: int
    state: str
    error: ServingError | None = None

    @property
    def is_available(self) -> bool:
        """Whether it answers requests."""
        return self.state == "AVAILABLE"


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """Every version of a model that the server knows, as the server orders them."""

    name: str
    versions: tuple[VersionStatus, ...]

    @property
    def available(self) -> tuple[int, ...]:
        """The versions that answer requests, newest first."""
        return tuple(sorted((of.version for of in self.versions if of.is_available), reverse=True))


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A model in the list of all; `labels` maps each label to its version."""

    name: str
    status: ModelStatus
    labels: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """What one version takes and gives: signature name → signature.

    By the Open Inference Protocol it is the default signature alone, and the version is 0 where the
    server does not say it.
    """

    name: str
    version: int
    signatures: Mapping[str, Signature]
