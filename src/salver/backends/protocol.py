"""What a backend is: all that the rest of Salver knows of one.

A backend is a class that can be made without arguments and subclasses `Backend`. Those that come
with Salver stand in a table of `registry`; others are found by the entry-point group
`salver.backends`. The module of one is imported before it is known whether it is needed, so it
imports its library in `prepare` and `load`, not at its head.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from salver.errors import ServingError
from salver.instruments.files import open_regular
from salver.vocabulary.servable import ServableId

if TYPE_CHECKING:  # these bring numpy, for which the opening of a library must not wait
    from salver.vocabulary.model import Model, ModelInfo
    from salver.vocabulary.requests import Array

__all__ = [
    "Backend",
    "CancellableModel",
    "Capabilities",
    "Listing",
    "LoadStage",
    "Match",
    "Variant",
]

_HEAD_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """How the models of a backend may be run. The defaults suit any function.

    Attributes:
        may_run_inline: runs that are known to be short may be made in the event loop.
        keeps_gil: a run keeps other Python threads from running: so that two of one model cannot
            compute side by side, and there is one at a time.
        parallel_runs: a model may be run by several threads at once. If not, there is one run at a
            time, and none in the event loop.
        batches_itself: the server merges no requests to it, whatever the flags say.
        can_cancel: its models are `CancellableModel`s.
        needs_process: its models run in a process of their own, whatever the configuration says.
    """

    may_run_inline: bool = False
    keeps_gil: bool = False
    parallel_runs: bool = True
    batches_itself: bool = False
    can_cancel: bool = False
    needs_process: bool = False


@dataclass(frozen=True, slots=True)
class Listing:
    """What stands directly in a version directory: enough to tell whose files they are.

    Attributes:
        path: the directory.
        files: name → bytes, of regular files. Links count as what they lead to.
    """

    path: Path
    files: Mapping[str, int]

    @classmethod
    def of(cls, path: str | Path) -> "Listing":
        """List a directory, or a file by itself; empty where there is neither, or no permission."""
        where = Path(path)
        found: dict[str, int] = {}
        try:
            if where.is_file():
                return cls(where.parent, {where.name: where.stat().st_size})
            with os.scandir(where) as entries:
                for entry in entries:
                    if entry.is_file():
                        found[entry.name] = entry.stat().st_size
        except OSError:
            found = {}
        return cls(where, dict(sorted(found.items())))

    def one(self, name: str, *endings: str) -> str | None:
        """The file of that name; where it is not there, the only one with one of the endings."""
        if name in self.files:
            return name
        found = [each for each in self.files if each.endswith(endings)]
        return found[0] if len(found) == 1 else None

    def head(self, name: str, size: int = _HEAD_BYTES) -> bytes:
        """How a file begins; empty where it cannot be read."""
        try:
            with open_regular(self.path / name) as file:
                return file.read(size)
        except (OSError, ServingError):  # it is a pipe, say
            return b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """The files of a version that a backend serves.

    Attributes:
        files: their names.
        stored_as: what a single file is called in a version directory; empty for its own name.
        rank: where files of several backends that have one stand together, the lowest is served.
            A backend without shares a directory with no other.
        instead: how to have these files served where others go before: "serve …".
        problem: why they cannot be served as they are, though they are this backend's.
        runs_code: what of them is code that a load or a run executes, such as `a Python model`;
            empty where they are data. Code is loaded from trusted paths alone.
        needs_pickle: whether the server must be told `--allow_pickle` as well.
    """

    files: Sequence[str]
    stored_as: str = ""
    rank: int | None = None
    instead: str = ""
    problem: str = ""
    runs_code: str = ""
    needs_pickle: bool = False


@dataclass(frozen=True, slots=True)
class Variant:
    """One of the models that the files of a version hold, for people.

    Attributes:
        heading: what tells it from others, such as `The file`.
        info: of the model that is served of it.
    """

    heading: str
    info: "ModelInfo"


def _say_nothing(_what: str, _part: float | None) -> None:
    """Tell nobody."""


_NOBODY = ServableId("", 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadStage:
    """What a load may ask, and has to tell.

    Attributes:
        id: what is loaded; nameless where nobody serves it.
        is_serving: whether anybody is served, behind whom the load should stand.
        progress: told what is being done, and which part of it is, from 0 to 1; None: not known.
        check: raises when the load has been given up. To be called between steps that take long.
        trusts: whether a file may be run as code, for code that is found only during the load, such
            as a library that an option names. By default nothing is trusted.
    """

    id: ServableId = _NOBODY
    is_serving: Callable[[], bool] = lambda: True
    progress: Callable[[str, float | None], None] = _say_nothing
    check: Callable[[], None] = lambda: None
    trusts: Callable[[Path], bool] = lambda _path: False


class Backend(Protocol):
    """Loads models of a kind. Thread-safe. Methods with a body here need not be written again.

    Attributes:
        name: by which `model_platform` names it, and its flags begin.
        title: what people call its files, such as `SavedModel`.
        options: a dataclass whose fields are made by `options.option`.
        capabilities: of its models.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    options: ClassVar[type[Any]]
    capabilities: ClassVar[Capabilities]

    def detect(self, listing: Listing, options: Any) -> Match | None:
        """Which files of a version it serves; None for none. Opens no library.

        Args:
            listing: of a version directory, or of one file.
            options: an instance of `self.options`; everywhere below, too.
        """
        ...

    def require(self) -> None:
        """See, without opening it, that the library is installed.

        Raises:
            NotInstalled: the text says what to install.
        """
        return

    def prepare(self) -> None:
        """Open the library before the first load; in a thread, while the server starts.

        Raises:
            ServingError: which the first load will raise again.
        """
        return

    def inspect(self, directory: Path, options: Any) -> "ModelInfo | None":
        """Look at a version without loading it: cheap, and without the library.

        Returns:
            None where only a load tells.

        Raises:
            ServingError: it will not load; as `load`, as far as can be seen.
        """
        return None

    def describe(self, directory: Path, options: Any) -> Sequence[Variant]:
        """What people are told of a version; may take seconds. Empty where only a load tells.

        Raises:
            ServingError: it cannot be read.
        """
        info = self.inspect(directory, options)
        return () if info is None else [Variant("The model", info)]

    def load(self, directory: Path, options: Any, stage: LoadStage) -> "Model":
        """Load one version.

        Raises:
            ServingError: whatever keeps it from being loaded.
        """
        ...

    def stop(self) -> None:
        """Give up what is done before loads, now and for ever. Loads in it raise Unavailable."""
        return


class CancellableModel(Protocol):
    """A model whose runs can be ended."""

    def cancel(self, feeds: "Sequence[Array]") -> None:
        """End the run that was given these very feeds, if it is under way: nobody waits for it.

        Called in the event loop; returns at once. The run raises whatever it likes.
        """
        ...
