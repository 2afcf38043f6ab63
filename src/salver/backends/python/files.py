"""The files of Python models: which they are, and how their source is read."""

import re
from pathlib import Path
from typing import Final

from salver.backends.protocol import Listing
from salver.errors import FailedPrecondition, NotFound
from salver.instruments.files import error_of_os, open_regular

__all__ = ["FILE", "REQUIREMENTS", "model_file", "read_source"]

FILE: Final = "model.py"
REQUIREMENTS: Final = "requirements.txt"

_MOST_BYTES: Final = 1 << 20
"""Of a `model.py`: a larger one is no program that somebody has written; reading it takes 100 times
as much memory."""

_CLASS: Final = re.compile(rb"^class +(?:Model|TritonPythonModel)\b", re.MULTILINE)


def model_file(listing: Listing) -> str | None:
    """The `model.py` of a directory, or its only file if that is a Python file; None for none.

    It counts if it has one of the two classes: many a program is called so that stands beside what
    it has made, or alone in a directory of scripts. A `model.py` that is alone counts in any case.
    """
    others = [name for name in listing.files if name != REQUIREMENTS]
    name = others[0] if len(others) == 1 else FILE
    if not name.endswith(".py") or name not in listing.files:
        return None
    is_alone = others == [FILE]
    return name if is_alone or _CLASS.search(listing.head(name, _MOST_BYTES)) else None


def read_source(path: Path) -> bytes:
    """The text of a `model.py`.

    Raises:
        NotFound: there is none.
        FailedPrecondition: it is too long.
        ServingError: it cannot be read.
    """
    try:
        with open_regular(path) as file:
            source = file.read(_MOST_BYTES + 1)
    except FileNotFoundError as error:
        raise NotFound(f"There is no Python model at {path}") from error
    except OSError as error:
        raise error_of_os(str(path), error) from error
    if len(source) > _MOST_BYTES:
        raise FailedPrecondition(f"{path} has more than {_MOST_BYTES} bytes")
    return source
