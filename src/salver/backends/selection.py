"""Which backend serves a version: the one that its model names, or the one that knows its files."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from salver.backends.foreign_formats import advice_on, foreign_files
from salver.backends.options import fill, pick
from salver.backends.protocol import Backend, Listing, LoadStage, Match
from salver.backends.registry import Backends
from salver.errors import FailedPrecondition, InvalidArgument, NotFound, NotInstalled, ServingError

if TYPE_CHECKING:
    from salver.vocabulary.model import Model, ModelInfo

__all__ = ["BY_FILES", "Load", "Selected", "Selector", "prepare"]

_log = logging.getLogger(__name__)

BY_FILES: Final = "tensorflow"
"""The platform that leaves the choice to what a version directory holds."""

_ALONE: Final = LoadStage()

Load = Callable[[Path, Any, LoadStage], "Model"]
"""See `Backend.load`."""


@dataclass(frozen=True, slots=True)
class Selected:
    """A version, or a file of a model, and the backend that serves it.

    Attributes:
        backend: that one.
        options: for it.
        path: of the version directory.
        match: the files; None where the backend was named, and knows none of them.
        others: what else could be served of the same directory, if it were asked for.
    """

    backend: Backend
    options: Any
    path: Path
    match: Match | None
    others: tuple["Selected", ...] = ()

    @property
    def file(self) -> Path | None:
        """The one file that is the model; None where it is several, or a directory."""
        files = () if self.match is None else self.match.files
        return self.path / files[0] if len(files) == 1 else None

    @property
    def shown(self) -> str:
        """What people call it: `TFLite model at PATH`."""
        return f"{self.backend.title} at {self.file or self.path}"

    def inspect(self) -> "ModelInfo | None":
        """See `Backend.inspect`; also whether what a load needs is installed."""
        try:
            self.backend.require()
        except NotInstalled as error:
            raise self._advised(error) from error
        return self.backend.inspect(self.path, self.options)

    def info(self) -> "ModelInfo | None":
        """The same, for who makes requests for it: needs no library, and takes the only variant.

        Raises:
            ServingError: it cannot be read, or nobody says which of several is served.
        """
        try:
            return self.backend.inspect(self.path, self.options)
        except NotFound:
            variants = self.backend.describe(self.path, self.options)
            if not variants:
                text = f"{self.path} holds no graph that could be warmed up"
                raise InvalidArgument(text) from None
            if len(variants) > 1:
                raise
            return variants[0].info

    def load(self, stage: LoadStage = _ALONE, load: "Load | None" = None) -> "Model":
        """See `Backend.load`.

        Args:
            stage: see there.
            load: loads it in place of the backend.
        """
        try:
            return (load or self.backend.load)(self.path, self.options, stage)
        except NotInstalled as error:
            raise self._advised(error) from error

    def _advised(self, error: NotInstalled) -> NotInstalled:
        """The same, and what could be served instead."""
        advice = [each.match.instead for each in self.others if each.match is not None]
        return NotInstalled(". Or ".join((error.message, *filter(None, advice))), hint=error.hint)


class Selector:
    """Chooses backends, and fills their options. Thread-safe."""

    def __init__(
        self, backends: Backends | None = None, settings: Mapping[str, object] | None = None
    ) -> None:
        """Choose nothing yet.

        Args:
            backends: those there are; new ones when None.
            settings: of the server, by the names of its flags; see `options.pick`.
        """
        self.backends = backends or Backends()
        self._settings = settings or {}

    def __call__(
        self,
        path: str | Path,
        platform: str = BY_FILES,
        own_options: Mapping[str, str] | None = None,
    ) -> Selected:
        """The backend of a version.

        Args:
            path: of its directory.
            platform: a backend; any other name leaves the choice to the files.
            own_options: of the model: field → text.

        Raises:
            NotFound: no backend serves what is there, in the words for a SavedModel.
            FailedPrecondition: files of several are there, or the one cannot be used.
            InvalidArgument: the options are wrong.
        """
        listing = Listing.of(path)
        if platform != BY_FILES and platform in self.backends:
            backend = self.backends[platform]
            options = self.options(backend, own_options)
            match = backend.detect(listing, options)
            return _usable(Selected(backend, options, listing.path, match))
        found = self.found(path)
        if not found:
            self._refuse(Path(path))
        first = _usable(_first(found))
        if not own_options:
            return first
        return replace(first, options=self.options(first.backend, own_options))

    def found(self, path: str | Path) -> list[Selected]:
        """All that serve what stands at a path. Other packages are asked where none of ours does.

        Args:
            path: of a version directory, or of one file.
        """
        return self.found_in(Listing.of(path))

    def found_in(self, listing: Listing) -> list[Selected]:
        """The same, of some files of a directory."""
        if not listing.files:
            return []
        asked = self.backends.built_in(listing.files)
        ours = [self._matching(backend, listing) for backend in asked]
        known = [each for each in ours if each is not None]
        if known:
            return known
        others = [self._guarded(backend, listing) for backend in self.backends.installed()]
        return [each for each in others if each is not None]

    def _matching(self, backend: Backend, listing: Listing) -> Selected | None:
        options = self.options(backend)
        match = backend.detect(listing, options)
        return None if match is None else Selected(backend, options, listing.path, match)

    def _guarded(self, backend: Backend, listing: Listing) -> Selected | None:
        try:
            return self._matching(backend, listing)
        except ServingError:
            raise
        except Exception:  # noqa: BLE001 - whatever another's package does
            _log.warning("The backend %s cannot tell files", backend.name, exc_info=True)
            return None

    def options(self, backend: Backend, own_options: Mapping[str, str] | None = None) -> Any:
        """What a backend is told of how its models are to be loaded.

        Raises:
            InvalidArgument: something is wrong in it.
        """
        given = pick(backend.name, backend.options, self._settings)
        return fill(backend.options, {**given, **(own_options or {})}, of=backend.name)

    def _refuse(self, path: Path) -> None:
        """Say, before a library is looked for, that there is nothing that any would load.

        Raises:
            ServingError: in the words for a SavedModel that is not there.
        """
        first = next(self.backends.built_in(), None)
        if first is None:
            raise _nothing_in(path)
        try:
            first.inspect(path, self.options(first))
        except NotFound as error:
            advice = [advice_on(path / name) for name in foreign_files(path)]
            error.hint = error.hint or next(iter(advice), None)
            raise
        # Its files came after they were listed; a next look will find them.
        raise _nothing_in(path)


def _nothing_in(path: Path) -> NotFound:
    return NotFound(f"{path} holds no model that any backend serves")


def _first(found: Sequence[Selected]) -> Selected:
    """The one that goes before the others.

    Raises:
        FailedPrecondition: none does.
    """
    if len(found) == 1:
        return found[0]
    matches = [(each, each.match) for each in found if each.match is not None]
    ranks = [match.rank for _, match in matches if match.rank is not None]
    if len(set(ranks)) < len(found):
        kinds = [f"{each.backend.title} ({', '.join(match.files)})" for each, match in matches]
        raise FailedPrecondition(
            f"{found[0].path} holds models of several backends: {', '.join(kinds)}",
            hint="Leave the one to be served, or say which: model_platform: "
            + " or ".join(f'"{each.backend.name}"' for each in found),
        )
    first = next(each for each, match in matches if match.rank == min(ranks))
    others = tuple(each for each in found if each is not first)
    return replace(first, others=others)


def _usable(selected: Selected) -> Selected:
    if selected.match is not None and selected.match.problem:
        raise FailedPrecondition(selected.match.problem)
    return selected


# -- at start-up -----------------------------------------------------------------------------------


_NOBODY: Final[Sequence[tuple[str, str]]] = (("", ""),)


def prepare(
    models: Sequence[tuple[str, str]], settings: Mapping[str, object] | None = None
) -> threading.Thread:
    """Begin to open the libraries of models in a thread, while the rest of the server is imported.

    Opening TensorFlow takes 0.13 s and importing the server 0.12 s: one after the other, the first
    prediction came at 1.7 of a bare process's time, side by side at 1.4. What goes wrong is said by
    the first load, which tries again.

    Args:
        models: platform and base path of each, as far as they are known: what only they need is
            opened.
        settings: see `Selector`. Where its `isolation` is `process`, `models` are those that run
            here all the same.
    """
    if (settings or {}).get("isolation") == "process" and not models:
        models = _NOBODY  # what runs elsewhere opens its library there
    thread = threading.Thread(
        target=_prepare, args=(models, settings), name="salver-prepare", daemon=True
    )
    thread.start()
    return thread


def _prepare(models: Sequence[tuple[str, str]], settings: Mapping[str, object] | None) -> None:
    if models is _NOBODY:
        return
    select = Selector(settings=settings)
    wanted = {found.name: found for model in models for found in _wanted(select, *model)}
    for backend in wanted.values() or [next(select.backends.built_in())]:
        try:
            if not backend.capabilities.needs_process:
                backend.prepare()
        except ServingError:  # noqa: PERF203 - there are a few
            continue


def _wanted(select: Selector, platform: str, base_path: str) -> list[Backend]:
    try:
        if platform not in ("", BY_FILES) and platform in select.backends:
            return [select.backends[platform]]
        return [select(version).backend for version in _versions(Path(base_path))]
    except ServingError:
        return []


def _versions(base_path: Path) -> list[Path]:
    try:
        return [child for child in base_path.iterdir() if child.name.isdecimal()] or [base_path]
    except OSError:
        return []
