"""The source for archives behind web servers: `https://…/3.tar.gz`, or an index of such."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from salver.config.remote import RemoteStore, read_remote_config, store_for
from salver.errors import Aborted, FailedPrecondition, InvalidArgument, NotFound, ServingError
from salver.instruments.files import Footprint
from salver.instruments.uris import has_dots
from salver.remote.archives import is_archive, unpack
from salver.remote.bandwidth import Bandwidth
from salver.remote.http import HttpReader, Web, open_web
from salver.remote.parts import Parts, RemoteFile
from salver.remote.places import shown
from salver.remote.source import shared_bandwidth
from salver.remote.timetable import OneByOne, again
from salver.sources.protocol import Found, MonitoredServable, Stage, Version, select
from salver.sources.settings import SourceSettings
from salver.sources.versions import parse_version

__all__ = ["WebSource", "make"]

_ARCHIVE: Final = ".salver-archive"
_INDEX: Final = "index.json"
_MOST_INDEX_BYTES: Final = 1 << 20
_NUMBER: Final = re.compile(r"([0-9]+)\.(?:tar\.gz|tgz)")
_SAFE: Final = re.compile(r"[\w.\-~+=,@]+(?:/[\w.\-~+=,@]+)*")


def make(scheme: str, settings: SourceSettings) -> "WebSource":
    """The source for a scheme; see `sources.table`."""
    return WebSource(scheme, settings)


class WebSource:
    """A `Source` and its `Fetcher`."""

    can_resume: Final = True

    def __init__(
        self, scheme: str, settings: SourceSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Send nothing yet.

        Args:
            scheme: `http` or `https`.
            settings: see there.
            clock: seconds, monotonic.

        Raises:
            ServingError: the file that says how servers are reached is wrong.
        """
        self._scheme = scheme
        self._settings = settings
        self._stores = read_remote_config(settings.config_file) if settings.config_file else ()
        self._bandwidth: Bandwidth = shared_bandwidth(settings)
        self._models = OneByOne(self._look, settings, clock)
        self._opening = threading.Lock()  # guards what follows
        self._webs: dict[RemoteStore, Web] = {}

    @property
    def poll_wait_s(self) -> float:
        """See `Source`: until the next look is due."""
        return self._models.poll_wait_s

    @property
    def fetcher(self) -> "WebSource":
        """See `Source`."""
        return self

    def find(self, servables: Sequence[MonitoredServable]) -> Iterator[Found]:
        """See `Source.find`: of those that are due, and of others nothing."""
        return self._models.find(servables)

    def _web(self, url: str) -> Web:
        store = store_for(self._stores, url)
        with self._opening:
            if store not in self._webs:
                self._webs[store] = open_web(
                    store, self._settings, self._scheme, stores=self._stores
                )
            return self._webs[store]

    def close(self) -> None:
        """Close all connections."""
        with self._opening:
            for web in self._webs.values():
                web.close()
            self._webs.clear()

    # -- finding ---------------------------------------------------------------------------------

    def _look(self, servable: MonitoredServable) -> Mapping[int, Version]:
        base_path = servable.base_path
        _check_url(base_path)
        if base_path.endswith("/"):
            urls = self._index(base_path)
        else:
            urls = {_number(base_path): base_path}
        chosen = select(servable, {str(number) for number in urls})
        return {number: self._version(urls[number]) for number in chosen}

    def models_below(self, base_path: str, _is_version: Callable[[str], bool]) -> Mapping[str, str]:
        """See `Source`: what an index says, `{"models": {"digits": "digits/"}}`."""
        if not base_path.endswith("/"):
            return {}
        _check_url(base_path)
        url = base_path + _INDEX
        content = self._web(url).read_small(url, _MOST_INDEX_BYTES)
        try:
            models = dict(json.loads(content).get("models", {}).items())
        except (ValueError, TypeError, AttributeError, RecursionError):
            raise FailedPrecondition(
                f'{shown(url)} is no index: {{"models": {{"digits": "digits/"}}}} is one'
            ) from None
        for path in models.values():
            if not isinstance(path, str) or not _is_safe(path.removesuffix("/")):
                raise InvalidArgument(
                    f"{shown(url)} names {str(path)[:100]!r}, which is no model below it"
                )
        return {name: base_path + path for name, path in models.items()}

    def _index(self, base_path: str) -> dict[int, str]:
        """Version → URL, as the index below a base path has it.

        Raises:
            ServingError: there is no index, or it is wrong.
        """
        url = base_path + _INDEX
        content = self._web(url).read_small(url, _MOST_INDEX_BYTES)
        try:
            versions = dict(json.loads(content)["versions"].items())
            named = {parse_version(key): name for key, name in versions.items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise FailedPrecondition(
                f'{shown(url)} is no index: {{"versions": {{"3": "3.tar.gz"}}}} is one'
            ) from None
        found: dict[int, str] = {}
        for number, name in named.items():
            if number is None or number < 0 or not _is_safe(name):
                raise InvalidArgument(
                    f"{shown(url)} names {str(name)[:100]!r}, which is no archive below it"
                )
            found[number] = base_path + name
        return found

    def _version(self, url: str) -> Version:
        """What a server says of an archive.

        Raises:
            ServingError: it is not there, or is none.
        """
        if not is_archive(url):
            raise InvalidArgument(
                f"{shown(url)} is no archive of a version",
                hint="Name one, such as https://HOST/digits/3.tar.gz, or a path that ends in / and "
                f"has an {_INDEX} below it.",
            )
        size, etag, modified = self._head(url)
        return Version(url, Footprint(1, size, 0, 0), f"{size} {etag or modified}")

    def _head(self, url: str) -> tuple[int, str, str]:
        """Size, ETag and date of a file."""
        web = self._web(url)
        try:
            return self._facts(web, "HEAD", url)
        except (NotFound, FailedPrecondition):
            raise
        except ServingError as error:
            if "405" not in error.message and "501" not in error.message:
                raise
        return self._facts(web, "GET", url)

    def _facts(self, web: Web, method: str, url: str) -> tuple[int, str, str]:
        with web.answer(method, url) as found:
            headers = found.headers
        length = headers.get("content-length", "")
        if not length.isascii() or not length.isdigit():
            raise FailedPrecondition(f"{shown(url)} does not say how large it is")
        return int(length), headers.get("etag", ""), headers.get("last-modified", "")

    # -- fetching --------------------------------------------------------------------------------

    def fetch(self, version: Version, into: Path, stage: Stage) -> None:
        """See `Fetcher.fetch`."""
        url, where = version.location, shown(version.location)
        size, etag, modified = again(stage, lambda: self._head(url))
        if f"{size} {etag or modified}" != version.revision:
            raise Aborted(f"{where} has changed since it was looked at")
        for left in into.iterdir():
            if left.name not in (_ARCHIVE, ".salver-parts"):
                _remove(left)
        reader = HttpReader(self._web(url), lambda _file: url)
        archive = RemoteFile(_ARCHIVE, size, etag)
        Parts(
            [archive],
            into,
            reader,
            stage,
            self._bandwidth,
            location=where,
            stall_s=self._settings.timeout_s,
            is_behind=self._settings.is_behind,
        ).run()
        unpack(into / _ARCHIVE, into, where, stage.check)
        (into / _ARCHIVE).unlink()


def _check_url(base_path: str) -> None:
    if has_dots(base_path):
        raise InvalidArgument(f"{shown(base_path)} cannot be a base path: it has `.` or `..` in it")
    if "@" in base_path.split("/")[2] or "?" in base_path or "#" in base_path:
        raise InvalidArgument(
            f"{shown(base_path)} cannot be a base path: it has more than a host and a path, "
            "which may be secret",
            hint="Name a credential_file in --remote_config_file.",
        )


def _remove(path: Path) -> None:
    import shutil

    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _number(url: str) -> int:
    found = _NUMBER.fullmatch(url.rpartition("/")[2])
    number = parse_version(found[1]) if found else None
    return 1 if number is None else number


def _is_safe(name: Any) -> bool:
    if not isinstance(name, str) or _SAFE.fullmatch(name) is None:
        return False
    return all(part not in (".", "..") for part in name.split("/"))
