"""A serving map with one version in it: the one that is being loaded."""

from collections.abc import Mapping, Sequence
from typing import Final

from salver.inference.servable import Servable
from salver.lifecycle.handles import Entry
from salver.lifecycle.monitor import VersionStatus
from salver.vocabulary.requests import ServableRequest
from salver.vocabulary.servable import ServableId

__all__ = ["OneServable"]


class OneServable:
    """Answers every request with one version, whatever model, version or label it asks for.

    See `inference.serving.Serving`. Thread-safe.

    Attributes:
        entry: the version; to be withdrawn when no more requests come, so that whoever wants to
            close it learns when nothing runs in it any more.
    """

    __slots__ = ("entry",)

    def __init__(self, id: ServableId, servable: Servable) -> None:
        self.entry: Final = Entry(id, servable)

    def acquire(self, request: ServableRequest) -> Entry[Servable]:
        """Pin the version. Only before it is withdrawn."""
        is_pinned = self.entry.try_acquire()
        assert is_pinned, f"{self.entry.id} is not asked any more"
        return self.entry

    def statuses(self, name: str, version: int | None = None) -> Sequence[VersionStatus]:
        """None: the version is not there for anybody yet."""
        return ()

    def model_names(self) -> Sequence[str]:
        """The name of the version."""
        return (self.entry.id.name,)

    def problem(self, name: str) -> str | None:
        """None: it loads."""
        return None

    def labels(self, name: str) -> Mapping[str, int]:
        """None."""
        return {}
