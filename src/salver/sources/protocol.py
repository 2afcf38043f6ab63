"""What a source of models is: a plug-in that says which versions there are, and fetches them.

A source is chosen by the scheme of a base path; see `table`. `docs/sources.md` shows how to write
one.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from salver.errors import InvalidArgument, ServingError
from salver.instruments.files import Footprint
from salver.sources import versions
from salver.vocabulary.servable import VersionPolicy

__all__ = [
    "Aspire",
    "Fetcher",
    "Found",
    "MonitoredServable",
    "Source",
    "Stage",
    "Version",
    "select",
    "within",
]

_logger = logging.getLogger(__name__)

Aspire = Callable[[str, Mapping[int, str]], None]
"""Told which versions of a name to serve, version → location. Returns at once."""


def _never(_directory: str) -> bool:
    return False


def _silent(_base_path: str) -> VersionPolicy | None:
    return None


@dataclass(frozen=True, slots=True)
class MonitoredServable:
    """One model to look for.

    Attributes:
        name: the servable stream.
        base_path: an absolute path, or a URI.
        policy: which of the versions there to serve.
        is_version: whether a directory is a version by itself. A base path that is, and has no
            versions, is version 1.
        policy_in: which versions its base path, on this machine, wants served by itself; None where
            it does not say.
    """

    name: str
    base_path: str
    policy: VersionPolicy
    is_version: Callable[[str], bool] = field(default=_never, compare=False)
    policy_in: Callable[[str], VersionPolicy | None] = _silent

    @property
    def is_policy_beside(self) -> bool:
        """Whether `policy_in` may say anything."""
        return self.policy_in is not _silent


@dataclass(frozen=True, slots=True)
class Version:
    """One version, as a source lists it.

    Attributes:
        location: where it is: a directory on this machine, or what the source's fetcher knows it
            by. A URI of the source's scheme then, which no other version has.
        files: how its files look in the listing, so that limits are kept before anything is
            fetched, and a version that failed is tried again when they change. None of a directory
            on this machine, whose files are looked at there.
        revision: what else changes when the files do, such as a digest of their checksums; what
            was fetched of another revision is not used.
        beside: the same for what `Fetcher.beside` brings; empty where there is nothing.
    """

    location: str
    files: Footprint | None = None
    revision: str = ""
    beside: str = ""


Found = tuple[MonitoredServable, Mapping[int, Version] | ServingError]
"""A model, and its versions that its policy asks for, or why nobody can tell for now."""


class Stage(Protocol):
    """The fetch of one version, as far as a fetcher is concerned. Used in one thread.

    One may have a method `resumed(done_bytes)`, to be told how much was there already.
    """

    def check(self) -> None:
        """Go no further when the version is not wanted any more, or the server stops.

        Raises:
            ServingError: it is so.
        """
        ...

    def progress(self, done_bytes: int) -> None:
        """Tell how much there is so far. Costs nothing; raises as `check`."""
        ...

    def wait(self, seconds: float) -> None:
        """Let time pass, such as before another try. Raises as `check`, at once."""
        ...


class Fetcher(Protocol):
    """Makes versions present on this machine.

    One that compares each file with `SHA256SUMS` while it fetches may have an attribute
    `is_comparing` that is true: then they are not read a second time for that.

    One may have a method `beside(version, stage)` that returns small files, name → content, which
    belong beside the directory of a version, as the `config.pbtxt` of its model. Called after
    `fetch`, and raises as that.
    """

    @property
    def can_resume(self) -> bool:
        """Whether `fetch` goes on from what it has left in the directory when it failed before."""
        ...

    def fetch(self, version: Version, into: Path, stage: Stage) -> None:
        """Put the files of a version into a directory, which is there.

        Called from a thread of this source's own, several at once for different versions. What is
        there when this returns is the version; before that nobody looks at it. Files and
        directories alone; see `within` for names that others chose.

        Args:
            version: as it was listed last.
            into: empty, or as a fetch of the same revision has left it, see `can_resume`.
            stage: is told how it goes, and says when to stop.

        Raises:
            ServingError: it cannot be fetched. It is tried again, unless the error `is_final`.
            OSError: likewise.
        """
        ...


class Source(Protocol):
    """Knows which versions of models there are. Its methods are called from one thread.

    One may have a method `models_below(base_path, is_version)` that returns the models directly
    below a path which is none itself: name → base path. Sources that come with Salver do.
    """

    @property
    def poll_wait_s(self) -> float:
        """The pause between polls; 0 polls once for each configuration, less than 0 never."""
        ...

    @property
    def fetcher(self) -> Fetcher | None:
        """What fetches its versions; None where they are on this machine."""
        ...

    def find(self, servables: Sequence[MonitoredServable]) -> Iterable[Found]:
        """Look for the versions of all models of this source.

        Takes as long as it takes: each source has a thread of its own.

        Returns:
            What was found of which model. One that is not there, or of which an error is told,
            stays as it was.

        Raises:
            ServingError: nobody can tell of any model for now.
        """
        ...


def select(servable: MonitoredServable, names: Iterable[str]) -> Mapping[int, str]:
    """Which of the entries of its base path are the versions to serve: version → name.

    What is odd about them is logged in the reference's words.
    """
    selection = versions.select(servable.policy, servable.name, names)
    for warning in selection.warnings:
        _logger.warning("%s", warning)
    if selection.is_empty_by_mistake:
        _logger.warning(
            "No versions of servable %s found under base path %s. Did you forget to name your "
            "leaf directory as a number (eg. '/1/')?",
            servable.name,
            servable.base_path,
        )
    return selection.names


def within(directory: Path, name: str) -> Path:
    """The path of a file in a directory by a name that a stranger chose, as `variables/index`.

    Raises:
        InvalidArgument: the name leads out of the directory, or is none.
    """
    parts = name.split("/")
    if "\0" in name or "\\" in name or any(part in ("", ".", "..") for part in parts):
        raise InvalidArgument(f"{name!r} cannot be the name of a file of a model")
    return directory.joinpath(*parts)
