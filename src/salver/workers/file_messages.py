"""What a worker and the supervisor say of files that the supervisor fetches for it."""

from dataclasses import dataclass

from salver.instruments.files import Footprint

__all__ = [
    "CancelFetch",
    "FetchFiles",
    "FetchProgress",
    "FilesFetched",
    "FindFiles",
    "NoRoomOnDisk",
    "OfFiles",
    "ReleaseFiles",
]


class OfFiles:
    """Whatever a worker says of them."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class FindFiles(OfFiles):
    """Answered by the `Footprint` of a version that is elsewhere, as it was last listed."""

    location: str


@dataclass(frozen=True, slots=True)
class FetchFiles(OfFiles):
    """Make a version present, and keep it so; answered by `FilesFetched` or `NoRoomOnDisk`.

    Attributes:
        number: by which the messages that follow refer to it.
        version: its number.
        location: where it is.
    """

    number: int
    version: int
    location: str


@dataclass(frozen=True, slots=True)
class FilesFetched:
    """A version is present.

    Attributes:
        directory: of it.
        files: as `FindFiles`.
    """

    directory: str
    files: Footprint


@dataclass(frozen=True, slots=True)
class NoRoomOnDisk:
    """See `NoRoomBeside`."""

    message: str


@dataclass(frozen=True, slots=True)
class CancelFetch(OfFiles):
    """It is not wanted any more, be it there or not."""

    number: int


@dataclass(frozen=True, slots=True)
class ReleaseFiles(OfFiles):
    """It is not needed any more."""

    number: int


@dataclass(frozen=True, slots=True)
class FetchProgress:
    """How far a fetch is that the worker asked for; see `FetchFiles`."""

    number: int
    done_bytes: int
