"""What stands beside a model of its classes and columns: `assets/salver.json` and `labels.txt`."""

import logging
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from salver.about.assets import read_about, read_asset
from salver.about.document import About
from salver.errors import NotFound, ServingError
from salver.vocabulary.signature import DEFAULT_SIGNATURE

__all__ = ["Meaning", "read_meaning"]

_log = logging.getLogger(__name__)

_LABELS: Final = "labels.txt"
_MOST_BYTES: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a person wrote of a model.

    Attributes:
        labels: names of the classes, in their order; none where nobody said.
        inputs: the inputs of the default signature that the document tells of.
    """

    labels: tuple[bytes, ...] = ()
    inputs: frozenset[str] = frozenset()

    def asks_for_columns(self, names: Collection[str]) -> bool:
        """Whether the inputs it tells of are columns, rather than the matrix."""
        return bool(self.inputs) and self.inputs <= set(names)

    def labels_of(self, count: int) -> list[bytes]:
        """The names of so many classes: their numbers, where it has not just as many."""
        if len(self.labels) == count:
            return list(self.labels)
        if self.labels:
            _log.warning("%d labels for %d classes: they are left out", len(self.labels), count)
        return [b"%d" % number for number in range(count)]


def read_meaning(directory: Path, output: str) -> Meaning:
    """Read it. A document that is wrong keeps no model from serving, and says nothing here.

    Args:
        directory: of the version.
        output: the one whose labels are the classes.
    """
    about = _about(directory)
    default = None if about is None else about.signatures.get(DEFAULT_SIGNATURE)
    if default is None:
        return Meaning(_labels_file(directory))
    told = default.outputs.get(output)
    labels = tuple(label.encode() for label in told.labels) if told is not None else ()
    return Meaning(labels or _labels_file(directory), frozenset(default.inputs))


def _about(directory: Path) -> About | None:
    try:
        return read_about(directory)
    except (ServingError, OSError) as error:
        _log.warning("assets/salver.json of %s is left out: %s", directory, error)
        return None


def _labels_file(directory: Path) -> tuple[bytes, ...]:
    try:
        text = read_asset(directory, _LABELS, _MOST_BYTES)
    except NotFound:
        return ()
    except (ServingError, OSError) as error:
        _log.warning("assets/%s of %s is left out: %s", _LABELS, directory, error)
        return ()
    return tuple(line.strip() for line in text.splitlines() if line.strip())
