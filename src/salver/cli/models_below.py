"""The models below a URI of a store: what the store says, or the cache while the store is away."""

import queue
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from salver.cli.printing import print_error
from salver.config.options import ServerOptions
from salver.errors import ServingError, Unavailable
from salver.instruments.cache import Cache
from salver.instruments.files import scheme_of
from salver.instruments.uris import canonical_uri
from salver.management.servables import is_version
from salver.sources.records import KeptVersions
from salver.sources.settings import SourceSettings
from salver.sources.table import BUILT_IN, make_source

__all__ = ["kept_below", "models_below"]


def models_below(
    uri: str, options: ServerOptions, answer_s: float | None = None
) -> Mapping[str, str]:
    """The models directly below a URI: name → base path; none where it is a model itself.

    A URI that the cache has versions of is a model, and the store is not asked. A store that cannot
    be listed is told of. The models below it are then those that the cache
    has; without any the URI is taken for that of a model, which comes when the store does.

    Args:
        uri: names them.
        options: say how stores are reached, and where the cache is.
        answer_s: how long to wait for the store where the cache has models below the URI; None for
            as long as it takes.
    """
    scheme = scheme_of(uri)
    if scheme not in BUILT_IN or _is_kept(uri, options):
        return {}
    settings = SourceSettings(
        timeout_s=options.remote_timeout_seconds, config_file=options.remote_config_file
    )
    try:
        source = make_source(scheme, settings)
    except ServingError:
        return {}  # as is told of the model that this then is
    find = getattr(source, "models_below", None)
    if find is None:
        return {}
    kept = kept_below(uri, options)

    def ask() -> Mapping[str, str]:
        try:
            found: Mapping[str, str] = find(uri, is_version)
            return found
        finally:
            close = getattr(source, "close", None)
            if close is not None:
                close()

    try:
        return ask() if answer_s is None or not kept else _within(answer_s, uri, ask)
    except ServingError as error:
        if kept:
            error.message += f"; the models below {uri} are taken from the model cache"
            print_error(error)
        return kept


def _within(answer_s: float, uri: str, ask: Callable[[], Mapping[str, str]]) -> Mapping[str, str]:
    """What a store answers.

    Raises:
        Unavailable: there is no answer in time.
        ServingError: what `ask` raises.
    """
    answers = queue.SimpleQueue[Mapping[str, str] | BaseException]()

    def work() -> None:
        try:
            answers.put(ask())
        except BaseException as error:  # noqa: BLE001 - raised by whoever waits
            answers.put(error)

    threading.Thread(target=work, name="salver-models-below", daemon=True).start()
    try:
        answer = answers.get(timeout=answer_s)
    except queue.Empty:
        raise Unavailable(f"{uri} cannot be listed: no answer within {answer_s:g} s") from None
    if isinstance(answer, BaseException):
        raise answer
    return answer


def kept_below(uri: str, options: ServerOptions) -> Mapping[str, str]:
    """The models directly below a URI of which the cache has versions; none if it has the URI's."""
    if _is_kept(uri, options):
        return {}
    above = canonical_uri(uri)
    found: dict[str, str] = {}
    for path in _base_paths(options):
        parent, _, name = path.rstrip("/").rpartition("/")
        if canonical_uri(parent) == above:
            found[name] = path
    return found


def _is_kept(uri: str, options: ServerOptions) -> bool:
    """Whether the cache has versions of what a URI names, so that it is a model itself."""
    with suppress(ServingError):  # no home, so no cache
        return canonical_uri(uri) in map(canonical_uri, _base_paths(options))
    return False


def _base_paths(options: ServerOptions) -> list[str]:
    """Of all models of which the cache has versions."""
    cache = Cache(options.conversion_cache)
    return KeptVersions(lambda: cache.directory, time.monotonic).base_paths()
