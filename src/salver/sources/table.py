"""The table of sources: what looks after base paths of a scheme.

Base paths without a scheme, and `file://`, are the file system's. Some others come with Salver. The
rest are found by the entry points of the group `salver.sources`, whose names are schemes. Each is
imported when a base path names its scheme.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Final, cast

from salver.errors import Unimplemented
from salver.sources.protocol import Source
from salver.sources.settings import SourceSettings

__all__ = ["BUILT_IN", "GROUP", "make_source"]

GROUP: Final = "salver.sources"

_OBJECTS: Final = ("salver.remote.source", "make")

_WEB: Final = ("salver.remote.web_source", "make")

BUILT_IN: Final[dict[str, tuple[str, str]]] = {
    "s3": _OBJECTS,
    "gs": _OBJECTS,
    "az": _OBJECTS,
    "abfs": _OBJECTS,
    "http": _WEB,
    "https": _WEB,
    "hf": ("salver.remote.hub", "make"),
}
"""Scheme → module, and the function there that makes a source of the scheme and the settings."""

Make = Callable[[str, SourceSettings], Source]


def make_source(scheme: str, settings: SourceSettings | None = None) -> Source | None:
    """The source for a scheme; None where there is none.

    Args:
        scheme: as `scheme_of` has it.
        settings: for those that come with Salver; by default as the flags have them by default.

    Raises:
        Unimplemented: there is one, which cannot be made; the text says whose and why.
    """
    built_in = BUILT_IN.get(scheme)
    if built_in is not None:
        make = cast("Make", getattr(import_module(built_in[0]), built_in[1]))
        return make(scheme, settings or SourceSettings())
    from importlib.metadata import entry_points  # here: few servers need it

    for entry in entry_points(group=GROUP):
        if entry.name.lower() == scheme:
            try:
                return cast("Source", entry.load()())
            except Exception as error:
                raise Unimplemented(
                    f"The source for {scheme}:// ({entry.value}) cannot be used: "
                    f"{type(error).__name__}: {error}"
                ) from error
    return None
