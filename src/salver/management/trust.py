"""Which versions may be code: those below paths that whoever started the server trusts.

What is compared are whole components of real paths: no `..`, no link and no name that only begins
alike leads out of a trusted path. A version that was fetched is judged by its URI, and one that was
copied by the directory it stands in, never by where its copy is; and what is in the cache of
fetched versions is trusted by no path.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from salver.backends.protocol import Match
from salver.backends.selection import Selected
from salver.config.options import ServerOptions
from salver.errors import FailedPrecondition, NotFound, ServingError
from salver.instruments.cache import default_directory
from salver.instruments.files import local_path, scheme_of
from salver.instruments.uris import CanonicalUri, canonical_uri
from salver.sources.versions import parse_version

__all__ = ["Trust"]


@dataclass(frozen=True, slots=True)
class Trust:
    """What is trusted.

    Attributes:
        paths: of this machine: of directories, and of all below them; or of files.
        uris: of directories elsewhere, likewise.
        cache: where fetched versions are kept; empty where they cannot be.
        is_pickle_allowed: whether `--allow_pickle` is given.
    """

    paths: Sequence[str] = ()
    uris: Sequence[str] = ()
    cache: str = ""
    is_pickle_allowed: bool = False

    @classmethod
    def of(cls, options: ServerOptions) -> "Trust":
        """What the flags and the arguments say."""
        named = [text.strip() for text in options.trusted_model_paths.split(",")]
        given = [text for text in named if text]
        local = [local_path(text) for text in given if not scheme_of(text)]
        return cls(
            (*local, *options.typed_paths),
            [text for text in given if scheme_of(text)],
            _cache_of(options),
            options.allow_pickle,
        )

    def trusts(self, path: str | Path) -> bool:
        """Whether what is really at a path of this machine may be code."""
        real = os.path.realpath(path)
        if self.cache and _is_within(real, os.path.realpath(self.cache)):
            return False
        return any(_is_within(real, os.path.realpath(trusted)) for trusted in self.paths)

    def trusts_uri(self, uri: str) -> bool:
        """Whether what was fetched from a URI, or copied from a directory, may be code."""
        if not scheme_of(uri):
            return self.trusts(uri)
        place = canonical_uri(uri)
        return place.is_definite and any(
            place.is_within(trusted) or _is_of_repository(place, trusted)
            for trusted in map(canonical_uri, self.uris)
        )

    def trusts_in(self, directory: Path, origin: str, path: Path) -> bool:
        """Whether a file may be code that a load has come upon; see `LoadStage.trusts`.

        Args:
            directory: of the version.
            origin: see `LoadSettings`.
            path: of the file.
        """
        if origin and _is_within(os.path.realpath(path), os.path.realpath(directory)):
            return self.trusts_uri(origin)
        return self.trusts(path)

    def checked(self, selected: Selected, origin: str) -> Selected:
        """The same version, if it may be loaded.

        Code is given by its real path: a link that is changed after this has no effect.

        Args:
            selected: a version directory.
            origin: see `LoadSettings`.

        Raises:
            FailedPrecondition: it is code, and is not trusted; or a pickle, and those are not
                allowed.
            NotFound: only its backend was named, which runs code, and nothing is there.
        """
        match = selected.match
        if match is None:
            if selected.backend.capabilities.needs_process:
                raise _final(NotFound(f"There is no {selected.backend.title} at {selected.path}"))
            return selected
        if not match.runs_code and not match.needs_pickle:
            return selected
        real = Path(os.path.realpath(selected.path))
        kind = match.runs_code or "a pickle"
        where = self._distrusted(real, match.files, origin)
        lacks_pickle = match.needs_pickle and not self.is_pickle_allowed
        if where is not None:
            also = " and --allow_pickle" if lacks_pickle else ""
            raise _final(_untrusted(selected, match, kind, where, also))
        if lacks_pickle:
            raise _final(
                FailedPrecondition(
                    f"{_shown(selected, match)} is {kind}, which can run any code when it is "
                    "loaded, and pickles are not allowed (--allow_pickle)",
                    hint="Start the server with --allow_pickle",
                )
            )
        return replace(selected, path=real)

    def _distrusted(self, real: Path, files: Iterable[str], origin: str) -> str | None:
        """What would have to be trusted for that; None where all is.

        A link in a trusted directory that leads out of it is not trusted: who may write where it
        leads may be anybody.
        """
        if origin:
            return None if self.trusts_uri(origin) else _base_of(origin.rstrip("/"))
        if not self.trusts(real):
            return _base_of(str(real))
        outside = (file for file in files if not self.trusts(real / file))
        return next((os.path.realpath(real / file) for file in outside), None)


def _base_of(version: str) -> str:
    """The base path of a version, which may be the version itself; of `3.tar.gz`, its directory."""
    base, _, name = version.rpartition("/")
    return version if parse_version(name.partition(".")[0]) is None else base


def _untrusted(
    selected: Selected, match: Match, kind: str, where: str, also: str
) -> FailedPrecondition:
    return FailedPrecondition(
        f"{_shown(selected, match)} is {kind}, which would run as the server's user, and "
        f"{where} is not trusted (--trusted_model_paths)",
        hint=f"If it is: start the server with --trusted_model_paths={where}{also}",
    )


def _shown(selected: Selected, match: Match) -> str:
    return str(selected.path / match.files[0]) if match.files else str(selected.path)


def _final(error: ServingError) -> ServingError:
    error.is_final = True
    return error


def _is_within(path: str, directory: str) -> bool:
    return _begins(Path(path).parts, Path(directory).parts)


def _begins(parts: Sequence[str], beginning: Sequence[str]) -> bool:
    return tuple(parts[: len(beginning)]) == tuple(beginning)


def _is_of_repository(uri: CanonicalUri, trusted: CanonicalUri) -> bool:
    """Whether a URI is of a repository of a hub that is trusted in every revision."""
    if uri.scheme != "hf" or any("@" in part for part in trusted.parts):
        return False
    owner, *rest = uri.parts
    repository = rest[0].partition("@")[0] if rest else ""
    return replace(uri, parts=(owner, repository, *rest[1:])).is_within(trusted)


def _cache_of(options: ServerOptions) -> str:
    try:
        return options.conversion_cache or str(default_directory())
    except FailedPrecondition:
        return ""
