"""The SavedModels of Keras files: converted when first wanted, then kept."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from salver.backends.keras.conversion import CHILD, STOPPING, convert, require_keras
from salver.backends.keras.files import Stamp, must_be_whole, stamp
from salver.backends.keras.options import KerasOptions
from salver.errors import ServingError, Unavailable
from salver.instruments.cache import Cache
from salver.instruments.files import error_of_os, open_regular
from salver.metrics.installed import TENSORFLOW, installed_version

__all__ = ["ConvertedFiles"]

_CHUNK_BYTES: Final = 1 << 20
_DIGITS: Final = 32

Convert = Callable[..., None]
"""What converts; see `conversion.convert`."""


class ConvertedFiles:
    """Converts files, one at a time. Safe to use from any thread."""

    def __init__(
        self,
        options: KerasOptions,
        convert: Convert = convert,
        *,
        turn: "threading.Lock | None" = None,
    ) -> None:
        """Convert nothing yet.

        Args:
            options: how.
            convert: what converts one.
            turn: held by who converts, where there are several of these.
        """
        self._options = options
        self._convert = convert
        self._stopping = threading.Event()
        self._turn = turn or threading.Lock()
        self._failures: dict[Path, tuple[tuple[Stamp, ...], ServingError]] = {}

    def stop(self) -> None:
        """Give up what is being converted, now and for ever."""
        self._stopping.set()

    @contextmanager
    def of(self, file: Path) -> Iterator[Path]:
        """The SavedModel of a file; it stays while the block runs.

        A file that could not be converted is not tried again before it changes, or a module that
        is imported with it.

        Raises:
            Unavailable: `stop` was called.
            ServingError: it cannot be converted.
        """
        options = self._options
        seen = self._stamps(file)
        before = self._failures.get(file)
        if before is not None and before[0] == seen:
            raise before[1]
        must_be_whole(file)
        cache = Cache(options.cache, max_bytes=options.max_cache_bytes)
        with cache.entry(
            self._key(file), lambda target: self._make(file, target, seen), check=self._check
        ) as made:
            yield made

    def _check(self) -> None:
        if self._stopping.is_set():
            raise Unavailable(STOPPING)

    def _make(self, file: Path, target: Path, seen: tuple[Stamp, ...]) -> None:
        require_keras()  # not a failure of the file's
        while not self._turn.acquire(timeout=0.05):
            self._check()
        try:
            self._convert(file, target, self._options, stopping=self._stopping)
        except Unavailable:
            raise
        except ServingError as error:
            self._failures[file] = (seen, error)
            raise
        finally:
            self._turn.release()
        self._failures.pop(file, None)

    def _stamps(self, file: Path) -> tuple[Stamp, ...]:
        return (stamp(file), *(stamp(path) for path in self._custom_files()))

    def _custom_files(self) -> list[str]:
        """The files among the modules to import; changes in packages are not seen."""
        return [name for name in self._options.custom_objects if name.endswith(".py")]

    def _key(self, file: Path) -> str:
        """What the conversion depends on: contents, versions, settings."""
        options = self._options
        digest = hashlib.sha256(CHILD.read_bytes())  # what converts otherwise, converts anew
        for path in [file, *map(Path, self._custom_files())]:
            digest.update(self._digest(path))
        for part in (
            file.suffix,
            installed_version(("keras", "keras-nightly")),
            installed_version(("tf_keras",)),
            installed_version(TENSORFLOW),
            str(options.safe_mode),
            *options.custom_objects,
        ):
            digest.update(f"{part}\n".encode())
        return digest.hexdigest()[:_DIGITS]

    def _digest(self, path: Path) -> bytes:
        digest = hashlib.sha256()
        try:
            with open_regular(path) as file:
                while chunk := file.read(_CHUNK_BYTES):
                    self._check()
                    digest.update(chunk)
        except OSError as error:
            raise error_of_os(str(path), error) from error
        return digest.digest()
