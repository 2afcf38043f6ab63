"""Buckets: how one is reached, and requests to it, counted, with errors in words of ours.

The library sends requests and signs them. It does not repeat any: that is decided here above,
where a fetch can be cancelled meanwhile and a store can say when to come again.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from salver.config.remote import RemoteStore
from salver.errors import (
    Aborted,
    AlreadyExists,
    FailedPrecondition,
    NotInstalled,
    ServingError,
    Unavailable,
)
from salver.instruments.files import OsErrorsOf, read_regular
from salver.instruments.installing import install_command
from salver.remote.credentials import (
    Credentials,
    credentials_of_azure,
    credentials_of_gcs,
    credentials_of_s3,
)
from salver.remote.errors import RangesIgnored, StoreBusy, error_of_answer, read_answer
from salver.remote.parts import RemoteFile
from salver.remote.places import Place, joined
from salver.remote.retry_after import ask_when
from salver.sources.settings import SourceSettings

try:
    import obstore
    from obstore import store as library
    from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError
except ImportError as missing:
    raise NotInstalled(
        "Models in object stores take obstore, which is not installed here",
        hint=install_command("remote"),
    ) from missing

__all__ = ["PAGE", "Bucket", "Level", "Meta", "open_bucket"]

PAGE: Final = 1000
"""Objects that a store tells of in one answer."""

CHUNK_BYTES: Final = 1 << 20
_WHOLE_TIMEOUT: Final = timedelta(days=30)  # of a large file; what counts is that for a byte
_NO_RETRIES: Final = {"max_retries": 0, "retry_timeout": timedelta(seconds=30)}
# What the library raises: some of its errors are Python's own.
_ERRORS: Final = (BaseError, OSError, NotImplementedError, ValueError)
_PANICS: Final = "pyo3_runtime"  # where the class of its panics is said to be
_NO_PART: Final = "non-partial response"
_FALSE: Final = ("0", "false", "no")

Meta = Mapping[str, Any]
"""One object as the library lists it: `path`, `size`, `e_tag`, `last_modified`."""


@dataclass(frozen=True, slots=True)
class Level:
    """What is directly below a path.

    Attributes:
        directories: names that have something below them.
        files: the objects.
    """

    directories: Sequence[str]
    files: Sequence[Meta]


def open_bucket(
    place: Place,
    store: RemoteStore,
    settings: SourceSettings,
    environment: Mapping[str, str] | None = None,
) -> "Bucket":
    """Open the bucket of a place. Sends nothing.

    Raises:
        ServingError: it cannot be reached as is said.
    """
    environment = os.environ if environment is None else environment
    options, credentials = _OPENINGS[place.scheme](place, store, environment)
    kind = _KINDS[place.scheme]
    client = _client(
        store, settings, environment, str(options.get("endpoint") or options.get("base_url", ""))
    )
    quick_timeout = timedelta(seconds=settings.timeout_s)
    provided = {"credential_provider": credentials.provider} if credentials.provider else {}
    try:
        opened, quick = (
            getattr(library, kind)(
                place.bucket,
                **{**options, **credentials.options},
                client_options={**client, "timeout": timeout},
                retry_config=_NO_RETRIES,
                **provided,
            )
            for timeout in (_WHOLE_TIMEOUT, quick_timeout)
        )
    except (BaseError, ValueError, TypeError) as error:
        answer = read_answer(error) if isinstance(error, BaseError) else None
        reason = answer.reason if answer else type(error).__name__
        raise FailedPrecondition(
            f"{place.root} cannot be opened: {reason} (tried {credentials.tried})"
        ) from None  # whose text may hold a key
    return Bucket(opened, place, credentials.tried, settings, client, quick)


class Bucket:
    """Requests to one bucket. Safe to use from any thread.

    Attributes:
        root: its URI.
        has_ranges: whether it answers parts of files; known once it did not.
    """

    def __init__(
        self,
        opened: Any,
        place: Place,
        tried: str,
        settings: SourceSettings,
        client: Mapping[str, Any],
        quick: Any = None,
    ) -> None:
        """Only `open_bucket` makes them."""
        self.root = place.root
        self.has_ranges = True
        self._opened = opened
        self._quick = opened if quick is None else quick  # whose answers do not take long
        self._scheme = place.scheme
        self._tried = tried
        self._count = settings.count
        self._client = client

    # -- reading ---------------------------------------------------------------------------------

    def pages(self, path: str) -> Iterator[Sequence[Meta]]:
        """All objects below a path, a page at a time; each is a request.

        Raises:
            ServingError: they cannot be listed.
        """
        pages = iter(obstore.list(self._quick, path or None, chunk_size=PAGE))
        is_first = True
        while True:
            with self._translating("list", path, "cannot be listed"):
                page = next(pages, None)
            if page is not None or is_first:  # that there is nothing is an answer too
                self._count(self._scheme, "list", "ok")
            if page is None:
                return
            yield page
            is_first = False

    def level(self, path: str) -> "Level":
        """What is directly below a path.

        Raises:
            ServingError: they cannot be listed.
        """
        with self._translating("list", path, "cannot be listed"):
            found = obstore.list_with_delimiter(self._quick, path or None)
        self._count(self._scheme, "list", "ok")
        directories = [prefix.rstrip("/").rpartition("/")[2] for prefix in found["common_prefixes"]]
        return Level(directories, found["objects"])

    def head(self, path: str) -> Meta | None:
        """The object of exactly this name; None where there is none.

        Raises:
            ServingError: nobody can tell.
        """
        with self._translating("head", path, "cannot be looked at"):
            try:
                found: Meta = obstore.head(self._quick, path)
            except (NotFoundError, FileNotFoundError):
                self._count(self._scheme, "head", "404")
                return None
        self._count(self._scheme, "head", "ok")
        return found

    def read(
        self, path: str, file: RemoteFile, start: int, stop: int, chunk_bytes: int = CHUNK_BYTES
    ) -> Iterator[Any]:
        """The bytes of an object from one place to before another, in chunks.

        Raises:
            RangesIgnored: the store answers the whole, as `has_ranges` says from then on.
            ServingError: they cannot be read; of an object that is another by now, `Aborted`.
        """
        return self._read(self._opened, path, file, start, stop, chunk_bytes)

    def _read(
        self, opened: Any, path: str, file: RemoteFile, start: int, stop: int, chunk_bytes: int
    ) -> Iterator[Any]:
        options: dict[str, Any] = {}
        if file.etag:
            options["if_match"] = file.etag
        is_part = start > 0 or stop < file.size
        if is_part:
            options["range"] = (start, stop)
        with self._translating("get", path, "cannot be read"):
            try:
                found = obstore.get(opened, path, options=options)
                self._check(file, found.meta, path)
                yield from found.stream(min_chunk_size=chunk_bytes)
            except _ERRORS as error:
                if not is_part or _NO_PART not in str(error):
                    raise
                self._count(self._scheme, "get", "whole")
                self.has_ranges = False
                raise RangesIgnored from None
        self._count(self._scheme, "get", "ok")

    def _check(self, file: RemoteFile, meta: Meta, path: str) -> None:
        """Refuse another file than was listed: some stores do not look at `If-Match`."""
        etag = meta.get("e_tag") or ""
        is_other = bool(file.etag and etag) and _bare(etag) != _bare(file.etag)
        if is_other or (file.size >= 0 and meta.get("size", file.size) != file.size):
            raise Aborted(f"{joined(self.root, path)} has changed since it was listed")

    def read_small(self, path: str, most_bytes: int, file: RemoteFile | None = None) -> bytes:
        """All of a small object.

        Args:
            path: of it.
            most_bytes: it may have.
            file: as it was listed; None for whatever it is now.

        Raises:
            ServingError: it cannot be read, or is larger, or another by now.
        """
        file = file or RemoteFile(path, -1)
        content = bytearray()
        stop = max(most_bytes, file.size)
        for chunk in self._read(self._quick, path, file, 0, stop, CHUNK_BYTES):
            content += chunk
            if len(content) > most_bytes:
                raise FailedPrecondition(
                    f"{joined(self.root, path)} is larger than {most_bytes} bytes"
                )
        return bytes(content)

    # -- writing ---------------------------------------------------------------------------------

    def put(self, path: str, content: "bytes | Path") -> None:
        """Write an object, all at once; a large file in parts, of which nobody sees any before.

        Raises:
            ServingError: it cannot be written.
        """
        with self._translating("put", path, "cannot be written"):
            obstore.put(self._opened, path, content)
        self._count(self._scheme, "put", "ok")

    def put_new(self, path: str, content: bytes) -> None:
        """Write a small object, unless there is one: as far as the store looks at that.

        Raises:
            AlreadyExists: there is one.
            ServingError: it cannot be written.
        """
        with self._translating("put", path, "cannot be written"):
            try:
                obstore.put(self._opened, path, content, mode="create", use_multipart=False)
            except AlreadyExistsError:
                self._count(self._scheme, "put", "exists")
                raise AlreadyExists(f"{joined(self.root, path)} is there already") from None
        self._count(self._scheme, "put", "ok")

    def delete(self, paths: Iterable[str]) -> None:
        """Remove objects; those that are not there are no error.

        Raises:
            ServingError: they cannot be removed.
        """
        for path in paths:
            with self._translating("delete", path, "cannot be removed"):
                try:
                    obstore.delete(self._opened, path)
                except (NotFoundError, FileNotFoundError):
                    continue
            self._count(self._scheme, "delete", "ok")

    # -- within ----------------------------------------------------------------------------------

    @contextmanager
    def _translating(self, operation: str, path: str, what: str) -> Iterator[None]:
        """Raise what the library raises as an error of ours, its panics too.

        It panics at answers that it did not foresee, as of a service of metadata that answers with
        a page; the thread that polls must not end with that.
        """
        try:
            yield
        except _ERRORS as error:
            raise self._error(error, operation, path, what) from None
        except BaseException as error:
            if type(error).__module__ != _PANICS:
                raise
            self._count(self._scheme, operation, "panic")
            raise Unavailable(
                f"{joined(self.root, path)} {what}: an answer could not be read "
                f"(tried {self._tried})"
            ) from None

    def _error(self, error: Exception, operation: str, path: str, what: str) -> ServingError:
        answer = read_answer(error)
        self._count(self._scheme, operation, answer.label)
        made = error_of_answer(f"{joined(self.root, path)} {what}", answer, self._tried)
        if isinstance(made, StoreBusy):
            made.retry_after_s = ask_when(answer.url, self._client)
        return made


def _bare(etag: str) -> str:
    return etag.removeprefix("W/").strip('"')


# -- how stores are reached ------------------------------------------------------------------------


def _s3(
    place: Place, store: RemoteStore, environment: Mapping[str, str]
) -> tuple[dict[str, Any], Credentials]:
    named = environment.get
    endpoint = store.endpoint or named("AWS_ENDPOINT_URL_S3") or named("AWS_ENDPOINT_URL") or ""
    if not endpoint and (host := named("S3_ENDPOINT")):
        is_plain = (named("S3_USE_HTTPS") or "").lower() in _FALSE
        endpoint = host if "://" in host else f"{'http' if is_plain else 'https'}://{host}"
    credentials = credentials_of_s3(store, environment)
    regions = (store.region, *map(named, ("AWS_REGION", "AWS_DEFAULT_REGION", "S3_REGION")))
    options: dict[str, Any] = {}
    if region := next(filter(None, regions), credentials.region):
        options["region"] = region
    if endpoint:
        options["endpoint"] = endpoint.rstrip("/")
        options["aws_endpoint_url_s3"] = endpoint.rstrip("/")
    return options, credentials


def _gcs(
    place: Place, store: RemoteStore, environment: Mapping[str, str]
) -> tuple[dict[str, Any], Credentials]:
    endpoint = store.endpoint or environment.get("STORAGE_EMULATOR_HOST", "")
    if endpoint and "://" not in endpoint:
        endpoint = f"http://{endpoint}"
    options = {"base_url": endpoint.rstrip("/")} if endpoint else {}
    return options, credentials_of_gcs(store, environment)


def _azure(
    place: Place, store: RemoteStore, environment: Mapping[str, str]
) -> tuple[dict[str, Any], Credentials]:
    credentials = credentials_of_azure(store, environment)
    options: dict[str, Any] = {}
    endpoint = store.endpoint or credentials.options.get("endpoint", "")
    if endpoint:
        options["endpoint"] = endpoint.rstrip("/")
    account = place.account or credentials.options.get("account_name")
    if not account:
        raise FailedPrecondition(
            f"{place.root} cannot be opened: nothing names the account",
            hint="Set AZURE_STORAGE_ACCOUNT, or write "
            f"abfs://{place.bucket}@ACCOUNT.dfs.core.windows.net/PATH.",
        )
    options["account_name"] = account
    kept = {k: v for k, v in credentials.options.items() if k not in ("account_name", "endpoint")}
    return options, Credentials(kept, credentials.provider, credentials.tried)


_OPENINGS: Final = {"s3": _s3, "gs": _gcs, "az": _azure, "abfs": _azure}
_KINDS: Final = {"s3": "S3Store", "gs": "GCSStore", "az": "AzureStore", "abfs": "AzureStore"}


def _client(
    store: RemoteStore, settings: SourceSettings, environment: Mapping[str, str], endpoint: str
) -> dict[str, Any]:
    """How connections are made."""
    client: dict[str, Any] = {
        "read_timeout": timedelta(seconds=settings.byte_timeout_s),
        "connect_timeout": timedelta(seconds=settings.connect_timeout_s),
    }
    if endpoint.startswith("http://"):
        client["allow_http"] = True
    if environment.get("S3_VERIFY_SSL", "").lower() in _FALSE and environment.get("S3_VERIFY_SSL"):
        client["allow_invalid_certificates"] = True
    if store.proxy:
        client["proxy_url"] = store.proxy
    ca_file = store.ca_file or environment.get("AWS_CA_BUNDLE", "")
    if ca_file:
        with OsErrorsOf(ca_file):
            client["root_certificate"] = read_regular(ca_file, 1 << 24)
    return client
