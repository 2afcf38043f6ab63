"""What a model says of itself, for the page: the document, and the files its examples name."""

from typing import Any

from salver.about.assets import read_about, read_asset
from salver.about.document import plain
from salver.errors import NotFound, ServingError
from salver.playground.labels import version_directory

__all__ = ["describe", "example_file"]


def describe(base_path: str, version: int) -> dict[str, Any]:
    """The document of a version as JSON has it. Reads the disk.

    Returns:
        `about`, None where there is none; `warnings`; and `error` where the document is wrong.
    """
    directory = version_directory(base_path, version)
    try:
        about = None if directory is None else read_about(directory)
    except ServingError as error:
        return {"about": None, "warnings": [], "error": error.message}
    except OSError as error:
        why = f"assets/salver.json cannot be read: {error.strerror}"
        return {"about": None, "warnings": [], "error": why}
    if about is None:
        return {"about": None, "warnings": []}
    document = plain(about)
    return {"about": document, "warnings": document.pop("warnings", [])}


def example_file(base_path: str, version: int, name: str) -> bytes:
    """A file that an example of a version names; no other. Reads the disk.

    Raises:
        NotFound: no example names it, or it is not there.
        ServingError: it may not be read.
        OSError: it cannot be read.
    """
    directory = version_directory(base_path, version)
    about = None if directory is None else read_about(directory)
    if directory is None or about is None or name not in about.files:
        raise NotFound(f"No example has a file {name!r}")
    return read_asset(directory, name)
