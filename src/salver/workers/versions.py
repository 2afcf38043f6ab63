"""The versions that workers are to have, as the `WorkerGroup` sees them, and under its lock."""

import enum
import itertools
from collections.abc import Iterable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from salver.config.model_options import LoadSettings
from salver.errors import Cancelled
from salver.vocabulary.servable import ServableId

__all__ = ["JointLoad", "Source", "Stage", "Version", "Versions"]

_MOST_MARKS: Final = 10_000  # that are remembered


class Stage(enum.Enum):
    """How far a version is."""

    LOADED = enum.auto()
    PUBLISHED = enum.auto()
    ISOLATED = enum.auto()  # published, and run by no worker
    WITHDRAWN = enum.auto()
    LOST = enum.auto()


@dataclass(frozen=True, slots=True)
class Source:
    """What a process needs to load a version; see `Load`."""

    settings: LoadSettings
    path: str
    mark: int = 0


@dataclass(slots=True)
class Version:
    """One version.

    Attributes:
        source: see there.
        stage: how far it is.
    """

    source: Source
    stage: Stage = Stage.LOADED

    @property
    def is_wanted(self) -> bool:
        """Whether a new worker needs it."""
        return self.stage in (Stage.LOADED, Stage.PUBLISHED)

    @property
    def answers(self) -> bool:
        """Whether requests for it are answered, wherever it is run."""
        return self.stage in (Stage.PUBLISHED, Stage.ISOLATED)


class JointLoad:
    """The load of a version by all workers. Safe to use from any thread.

    Attributes:
        id: the version.
        version: what workers need to load it.
        deaths: workers that died of it.
        end: done when it was given up.
    """

    def __init__(self, id: ServableId, version: Version) -> None:
        """Begin it."""
        self.id = id
        self.version = version
        self.deaths = 0
        self.end: Future[Any] = Future()

    @property
    def is_abandoned(self) -> bool:
        """Whether it was given up."""
        return self.end.done()

    def abandon(self) -> None:
        """Give it up."""
        with suppress(InvalidStateError):
            self.end.set_result(None)

    def check(self) -> None:
        """Go no further once it was given up.

        Raises:
            Cancelled: it was.
        """
        if self.is_abandoned:
            raise Cancelled(f"The load of {self.id} was given up")


class Versions(dict[ServableId, Version]):
    """All of them; and whose the marks are that were given."""

    def __init__(self) -> None:
        """Begin with none."""
        super().__init__()
        self._marks = itertools.count(1)
        self._marked: dict[int, ServableId] = {}

    def new(self, settings: LoadSettings, id: ServableId, path: str) -> Version:
        """A version with a mark of its own, which is not among them yet."""
        mark = next(self._marks)
        self._marked[mark] = id
        if len(self._marked) > _MOST_MARKS:
            del self._marked[next(iter(self._marked))]
        return Version(Source(settings, path, mark))

    def answer(self, id: ServableId) -> bool:
        """See `Version.answers`."""
        version = self.get(id)
        return version is not None and version.answers

    def answering(self, marks: Iterable[int]) -> frozenset[ServableId]:
        """Those that answer, of those with some marks."""
        return frozenset(filter(self.answer, self.marked(marks)))

    def marked(self, marks: Iterable[int]) -> frozenset[ServableId]:
        """Those with some marks, as far as that is remembered."""
        return frozenset(self._marked[mark] for mark in marks if mark in self._marked)
