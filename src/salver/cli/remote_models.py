"""The newest version of a model in a store, for commands: fetched as a server fetches it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from salver.cli.locate import model_at
from salver.config.options import ServerOptions
from salver.errors import NotFound, ServingError, Unimplemented
from salver.instruments.cache import Cache
from salver.instruments.files import scheme_of
from salver.sources.fetching import fetch_version
from salver.sources.protocol import MonitoredServable
from salver.sources.settings import SourceSettings
from salver.sources.table import make_source

__all__ = ["newest_of"]

_ASKED_AGAIN: Final = "; it is asked again in "  # as a server does that polls


class _Stage:
    """Of a command, which is ended by whoever has started it."""

    def check(self) -> None: ...

    def progress(self, done_bytes: int) -> None: ...

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)


@contextmanager
def newest_of(uri: str, options: ServerOptions) -> Iterator[Path]:
    """The newest version at a URI, or the version that it names: its directory in the cache.

    Raises:
        NotFound: there is none that is complete.
        ServingError: it cannot be listed or fetched.
    """
    settings = SourceSettings(
        settle_s=0.0,
        timeout_s=options.remote_timeout_seconds,
        config_file=options.remote_config_file,
    )
    source = make_source(scheme_of(uri), settings)
    if source is None or source.fetcher is None:
        raise Unimplemented(
            f"File system scheme '{scheme_of(uri)}' not implemented (file: '{uri}')"
        )
    try:
        model = model_at(None, uri)
        servable = MonitoredServable(model.name, model.base_path, model.version_policy)
        for _, found in source.find((servable,)):
            if isinstance(found, ServingError):
                found.message = found.message.partition(_ASKED_AGAIN)[0]
                raise found
            for number, version in sorted(found.items(), reverse=True):
                cache = Cache(
                    options.conversion_cache, max_bytes=options.conversion_cache_max_bytes
                )
                fetched = fetch_version(number, version, source.fetcher, cache, _Stage())
                try:
                    yield fetched.path
                finally:
                    fetched.close()
                return
        raise NotFound(f"{uri} holds no complete version of a model")
    finally:
        close = getattr(source, "close", None)
        if close is not None:
            close()
