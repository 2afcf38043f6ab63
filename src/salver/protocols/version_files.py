"""Where the files of a version that is served are on this machine."""

import os
from pathlib import Path

from salver.errors import NotFound
from salver.instruments.files import local_path, scheme_of
from salver.protocols.api import Models
from salver.sources.versions import parse_version

__all__ = ["base_path_of", "version_directory"]


def base_path_of(models: Models, name: str, version: int) -> str | None:
    """A directory that has a version of a model in one named by its number.

    Returns:
        None for an unknown model, and for a version that is not on this machine.
    """
    configured = models.configured
    base_path = next((model.base_path for model in configured if model.name == name), None)
    if base_path is None or not scheme_of(base_path):
        return base_path
    try:
        directory = models.statuses(name, version)[0].directory
    except NotFound:
        return None
    return None if directory is None else os.path.dirname(directory)


def version_directory(base_path: str, version: int) -> Path | None:
    """Where the files of a version are, None where there are none. Reads the disk."""
    base = Path(local_path(base_path))
    # The last of several spellings of a number is the one that is served.
    directories = sorted(base.iterdir(), reverse=True) if base.is_dir() else ()
    return next((each for each in directories if parse_version(each.name) == version), None)
