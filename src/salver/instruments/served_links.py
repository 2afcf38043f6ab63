"""Directories that `salver serve` makes for files and SavedModels without a version directory.

Such a directory holds links, below `1/` or as `1` itself. Nobody knows its name: errors are to name
what was given.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["PREFIX", "as_given"]

PREFIX: Final = "salver-serve-"
"""What the names of these directories begin with."""


def as_given(text: str, version: str | Path) -> str:
    """A text about a version, with the paths that were given in place of the links to them.

    Args:
        text: of an error.
        version: the directory of the version; of another kind, the text stays as it is.
    """
    path = Path(version)
    if not path.parent.name.startswith(PREFIX):
        return text
    with suppress(OSError):
        links = [path] if path.is_symlink() else [at for at in path.iterdir() if at.is_symlink()]
        for link in links:
            text = text.replace(str(link), os.readlink(link))
    return text
