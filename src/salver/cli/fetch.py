"""`salver fetch`: versions into the model cache before a server needs them, as for an image."""

import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Final, TextIO

from salver.cli.backend_flags import find_backend_flag
from salver.cli.commands import Misused
from salver.cli.fetch_bar import fetch_bar
from salver.cli.models_below import models_below
from salver.cli.serve import SERVE_DEFAULTS
from salver.config.flags import Parsed, nearest_flag, parse
from salver.config.options import ServerOptions
from salver.errors import NotFound, ServingError, Unimplemented
from salver.instruments.amounts import Rate
from salver.instruments.cache import Cache
from salver.instruments.files import local_path, scheme_of
from salver.sources.fetching import fetch_version, is_kept
from salver.sources.protocol import MonitoredServable, Source, Version
from salver.sources.settings import SourceSettings
from salver.sources.table import make_source
from salver.sources.verification import Verification
from salver.sources.versions import parse_version
from salver.vocabulary.servable import Latest, Specific, VersionPolicy

__all__ = ["fetch_command"]

_HELP: Final = """\
usage: salver fetch URI ... [--model_cache=DIR] [--remote_config_file=FILE] [--flag=value ...]

Fetch versions of models into the model cache: the newest of a base path, s3://bucket/models/digits,
or the one that is named, s3://bucket/models/digits/3; of a path of several models, s3://bucket/models,
the newest of each. A server with the same cache then fetches
them no more, and serves them, as stale, where it does not reach the store.

Flags of salver serve that concern stores and the cache hold here too: --require_manifest,
--manifest_public_key_file, --fetch_bandwidth_bytes_per_second, --model_cache_max_bytes.
"""
_HELP_WORDS: Final = frozenset({"--help", "-h", "help"})
_PAUSE_S: Final = 1.0
_ROUNDS: Final = 3  # of polls that find nothing, once the files had time to settle


def fetch_command(arguments: Sequence[str]) -> int:
    """Run `salver fetch ARGUMENTS`; returns its exit status.

    Raises:
        Misused: the arguments make no sense.
        ServingError: a version cannot be found or fetched.
    """
    parsed = parse(arguments, SERVE_DEFAULTS, find_backend_flag)
    if _HELP_WORDS & set(parsed.leftovers):
        print(_HELP, end="")
        return 0
    _check(parsed)
    fetching = _Fetching(parsed.options)
    for uri in parsed.leftovers:
        for base_path in models_below(uri, parsed.options).values() or [uri]:
            fetching.fetch(base_path)
    return 0


def _check(parsed: Parsed) -> None:
    if parsed.bad:
        raise Misused(" ".join(map(str, parsed.bad)))
    for argument in parsed.leftovers:
        if argument.startswith("-"):
            meant = nearest_flag(argument)
            advice = f"did you mean {meant}?" if meant else "see salver fetch --help"
            raise Misused(f"there is no flag {argument}: {advice}")
        if not scheme_of(argument):
            raise Misused(f"{argument} is on this machine, and needs no fetching")
    if not parsed.leftovers:
        raise Misused("what? usage: salver fetch URI ...")


class _Fetching:
    """Fetches one after the other."""

    def __init__(self, options: ServerOptions) -> None:
        self._cache = Cache(options.conversion_cache, max_bytes=options.conversion_cache_max_bytes)
        self._verification = Verification.of(
            is_required=options.require_manifest,
            public_key_file=options.manifest_public_key_file,
        )
        self._settings = SourceSettings(
            settle_s=options.remote_settle_seconds,
            timeout_s=options.remote_timeout_seconds,
            poll_wait_s=_PAUSE_S,
            bytes_per_second=options.fetch_bandwidth_bytes_per_second,
            config_file=options.remote_config_file,
            is_kept=lambda number, version: is_kept(number, version, self._cache),
        )
        self._sources: dict[str, Source] = {}

    def fetch(self, uri: str) -> None:
        if scheme_of(uri) not in ("http", "https"):  # where a slash at the end means an index
            uri = uri.rstrip("/")
        source = self._source(uri)
        base_path, number, version = self._found(source, uri)
        fetcher = source.fetcher
        assert fetcher is not None, "whose versions are elsewhere"
        stage = _Stage(version)
        try:
            held = fetch_version(
                *(number, version, fetcher, self._cache, stage, self._verification),
                base_path=base_path,
            )
        finally:
            stage.clear()
        held.close()
        how = f"in {stage.seconds:.1f} s" if stage.done_bytes else "kept already"
        print(f"{version.location}: {how}: {held.directory}", flush=True)

    def _source(self, uri: str) -> Source:
        scheme = scheme_of(uri)
        if scheme not in self._sources:
            source = make_source(scheme, self._settings)
            if source is None:
                local_path(uri)
                raise Unimplemented(f"Nothing here fetches {uri}")
            self._sources[scheme] = source
        return self._sources[scheme]

    def _found(self, source: Source, uri: str) -> tuple[str, int, Version]:
        """The version that a URI means: of its own, or the newest below it.

        Raises:
            NotFound: there is none.
            ServingError: the store cannot be asked.
        """
        above, _, last = uri.rpartition("/")
        number = parse_version(last)
        if number is not None and above.count("/") > 2:
            found = self._poll(source, above, Specific((number,)))
            if number in found:
                return above, number, found[number]
        found = self._poll(source, uri, Latest())
        if not found:
            raise NotFound(f"There is no version of a model at {uri}")
        return uri, max(found), found[max(found)]

    def _poll(self, source: Source, base_path: str, policy: VersionPolicy) -> Mapping[int, Version]:
        """What is found once its files have had time to settle."""
        servables = (MonitoredServable(base_path.rpartition("/")[2], base_path, policy),)
        until_s = time.monotonic() + self._settings.settle_s + _ROUNDS * _PAUSE_S
        waiting = threading.Event()
        while True:
            for _, found in source.find(servables):
                if isinstance(found, ServingError):
                    raise found
                if found:
                    return found
            if time.monotonic() >= until_s:
                return {}
            waiting.wait(_PAUSE_S)


class _Stage:
    """How far a fetch is, on a line at a terminal. A `Stage`."""

    def __init__(self, version: Version, stream: TextIO | None = None) -> None:
        self._bar = fetch_bar(stream or sys.stderr)
        self._total_bytes = 0 if version.files is None else version.files.size_bytes
        self._begun_s = time.monotonic()
        self._rate = Rate(time.monotonic)
        self.done_bytes = 0

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._begun_s

    def check(self) -> None:
        """See `Stage`: a person stops it by a signal."""

    def progress(self, done_bytes: int) -> None:
        """See `Stage`."""
        self.done_bytes = done_bytes
        if self._bar.is_due:
            self._rate.count(done_bytes)
            words = self._rate.description(done_bytes, self._total_bytes)
            self._bar.show(done_bytes, self._total_bytes, words)

    def wait(self, seconds: float) -> None:
        """See `Stage`."""
        threading.Event().wait(seconds)

    def clear(self) -> None:
        """Take the bar away."""
        self._bar.clear()
