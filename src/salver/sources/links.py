"""The links on the way to a file: where a change may give its path another content."""

import os
from collections.abc import Iterator
from typing import Final

__all__ = ["directories_of"]

_MOST_LINKS: Final = 40  # as Linux follows


def directories_of(path: str) -> frozenset[str]:
    """The directories in which a change may give a path another content.

    That is where the file lies, and where each link on the way to it lies: Kubernetes gives a
    ConfigMap new files by moving one link (`..data`), on which all others lead.

    Args:
        path: absolute.
    """
    return frozenset(os.path.realpath(os.path.dirname(step)) for step in _steps(path))


def _steps(path: str) -> Iterator[str]:
    """The path, each link on the way, and where the links lead."""
    for _ in range(_MOST_LINKS):
        yield path
        link = next((part for part in _parts(path) if os.path.islink(part)), None)
        if link is None:
            return
        yield link
        try:
            target = os.path.join(os.path.dirname(link), os.readlink(link))
        except OSError:  # it has just gone
            return
        path = target + path[len(link) :]


def _parts(path: str) -> Iterator[str]:
    """All beginnings of a path, the shortest first, and itself."""
    parent = os.path.dirname(path)
    if parent != path:
        yield from _parts(parent)
    yield path
