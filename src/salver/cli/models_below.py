"""The models below a URI of a store: what the store says, or the cache while the store is away."""

import time
from collections.abc import Mapping
from contextlib import suppress

from salver.cli.printing import print_error
from salver.config.options import ServerOptions
from salver.errors import ServingError
from salver.instruments.cache import Cache
from salver.instruments.files import scheme_of
from salver.management.servables import is_version
from salver.sources.records import KeptVersions
from salver.sources.settings import SourceSettings
from salver.sources.table import BUILT_IN, make_source

__all__ = ["kept_below", "models_below"]


def models_below(uri: str, options: ServerOptions) -> Mapping[str, str]:
    """The models directly below a URI: name → base path; none where it is a model itself.

    A URI that the cache has versions of is a model, and the store is not asked. A store that cannot
    be listed is told of. The models below it are then those that the cache
    has; without any the URI is taken for that of a model, which comes when the store does.
    """
    scheme = scheme_of(uri)
    if scheme not in BUILT_IN or _is_kept(uri, options):
        return {}
    try:
        source = make_source(scheme, SourceSettings(config_file=options.remote_config_file))
    except ServingError:
        return {}  # as is told of the model that this then is
    find = getattr(source, "models_below", None)
    if find is None:
        return {}
    try:
        found: Mapping[str, str] = find(uri, is_version)
    except ServingError as error:
        kept = kept_below(uri, options)
        if kept:
            error.message += f"; the models below {uri} are taken from the model cache"
            print_error(error)
        return kept
    finally:
        close = getattr(source, "close", None)
        if close is not None:
            close()
    return found


def kept_below(uri: str, options: ServerOptions) -> Mapping[str, str]:
    """The models directly below a URI of which the cache has versions; none if it has the URI's."""
    if _is_kept(uri, options):
        return {}
    above = uri.rstrip("/")
    found: dict[str, str] = {}
    for path in _base_paths(options):
        parent, _, name = path.rstrip("/").rpartition("/")
        if parent == above:
            found[name] = path
    return found


def _is_kept(uri: str, options: ServerOptions) -> bool:
    """Whether the cache has versions of what a URI names, so that it is a model itself."""
    with suppress(ServingError):  # no home, so no cache
        return any(path.rstrip("/") == uri.rstrip("/") for path in _base_paths(options))
    return False


def _base_paths(options: ServerOptions) -> list[str]:
    """Of all models of which the cache has versions."""
    cache = Cache(options.conversion_cache)
    return KeptVersions(lambda: cache.directory, time.monotonic).base_paths()
