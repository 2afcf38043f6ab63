"""A document into a version directory that nobody sees yet, with the files its examples name."""

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from salver.about.assets import ASSETS, MOST_EXAMPLE_BYTES, read_asset
from salver.about.document import About
from salver.about.reading import MOST_BYTES, NAME, parse_about
from salver.errors import InvalidArgument, NotFound
from salver.instruments.files import OsErrorsOf, error_of_os

__all__ = ["write_about"]

_EXAMPLES: Final = "examples"


def write_about(version: Path, about: "Mapping[str, Any] | str | os.PathLike[str]") -> About:
    """Write `assets/salver.json`.

    Args:
        version: the directory.
        about: the document as a `dict`, in which arrays of numpy may stand for lists, and a `Path`
            for a file that is copied; or a file that holds it, whose examples' files stand beside
            it.

    Returns:
        What is written.

    Raises:
        InvalidArgument: the document is wrong, or a file is.
        NotFound: a file is not there.
        ServingError: something cannot be read or written.
    """
    if isinstance(about, (str, os.PathLike)):
        path = Path(about)
        data, copies = _read(path, MOST_BYTES), {}
        document = parse_about(data)
        for name in document.files:
            if not (version / ASSETS / name).exists():
                copies[name] = path.parent / name
    else:
        data, copies = _serialized(about)
        document = parse_about(data)
    for name, source in copies.items():
        _write(version / ASSETS / name, _read(source, MOST_EXAMPLE_BYTES))
    for name in document.files:
        _check_file(version, name)
    _write(version / ASSETS / NAME, data)
    return document


def _serialized(about: Any) -> tuple[bytes, dict[str, Path]]:
    """The document as JSON, and what is to be copied: name below `assets/` → file."""
    copies: dict[str, Path] = {}

    def plain(value: Any) -> Any:
        if isinstance(value, os.PathLike):
            return _place_for(Path(value), copies)
        if isinstance(value, (np.ndarray, np.generic)):
            return value.tolist()
        if isinstance(value, Mapping):
            return dict(value)
        if isinstance(value, bytes):
            return {"b64": base64.b64encode(value).decode()}
        raise TypeError(f"a {type(value).__name__} is nothing that JSON has")

    if not isinstance(about, Mapping):
        raise InvalidArgument(f"about is a dict, or a file, not a {type(about).__name__}")
    try:
        text = json.dumps(dict(about), ensure_ascii=False, default=plain)
        return text.encode(), copies
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"about cannot be written as JSON: {error}") from None


def _place_for(source: Path, copies: dict[str, Path]) -> str:
    name = f"{_EXAMPLES}/{source.name}"
    number = 1
    while copies.get(name, source) != source:  # another file of the same name
        number += 1
        name = f"{_EXAMPLES}/{source.stem}-{number}{source.suffix}"
    copies[name] = source
    return name


def _check_file(version: Path, name: str) -> None:
    try:
        read_asset(version, name)
    except NotFound as error:
        raise NotFound(
            f"{NAME} names {name}, which is not below {ASSETS}/",
            hint="In about=, give a pathlib.Path where a file is to be copied.",
        ) from error
    except OSError as error:
        raise error_of_os(name, error) from error


def _read(path: Path, most_bytes: int) -> bytes:
    with OsErrorsOf(path):
        if not path.is_file() and path.exists():
            raise InvalidArgument(f"{path} is no regular file")
        with path.open("rb") as file:
            data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise InvalidArgument(f"{path} is longer than {most_bytes >> 20} MiB")
    return data


def _write(path: Path, data: bytes) -> None:
    with OsErrorsOf(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
