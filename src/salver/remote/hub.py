"""The source for `hf://owner/repo[@revision][/path]`: the files there are one version.

The library of the hub finds the endpoint and the token, and reads what a hub says of a repository.
That and the files are fetched like those of any web server, the files in parts, and large ones are
compared with the checksums that the hub has.
"""

import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote

from salver.config.remote import RemoteStore, read_remote_config, store_for
from salver.errors import (
    Aborted,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    NotInstalled,
    PermissionDenied,
    ServingError,
    Unauthenticated,
)
from salver.instruments.files import Footprint, OsErrorsOf, read_regular
from salver.instruments.installing import install_command
from salver.remote.bandwidth import Bandwidth
from salver.remote.http import HttpReader, Web, open_web
from salver.remote.parts import Parts, RemoteFile
from salver.remote.source import shared_bandwidth
from salver.remote.timetable import OneByOne, again
from salver.sources.protocol import Found, MonitoredServable, Stage, Version, select
from salver.sources.settings import SourceSettings

try:
    from huggingface_hub import HfApi, ModelInfo, constants, get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id
except ImportError as missing:
    raise NotInstalled(
        "Models of a hub take huggingface-hub, which is not installed here",
        hint=install_command("remote"),
    ) from missing

__all__ = ["HubSource", "Repository", "make", "repository_of"]

_TOKEN_BYTES: Final = 1 << 16
_COMMITS_BYTES: Final = 1 << 22
_INFO_BYTES: Final = 1 << 25
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_NOT_OF_VERSIONS: Final = (".gitattributes", ".gitignore")  # of git, not of the model


@dataclass(frozen=True, slots=True)
class Repository:
    """What a URI names.

    Attributes:
        name: `owner/repo`.
        revision: a branch, a tag or a commit; empty for the main branch.
        path: in it; empty for all.
    """

    name: str
    revision: str
    path: str

    @property
    def is_pinned(self) -> bool:
        """Whether it is one commit, which never changes."""
        return _COMMIT.fullmatch(self.revision) is not None


def repository_of(uri: str) -> Repository:
    """Take a URI apart.

    Raises:
        InvalidArgument: it names no repository.
    """
    parts = uri.partition("://")[2].strip("/").split("/")
    repo, _, revision = parts[1].partition("@") if len(parts) > 1 else ("", "", "")
    if not parts[0] or not repo or any(part in ("", ".", "..") for part in parts):
        raise InvalidArgument(
            f"{uri} cannot be a base path: hf://OWNER/REPO[@REVISION][/PATH] is one"
        )
    return Repository(f"{parts[0]}/{repo}", unquote(revision), "/".join(parts[2:]))


def make(scheme: str, settings: SourceSettings) -> "HubSource":
    """The source for a scheme; see `sources.table`."""
    return HubSource(settings)


def _token(store: RemoteStore) -> str:
    """What the hub is told of who asks; empty for nothing.

    Headers are not made by the library: it would ask huggingface.co for that, whichever hub it is.
    """
    if store.anonymous:
        return ""
    if store.credential_file:
        with OsErrorsOf(store.credential_file):
            content = read_regular(store.credential_file, _TOKEN_BYTES)
        return content.decode(errors="replace").strip()
    return "" if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token() or ""


class _Hub:
    """Requests to one hub. Safe to use from any thread."""

    def __init__(
        self, store: RemoteStore, settings: SourceSettings, stores: Sequence[RemoteStore]
    ) -> None:
        self._endpoint = HfApi(endpoint=store.endpoint or None).endpoint
        token = _token(store)
        own = {"user-agent": "salver", **({"authorization": f"Bearer {token}"} if token else {})}
        self.web: Web = open_web(store, settings, "hf", own, stores)

    def info(self, repository: Repository, uri: str) -> Any:
        """What the hub says of a revision: its commit, and its files with their sizes."""
        try:
            validate_repo_id(repository.name)
        except HFValidationError as error:
            raise InvalidArgument(f"{uri} cannot be a base path: {error}") from None
        url = f"{self._endpoint}/api/models/{repository.name}"
        if repository.revision:
            url += f"/revision/{quote(repository.revision, safe='')}"
        try:
            content = self.web.read_small(f"{url}?blobs=true", _INFO_BYTES, counted_as="list")
        except ServingError as error:
            error.message = f"{uri} cannot be listed: {error.message}"
            if isinstance(error, (Unauthenticated, PermissionDenied, NotFound)):
                error.hint = "A private or gated model takes a token: HF_TOKEN."
            raise
        try:
            return ModelInfo(**json.loads(content))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise FailedPrecondition(
                f"{uri} cannot be listed: {self._endpoint} does not answer as a hub"
            ) from None

    def committed_s(self, repository: Repository, commit: str, uri: str) -> int:
        """When a commit was made, in seconds since the epoch."""
        url = f"{self._endpoint}/api/models/{repository.name}/commits/{commit}?limit=1"
        content = self.web.read_small(url, _COMMITS_BYTES)
        with suppress(ValueError, KeyError, TypeError, IndexError, AttributeError):
            date = json.loads(content)[0]["date"]
            return int(datetime.fromisoformat(date.replace("Z", "+00:00")).timestamp())
        raise FailedPrecondition(f"{uri}: the hub does not say when {commit[:12]} was made")

    def url(self, repository: Repository, commit: str, name: str) -> str:
        """Where a file is."""
        return f"{self._endpoint}/{repository.name}/resolve/{commit}/{quote(name)}"


class HubSource:
    """A `Source` and its `Fetcher`."""

    can_resume: Final = True

    def __init__(
        self, settings: SourceSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Send nothing yet.

        Args:
            settings: see there.
            clock: seconds, monotonic.

        Raises:
            ServingError: the file that says how hubs are reached is wrong.
        """
        self._settings = settings
        self._stores = read_remote_config(settings.config_file) if settings.config_file else ()
        self._bandwidth: Bandwidth = shared_bandwidth(settings)
        self._models = OneByOne(self._look, settings, clock)
        self._opening = threading.Lock()  # guards what follows
        self._hubs: dict[RemoteStore, _Hub] = {}
        self._committed: dict[tuple[str, str], int] = {}

    @property
    def poll_wait_s(self) -> float:
        """See `Source`: until the next look is due."""
        return self._models.poll_wait_s

    @property
    def fetcher(self) -> "HubSource":
        """See `Source`."""
        return self

    def find(self, servables: Sequence[MonitoredServable]) -> Iterator[Found]:
        """See `Source.find`: of those that are due, and of others nothing."""
        return self._models.find(servables)

    def _hub(self, uri: str) -> _Hub:
        store = store_for(self._stores, uri)
        with self._opening:
            if store not in self._hubs:
                self._hubs[store] = _Hub(store, self._settings, self._stores)
            return self._hubs[store]

    def close(self) -> None:
        """Close all connections."""
        with self._opening:
            for hub in self._hubs.values():
                hub.web.close()
            self._hubs.clear()

    # -- finding ---------------------------------------------------------------------------------

    def _look(self, servable: MonitoredServable) -> Mapping[int, Version]:
        uri = servable.base_path
        repository, hub = repository_of(uri), self._hub(uri)
        info = hub.info(repository, uri)
        commit = str(info.sha or "")
        files = _files(info, repository, uri)
        number = 1 if repository.is_pinned else self._committed_s(hub, repository, commit, uri)
        if not select(servable, [str(number)]):
            return {}
        size = sum(file.size for file in files)
        return {number: Version(_location(uri, commit), Footprint(len(files), size, 0, 0), commit)}

    def _committed_s(self, hub: _Hub, repository: Repository, commit: str, uri: str) -> int:
        key = repository.name, commit
        if key not in self._committed:
            found = hub.committed_s(repository, commit, uri)
            with self._opening:
                self._committed = {
                    **{k: s for k, s in self._committed.items() if k[0] != repository.name},
                    key: found,
                }
            return found
        return self._committed[key]

    # -- fetching --------------------------------------------------------------------------------

    def fetch(self, version: Version, into: Path, stage: Stage) -> None:
        """See `Fetcher.fetch`."""
        uri = version.location
        repository, hub = repository_of(uri), self._hub(uri)
        info = again(stage, lambda: hub.info(repository, uri))
        if info.sha != version.revision:
            raise Aborted(f"{uri} has changed since it was looked at")
        files = _files(info, repository, uri)
        prefix = f"{repository.path}/" if repository.path else ""

        def url_of(file: RemoteFile) -> str:
            return hub.url(repository, version.revision, prefix + file.name)

        reader = HttpReader(hub.web, url_of)
        Parts(
            files,
            into,
            reader,
            stage,
            self._bandwidth,
            location=uri,
            stall_s=self._settings.timeout_s,
            is_behind=self._settings.is_behind,
        ).run()


def _location(uri: str, commit: str) -> str:
    """A URI of this commit alone, which no other version has."""
    repository = repository_of(uri)
    below = f"/{repository.path}" if repository.path else ""
    return f"hf://{repository.name}@{commit}{below}"


def _files(info: Any, repository: Repository, uri: str) -> list[RemoteFile]:
    """The files of a version.

    Raises:
        NotFound: there are none.
        ServingError: the hub does not say how large they are.
    """
    prefix = f"{repository.path}/" if repository.path else ""
    found = []
    for sibling in info.siblings or ():
        name = sibling.rfilename
        if not name.startswith(prefix) or os.path.basename(name) in _NOT_OF_VERSIONS:
            continue
        if sibling.size is None:
            raise FailedPrecondition(f"{uri}: the hub does not say how large {name} is")
        sha256 = sibling.lfs.sha256 if sibling.lfs is not None else ""
        found.append(RemoteFile(name.removeprefix(prefix), sibling.size, "", sha256))
    if not found:
        raise NotFound(f"{uri} not found: there are no files")
    return found
