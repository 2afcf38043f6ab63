"""What the APIs ask of the models of a server."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from salver.inference.servable import Servable
from salver.lifecycle.monitor import VersionStatus
from salver.lifecycle.placeholders import NotLoaded
from salver.vocabulary.model import ModelInfo
from salver.vocabulary.requests import ServableRequest
from salver.vocabulary.servable import ServableId

__all__ = ["Handle", "Serving", "info_of"]


class Handle(Protocol):
    """One version, pinned until it is released once, from any thread."""

    @property
    def id(self) -> ServableId: ...

    @property
    def model(self) -> Servable: ...

    def release(self) -> None:
        """Let the version go."""
        ...


class Serving(Protocol):
    """Finds servables and tells of them. Never blocks."""

    def acquire(self, request: ServableRequest) -> Handle:
        """Pin the version a request wants.

        Raises:
            NotFound: it is not available.
            InvalidArgument: the label is not known.
        """
        ...

    def statuses(self, name: str, version: int | None = None) -> Sequence[VersionStatus]:
        """The versions of a model that were ever seen, highest first.

        Raises:
            NotFound: none was.
        """
        ...

    def model_names(self) -> Sequence[str]:
        """The models that are configured, in the order of the configuration."""
        ...

    def labels(self, name: str) -> Mapping[str, int]:
        """Label → version of one model."""
        ...

    def problem(self, name: str) -> str | None:
        """What keeps a model from having an available version, as far as that is known."""
        ...


def info_of(serving: Serving, request: ServableRequest) -> tuple[ServableId, ModelInfo]:
    """Which version answers a request, and what it is, for which it need not be in memory.

    Raises:
        NotLoaded: it is not in memory, and only there they could be known.
        ServingError: see `Serving.acquire`.
    """
    try:
        handle = serving.acquire(request)
    except NotLoaded as error:
        if error.info is None:
            raise
        return error.id, error.info
    try:
        return handle.id, handle.model.report()
    finally:
        handle.release()
