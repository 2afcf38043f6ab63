"""The names of a model's classes: from a file the flag names, or from the version's own assets."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from salver.errors import InvalidArgument, OutOfRange
from salver.instruments.files import local_path, read_regular
from salver.protocols.version_files import version_directory

__all__ = [
    "EVERY_MODEL",
    "find_labels",
    "parse_labels",
    "parse_labels_flag",
    "read_labels",
]

EVERY_MODEL: Final = ""
"""The key of a labels file that is given without the name of a model."""

_ASSET: Final = Path("assets", "labels.txt")
_MOST_BYTES: Final = 4 << 20  # ImageNet's 21,841 classes take half a megabyte


def parse_labels_flag(text: str) -> dict[str, str]:
    """Read `--labels_file`: `PATH`, or `NAME=PATH,NAME=PATH`; model → path.

    Raises:
        InvalidArgument: a model has two files, or none.
    """
    files: dict[str, str] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        name, equals, path = entry.partition("=")
        if not equals:
            name, path = EVERY_MODEL, entry
        if not path:
            raise InvalidArgument(f"--labels_file names no file for {name!r}")
        if name in files:
            whose = f"model {name!r}" if name else "every model"
            raise InvalidArgument(f"--labels_file names two files for {whose}")
        files[name] = path
    return files


def find_labels(
    files: Mapping[str, str], model: str, version: int, base_path: str | None
) -> tuple[str, ...] | None:
    """The labels of a version, None where nobody gave any. Reads the disk.

    Args:
        files: see `parse_labels_flag`.
        model: its name.
        version: whose assets to look into.
        base_path: of the model, where it is known.

    Raises:
        InvalidArgument: a file that is there holds no labels.
        NotRegular: what the flag names is no file.
        OSError: a file that the flag names cannot be read.
    """
    named = files.get(model) or files.get(EVERY_MODEL)
    if named:
        return read_labels(Path(local_path(named)))
    directory = None if base_path is None else version_directory(base_path, version)
    if base_path is None or directory is None:
        return None
    asset = directory / _ASSET
    # `salver serve FILE` links the assets that stand beside the file into a version.
    base = Path(local_path(base_path))
    is_own = asset.is_file() and _is_within(asset, base, directory, asset.parent)
    return read_labels(asset) if is_own else None


def _is_within(asset: Path, *directories: Path) -> bool:
    """Whether a file is the model's own.

    Models may be strangers' work, and a link in one may lead to any file that the server can read.
    """
    path = asset.resolve()
    return any(path.is_relative_to(directory.resolve()) for directory in directories)


def read_labels(path: Path) -> tuple[str, ...]:
    """Read a file of labels; see `parse_labels`.

    Raises:
        InvalidArgument: it is too long, no text, or JSON without labels.
        NotRegular: it is no file.
        OSError: it cannot be read.
    """
    try:
        data = read_regular(path, _MOST_BYTES)
    except OutOfRange:
        raise InvalidArgument(
            f"{path.name} is no list of labels: it is longer than 4 MiB"
        ) from None
    try:
        return parse_labels(data.decode("utf-8-sig"))
    except RecursionError as error:
        raise InvalidArgument(f"{path.name} is no list of labels: it is too deep") from error
    except (UnicodeDecodeError, ValueError) as error:
        raise InvalidArgument(f"{path.name} is no list of labels: {error}") from error


def parse_labels(text: str) -> tuple[str, ...]:
    """One label per line; or JSON: a list, `{"cat": 0}` as Keras writes it, or `{"0": "cat"}`.

    Numbers before the labels (`0 cat`, `1: dog`) are dropped when every line has its own.

    Raises:
        ValueError: it looks like JSON and is none, or holds no labels.
    """
    if text.lstrip()[:1] in ("[", "{"):
        return _from_json(json.loads(text))
    lines = [line.strip() for line in text.rstrip().splitlines()]
    numbered = [re.fullmatch(rf"{row}\s*[\s:,;]\s*(\S.*)", line) for row, line in enumerate(lines)]
    return tuple(
        match[1] if match is not None and all(numbered) else line
        for match, line in zip(numbered, lines, strict=True)
    )


def _from_json(value: Any) -> tuple[str, ...]:
    if isinstance(value, list):
        return tuple(map(str, value))
    by_index: dict[int, str] = {}
    for key, of in value.items():
        is_index = isinstance(of, int) and not isinstance(of, bool)
        index, label = (of, key) if is_index else (int(key), str(of))
        by_index[index] = label
    count = max(by_index, default=-1) + 1
    if min(by_index, default=0) < 0 or count > len(by_index):
        raise ValueError("the numbers of its classes have gaps")
    return tuple(by_index[index] for index in range(count))
