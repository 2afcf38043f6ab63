"""What stands beside a version in the cache: where it came from, and how large its files were."""

import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from salver.errors import DataLoss, ServingError
from salver.instruments.files import Footprint
from salver.instruments.uris import CanonicalUri, canonical_uri
from salver.sources import versions
from salver.sources.protocol import MonitoredServable, Version

__all__ = ["RECORD", "KeptVersions", "Record", "read_record"]

RECORD: Final = "version.json"
"""Its name."""

_SCHEMA: Final = 1
_AGAIN_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Record:
    """One version that was fetched.

    Attributes:
        number: of the version.
        location: where it came from.
        files: as `Version.files`, when it was fetched.
        revision: likewise.
        sizes: path of a file in the version → bytes.
        base_path: of the model that it was fetched for.
        fetched_s: when, in seconds since 1970.
        beside: as `Version.beside`, when it was fetched.
    """

    number: int
    location: str
    files: Footprint | None
    revision: str
    sizes: Mapping[str, int]
    base_path: str = ""
    fetched_s: int = 0
    beside: str = ""

    @property
    def version(self) -> Version:
        """The version as it was listed then."""
        return Version(self.location, self.files, self.revision, self.beside)

    @property
    def size_bytes(self) -> int:
        """Of all files together."""
        return sum(self.sizes.values())

    @classmethod
    def of(
        cls, number: int, version: Version, directory: Path, base_path: str, fetched_s: int
    ) -> "Record":
        """The record of a version whose files are in a directory.

        Raises:
            OSError: it cannot be looked at.
        """
        sizes = _sizes(directory)
        return cls(
            *(number, version.location, version.files, version.revision),
            *(sizes, base_path, fetched_s, version.beside),
        )

    def write(self, entry: Path) -> None:
        """Leave it in a directory of the cache.

        Raises:
            OSError: it cannot be written.
        """
        values = {"schema": _SCHEMA, **asdict(self)}
        text = json.dumps(values, indent=1, ensure_ascii=True)  # lone surrogates, too
        (entry / RECORD).write_text(text, encoding="ascii")

    def check(self, directory: Path) -> None:
        """Compare the names and sizes of files with those that there were.

        Raises:
            DataLoss: they differ, or cannot be looked at.
        """
        try:
            sizes = _sizes(directory)
        except OSError as error:
            raise DataLoss(f"{directory} cannot be read: {error.strerror}") from error
        if sizes != self.sizes:
            names = sorted({*sizes.items()} ^ {*self.sizes.items()})
            raise DataLoss(f"{names[0][0]!r} of {directory} is not what was fetched")


def read_record(entry: Path) -> Record | None:
    """The record in a directory of the cache; None where there is none that can be read."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        values: dict[str, Any] = json.loads((entry / RECORD).read_bytes())
        if values.pop("schema") == _SCHEMA:
            files = values.pop("files")
            return Record(files=None if files is None else Footprint(**files), **values)
    return None


class KeptVersions:
    """What a cache has of models, while their store is away. Safe to use from any thread."""

    def __init__(self, cache: Callable[[], Path], clock: Callable[[], float]) -> None:
        """Look at nothing yet.

        Args:
            cache: its directory; may raise `ServingError`.
            clock: seconds, monotonic.
        """
        self._cache = cache
        self._clock = clock
        self._lock = threading.Lock()  # guards what follows
        self._records: Mapping[CanonicalUri, Sequence[Record]] = {}
        self._read_s: float | None = None

    def __call__(self, servable: MonitoredServable) -> Mapping[int, Version]:
        """Those of a model that its policy asks for.

        Of what was fetched of a version several times the newest counts.
        """
        found: dict[int, Record] = {}
        for record in self._by_base_path().get(canonical_uri(servable.base_path), ()):
            other = found.get(record.number)
            if other is None or record.fetched_s >= other.fetched_s:
                found[record.number] = record
        if not found:
            return {}
        names = versions.select(servable.policy, servable.name, map(str, found)).names
        return {number: found[number].version for number in names}

    def base_paths(self) -> list[str]:
        """The base paths of all models of which there is something."""
        records = self._by_base_path().values()
        return sorted({record.base_path for of in records for record in of})

    def _by_base_path(self) -> Mapping[CanonicalUri, Sequence[Record]]:
        """All records; read again after a while, since thousands of models may ask at once."""
        with self._lock:
            if self._read_s is None or self._clock() - self._read_s >= _AGAIN_S:
                records: dict[CanonicalUri, list[Record]] = {}
                with suppress(ServingError, OSError):
                    for path in self._cache().glob(f"*/{RECORD}"):
                        record = read_record(path.parent)
                        if record is not None and record.base_path:
                            records.setdefault(canonical_uri(record.base_path), []).append(record)
                self._records, self._read_s = records, self._clock()
            return self._records


def _sizes(directory: Path) -> dict[str, int]:
    found: dict[str, int] = {}
    for where, _, names in os.walk(directory, onerror=_raise):
        for name in names:
            path = os.path.join(where, name)
            found[os.path.relpath(path, directory)] = os.lstat(path).st_size
    return found


def _raise(error: OSError) -> None:
    raise error
