"""Which versions have to bring sums of their files, and a signature of those; and looking at them.

A version that brings `SHA256SUMS` is compared with it before it is loaded, asked for or not. One
that was fetched is compared in the cache, where nobody else writes. One that stands in a directory
is compared there: that finds what is damaged or copied by half. Where flags demand sums it is
copied into the cache first and compared and loaded there, so that what is loaded is what was
compared, whoever may write to the directory.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from salver.errors import FailedPrecondition, InvalidArgument, OutOfRange
from salver.instruments.files import OsErrorsOf, footprint, read_regular
from salver.instruments.manifest import (
    MANIFEST,
    MAX_BYTES,
    MAX_FILES,
    SIGNATURE,
    Check,
    check_files,
    check_names,
    check_sum,
    copy_file,
    final,
    list_files,
    parse_manifest,
    read_manifest,
)
from salver.instruments.signatures import PublicKeys, read_public_keys
from salver.sources.protocol import Stage, Version

__all__ = ["LocalCopies", "Verification"]

_MAX_SIGNATURE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Verification:
    """What is demanded.

    Attributes:
        is_required: a version without sums is refused.
        keys: one of which must have signed the sums; None where nobody needs to.
    """

    is_required: bool = False
    keys: PublicKeys | None = None

    @classmethod
    def of(cls, *, is_required: bool, public_key_file: str) -> "Verification":
        """What the flags say.

        Raises:
            ServingError: the file of keys cannot be used.
        """
        return cls(is_required, read_public_keys(public_key_file) if public_key_file else None)

    @property
    def is_demanded(self) -> bool:
        """Whether a version without sums is refused."""
        return self.is_required or self.keys is not None

    def sums(self, directory: str | os.PathLike[str], shown: str) -> dict[str, str] | None:
        """The sums that a version brings, whoever signed them being one who may; None for none.

        Args:
            directory: of the version.
            shown: where it is, for errors.

        Raises:
            FailedPrecondition: sums or their signature are demanded, and are not there.
            PermissionDenied: they are signed by somebody else.
            ServingError: they cannot be read.
        """
        content = read_manifest(directory)
        if content is None:
            if self.is_demanded:
                flag = "require_manifest" if self.is_required else "manifest_public_key_file"
                raise final(
                    FailedPrecondition(
                        f"{shown} has no {MANIFEST}, which the server demands (--{flag})",
                        hint="Publish it with sums: salver publish --manifest, or --sign_key.",
                    )
                )
            return None
        if self.keys is not None:
            self.keys.check(content, _signature(directory, shown))
        return parse_manifest(content)

    def check(self, directory: str, shown: str, check: Check) -> bool:
        """Compare the files of a version with its sums.

        Returns:
            Whether it has any.

        Raises:
            DataLoss: they differ.
            ServingError: see `sums`; and what `check` raises.
        """
        sums = self.sums(directory, shown)
        if sums is not None:
            check_files(directory, sums, check)
        return sums is not None


def _signature(directory: str | os.PathLike[str], shown: str) -> bytes:
    path = Path(directory, SIGNATURE)
    if not os.path.lexists(path):
        raise final(
            FailedPrecondition(
                f"{shown} has no {SIGNATURE}, which the server demands "
                "(--manifest_public_key_file)",
                hint="Publish it with one: salver publish --sign_key=KEY.",
            )
        )
    try:
        with OsErrorsOf(path):
            return read_regular(path, _MAX_SIGNATURE_BYTES)
    except OutOfRange as error:
        raise final(InvalidArgument(error.message)) from error


class LocalCopies:
    """Copies versions of this machine into the cache, comparing what is written: a `Fetcher`."""

    can_resume = False
    is_comparing = True

    def __init__(self, verification: Verification) -> None:
        """Copy nothing yet.

        Args:
            verification: what is demanded of them.
        """
        self._verification = verification

    def version(self, directory: str) -> Version:
        """A version directory, as the cache is to know it.

        Raises:
            ServingError: it cannot be looked at.
        """
        return Version(os.path.realpath(directory), footprint(directory))

    def fetch(self, version: Version, into: Path, stage: Stage) -> None:
        """See `Fetcher`.

        Raises:
            DataLoss: the files are not those that are listed.
            ServingError: see `Verification.sums`; and what `stage` raises.
        """
        directory = version.location
        for name in (MANIFEST, SIGNATURE):  # the very bytes that are judged
            path = Path(directory, name)
            if os.path.lexists(path):
                with OsErrorsOf(path):
                    (into / name).write_bytes(read_regular(path, MAX_BYTES))
        sums = self._verification.sums(into, directory) or {}
        names = list_files(directory, MAX_FILES)
        check_names(names, sums)
        root = os.path.realpath(directory)
        done_bytes = 0

        def copied(count: int) -> None:
            nonlocal done_bytes
            done_bytes += count
            stage.progress(done_bytes)

        for name in names:
            source = os.path.join(directory, name)
            if os.path.commonpath((root, os.path.realpath(source))) != root:
                raise final(
                    InvalidArgument(
                        f"{name} is a link that leads out of {directory}, which a version whose "
                        "sums are demanded cannot have"
                    )
                )
            target = into / name
            target.parent.mkdir(parents=True, exist_ok=True)
            check_sum(name, copy_file(source, target, copied), sums[name])
