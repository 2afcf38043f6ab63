"""Brings the files of a version into a directory: in parts, several at a time, each once.

What is there already is noted in a file beside them, so that a fetch that was broken off goes on
where it was. Checksums are taken of what stands on the disk, while other parts still come.
"""

import hashlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Protocol

from salver.errors import Aborted, Cancelled, DataLoss, InvalidArgument, ServingError, Unavailable
from salver.instruments.threads import step_back
from salver.remote.backing_off import Backoff
from salver.remote.bandwidth import Bandwidth
from salver.remote.errors import RangesIgnored, StoreBusy, is_transient
from salver.remote.pace import LEAST_BYTES_PER_S, Pace
from salver.sources.protocol import Stage, within

__all__ = ["NOTES", "PART_BYTES", "Parts", "Reader", "RemoteFile", "check_names"]

NOTES: Final = ".salver-parts"
"""The file that says which parts are there; no file of a model has this name."""

PART_BYTES: Final = 8 << 20
_AT_ONCE: Final = 8  # requests of one fetch
_TRIES: Final = 5  # of one part
_BACKOFF: Final = Backoff(0.2, 10.0)
_LOOK_S: Final = 0.1
_HASH_BYTES: Final = 1 << 18
_NOTE_BYTES: Final = 1 << 20  # of a part that are fetched again after a process was killed


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a version, as it was listed.

    Attributes:
        name: below the version, as `variables/variables.index`.
        size: in bytes.
        etag: changes when the file does; empty where the store has none.
        sha256: of its content; empty where nobody says.
    """

    name: str
    size: int
    etag: str = ""
    sha256: str = ""


class Reader(Protocol):
    """Reads files of one version. Used by several threads at once."""

    @property
    def has_ranges(self) -> bool:
        """Whether parts can be read; known once they could not."""
        ...

    def read(self, file: RemoteFile, start: int, stop: int, chunk_bytes: int) -> Iterator[Any]:
        """The bytes of a file from one place to before another, in chunks of about a size or more.

        Raises:
            RangesIgnored: parts cannot be read.
            ServingError: it cannot be read.
        """
        ...


def check_names(names: Iterable[str], into: Path) -> None:
    """Refuse files that cannot all stand in a directory under their names.

    Raises:
        InvalidArgument: a name leads out of the directory or is none, or two would be one file
            where capitals do not count, or one is a file and a directory.
    """
    seen: dict[str, str] = {}
    directories: dict[str, str] = {}
    for name in names:
        within(into, name)
        if any(ord(character) < 32 for character in name) or name.split("/")[0] == NOTES:
            raise InvalidArgument(f"{name!r} cannot be the name of a file of a model")
        parts = name.split("/")
        for depth in range(1, len(parts)):
            directory = "/".join(parts[:depth])
            if directories.setdefault(directory.casefold(), directory) != directory:
                raise _clash(directory, directories[directory.casefold()])
        if (other := seen.setdefault(name.casefold(), name)) != name:
            raise _clash(name, other)
    for folded in seen.keys() & directories.keys():
        raise _clash(f"{directories[folded]}/", seen[folded])


def _clash(one: str, other: str) -> InvalidArgument:
    first, second = sorted((one, other))
    return InvalidArgument(
        f"{first!r} and {second!r} cannot both be files of a model: their names differ too little"
    )


@dataclass(frozen=True, slots=True)
class _Part:
    file: RemoteFile
    start: int
    stop: int

    @property
    def note(self) -> str:
        return f"{self.start} {self.stop} {self.file.name}\n"


@dataclass(slots=True)
class _Sum:
    """The checksum of a file as far as it is there without a gap."""

    file: RemoteFile
    stops: dict[int, int] = field(default_factory=dict)  # start → stop of the parts that are there
    at: int = 0
    digest: Any = field(default_factory=hashlib.sha256)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def advance(self, path: Path) -> None:
        """Go on to the next gap, unless another thread does."""
        if not self.lock.acquire(blocking=False):
            return
        try:
            buffer = memoryview(bytearray(_HASH_BYTES))
            with path.open("rb", buffering=0) as content:
                content.seek(self.at)
                while (stop := self.stops.pop(self.at, None)) is not None:
                    while self.at < stop:
                        count = content.readinto(buffer[: stop - self.at])
                        if not count:
                            return
                        self.digest.update(buffer[:count])
                        self.at += count
        finally:
            self.lock.release()


def _covered(part: _Part, noted: Mapping[tuple[str, int], int]) -> int:
    """Up to where a part is there already."""
    at = part.start
    while at < part.stop and (stop := noted.get((part.file.name, at), at)) > at:
        at = stop
    return min(at, part.stop)


class Parts:
    """One fetch. To be used once."""

    def __init__(
        self,
        files: Sequence[RemoteFile],
        into: Path,
        reader: Reader,
        stage: Stage,
        bandwidth: Bandwidth,
        *,
        part_bytes: int = PART_BYTES,
        location: str = "",
        backoff: Backoff = _BACKOFF,
        stall_s: float = 60.0,
        is_behind: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Fetch nothing yet.

        Args:
            files: of the version.
            into: is there; may hold what an earlier fetch of the same files has left.
            reader: reads them.
            stage: is told how it goes. Used in the thread of `run` alone.
            bandwidth: is asked for each chunk.
            part_bytes: how large a part is.
            location: of the version, for errors.
            backoff: how long to wait before a part is tried again.
            stall_s: how long it may go on as good as not at all.
            is_behind: whether the threads of the parts run behind those that serve requests.
            clock: seconds, monotonic.
        """
        self._clock = clock
        self._stall_s = stall_s
        self._pace = Pace(clock(), stall_s)
        self._held: set[int] = set()  # threads that wait for something else than the store
        self._reached: dict[_Part, int] = {}  # up to where those are there that are under way
        self._backoff = backoff
        self._is_behind = is_behind
        self._files = files
        self._into = into
        self._reader = reader
        self._stage = stage
        self._bandwidth = bandwidth
        self._part_bytes = part_bytes
        self._location = location
        self._lock = threading.Lock()  # guards what follows
        self._waiting: deque[_Part] = deque()
        self._done_bytes = 0
        self._received_bytes = 0
        self._error: BaseException | None = None
        self._stopped = threading.Event()
        self._changed = threading.Event()
        self._sums: dict[str, _Sum] = {}
        self._notes_are_closed = False

    def run(self) -> None:
        """Fetch what is not there yet, and look at the checksums.

        Raises:
            ServingError: it cannot be fetched, or is not what it should be.
            OSError: it cannot be written.
        """
        check_names((file.name for file in self._files), self._into)
        if self._try():
            self._try()  # in whole files, now that the store is known to know no parts
        self._check_sums()
        (self._into / NOTES).unlink(missing_ok=True)

    # -- in the thread of the fetch --------------------------------------------------------------

    def _try(self) -> bool:
        """Fetch all parts; whether the store has turned out to answer no parts."""
        noted = self._noted()
        for file in self._files:
            within(self._into, file.name).parent.mkdir(parents=True, exist_ok=True)
        notes = os.open(self._into / NOTES, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._plan(noted)
            if (resumed := getattr(self._stage, "resumed", None)) is not None:
                resumed(self._done_bytes)
            threads = [
                threading.Thread(
                    target=self._work, args=(notes,), name=f"salver-part-{number}", daemon=True
                )
                for number in range(min(_AT_ONCE, len(self._waiting)))
            ]
            for thread in threads:
                thread.start()
            try:
                self._attend(threads)
            except BaseException:
                self._stopped.set()
                for thread in threads:  # of a store that hangs they end later, and harm nobody
                    thread.join(_LOOK_S)
                self._note_what_came(notes)
                raise
        finally:
            with self._lock:
                os.close(notes)
                self._notes_are_closed = True
        if isinstance(self._error, RangesIgnored):
            return True
        if self._error is not None:
            raise self._error
        return False

    def _attend(self, threads: Sequence[threading.Thread]) -> None:
        while any(thread.is_alive() for thread in threads):
            self._changed.wait(_LOOK_S)
            self._changed.clear()
            self._stage.progress(self._done_bytes)
            if self._pace.look(self._clock(), self._received_bytes, is_held=bool(self._held)):
                raise Unavailable(
                    f"{self._location}: fewer than {LEAST_BYTES_PER_S} bytes a second have come "
                    f"for {self._stall_s:g} s"
                )
        self._stage.progress(self._done_bytes)

    def _plan(self, noted: Mapping[tuple[str, int], int]) -> None:
        self._stopped.clear()
        self._notes_are_closed = False
        self._error = None
        self._done_bytes = 0
        self._sums = {file.name: _Sum(file) for file in self._files if file.sha256}
        for file in self._files:
            path = within(self._into, file.name)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                os.ftruncate(descriptor, file.size)
            finally:
                os.close(descriptor)
            for part in self._parts_of(file):
                at = _covered(part, noted)
                if at < part.stop and not self._reader.has_ranges:
                    at = part.start
                if at > part.start:
                    self._is_there(replace(part, stop=at))
                if at < part.stop:
                    self._waiting.append(replace(part, start=at))

    def _parts_of(self, file: RemoteFile) -> Iterator[_Part]:
        size = self._part_bytes if self._reader.has_ranges else max(1, file.size)
        for start in range(0, file.size, size):
            yield _Part(file, start, min(start + size, file.size))

    def _is_there(self, part: _Part) -> None:
        with self._lock:
            self._done_bytes += part.stop - part.start
            if (sums := self._sums.get(part.file.name)) is not None:
                sums.stops[part.start] = part.stop

    def _noted(self) -> dict[tuple[str, int], int]:
        """Name and start → stop of what is there."""
        noted: dict[tuple[str, int], int] = {}
        for line in self._note_lines():
            start, stop, name = line.split(" ", 2)
            key = name, int(start)
            noted[key] = max(int(stop), noted.get(key, 0))
        return noted

    def _note_lines(self) -> list[str]:
        try:
            text = (self._into / NOTES).read_text(errors="surrogateescape")
        except FileNotFoundError:
            return []
        return [line for line in text.split("\n")[:-1] if line.count(" ") >= 2]

    def _check_sums(self) -> None:
        for name, sums in self._sums.items():
            path = within(self._into, name)
            sums.advance(path)
            self._stage.check()
            if sums.digest.hexdigest() != sums.file.sha256:
                self._forget(sums.file)
                error = DataLoss(
                    f"{self._location}: {name} is not the file that its checksum is of"
                )
                error.is_final = True
                raise error

    def _forget(self, file: RemoteFile) -> None:
        """Have the next fetch bring a file anew."""
        kept = [line for line in self._note_lines() if line.split(" ", 2)[2] != file.name]
        text = "".join(f"{line}\n" for line in kept)
        (self._into / NOTES).write_text(text, errors="surrogateescape")

    # -- in the threads of the parts -------------------------------------------------------------

    def _work(self, notes: int) -> None:
        try:
            if self._is_behind:  # most of what it does is done without the GIL
                step_back()
            while not self._stopped.is_set():
                with self._lock:
                    part = self._waiting.popleft() if self._waiting else None
                if part is None:
                    return
                self._fetch(part, notes)
                self._advance(part)
        except BaseException as error:  # noqa: BLE001 - whatever it is ends the fetch
            with self._lock:
                if self._error is None:
                    self._error = error
                self._waiting.clear()
            self._stopped.set()
        finally:
            self._changed.set()

    def _note(self, part: _Part, notes: int, *, is_over: bool = True) -> None:
        with self._lock:
            if self._notes_are_closed:  # another fetch may have begun
                return
            os.write(notes, part.note.encode(errors="surrogateescape"))
            if is_over and (sums := self._sums.get(part.file.name)) is not None:
                sums.stops[part.start] = part.stop

    def _note_what_came(self, notes: int) -> None:
        """Have the next fetch go on where those parts are that nobody waits for any more."""
        for part, at in self._reached.copy().items():
            if at > part.start and self._reader.has_ranges:
                self._note(replace(part, stop=at), notes, is_over=False)

    def _advance(self, part: _Part) -> None:
        if (sums := self._sums.get(part.file.name)) is not None:
            with self._holding():
                sums.advance(within(self._into, part.file.name))

    @contextmanager
    def _holding(self) -> Iterator[None]:
        """What is done in here takes its time, whatever the store does."""
        thread = threading.get_ident()
        self._held.add(thread)
        try:
            yield
        finally:
            self._held.discard(thread)

    @property
    def _chunk_bytes(self) -> int:
        """How much to be told of at a time: of a store that may drip, of each byte."""
        return self._bandwidth.chunk_bytes if self._pace.is_quick else 1

    def _fetch(self, part: _Part, notes: int) -> None:
        """One part; after a failure from where it was broken off, if the store can do that."""
        path = within(self._into, part.file.name)
        descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        at, failures, noted_at = part.start, 0, part.start
        try:
            while at < part.stop:
                before = at
                try:
                    for chunk in self._reader.read(part.file, at, part.stop, self._chunk_bytes):
                        with self._holding():
                            self._reached[part] = at = self._write(descriptor, chunk, at, part)
                        if at - noted_at >= _NOTE_BYTES and self._reader.has_ranges:
                            noted_at = at
                            self._note(replace(part, stop=at), notes, is_over=False)
                    if at < part.stop:
                        raise self._ended_early(part, at)
                except ServingError as error:
                    failures = 1 if at > before else failures + 1
                    if not is_transient(error) or failures >= _TRIES:
                        raise
                    asked_s = error.retry_after_s if isinstance(error, StoreBusy) else 0.0
                    self._pause(self._backoff.wait_s(failures, asked_s), is_asked=asked_s > 0)
                    if not self._reader.has_ranges:
                        self._count(part.start - at)
                        at = part.start
        finally:
            os.close(descriptor)
            self._reached.pop(part, None)
            if at > part.start and (at == part.stop or self._reader.has_ranges):
                self._note(replace(part, stop=at), notes)

    def _write(self, descriptor: int, chunk: Any, at: int, part: _Part) -> int:
        """Write what has come; returns where the next is to stand."""
        content = memoryview(chunk).cast("B")
        if at + len(content) > part.stop:
            raise Aborted(
                f"{self._location}: {part.file.name} has more bytes than were listed; it was "
                "changed while it was fetched"
            )
        self._bandwidth.take(len(content), self._check)
        self._check()
        while content:
            written = os.pwrite(descriptor, content, at)
            content, at = content[written:], at + written
            self._count(written)
        return at

    def _ended_early(self, part: _Part, at: int) -> Unavailable:
        size = part.file.size
        return Unavailable(f"{self._location}: {part.file.name} ended after {at} of {size} bytes")

    def _count(self, written: int) -> None:
        with self._lock:
            self._done_bytes += written
            self._received_bytes += max(0, written)

    def _check(self) -> None:
        if self._stopped.is_set():
            raise Cancelled("The fetch was given up")

    def _pause(self, seconds: float, *, is_asked: bool) -> None:
        with self._holding() if is_asked else nullcontext():
            self._stopped.wait(seconds)
            self._check()
