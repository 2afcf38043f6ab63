"""Whether all files of a version are there. Pure.

A store shows the files of a version one by one as they are uploaded. So a version is complete when
its manifest is listed, which comes last, or when two listings some time apart agree; and never
while the file stands beside it by which an upload says that it goes on.
"""

from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass, field

from salver.instruments.manifest import MANIFEST, PART

__all__ = ["Seen", "Settling"]


@dataclass(frozen=True, slots=True)
class Seen:
    """One version in a listing.

    Attributes:
        files: changes when any file does.
        has_manifest: its checksums are listed.
        is_uploading: an upload goes on.
    """

    files: Hashable
    has_manifest: bool
    is_uploading: bool

    @classmethod
    def of(cls, files: Hashable, names: Collection[str]) -> "Seen":
        """What a listing says.

        Args:
            files: changes when any file does.
            names: of the files.
        """
        return cls(files, MANIFEST in names, PART in names)


@dataclass(slots=True)
class Settling:
    """Remembers the versions of one model from listing to listing.

    Attributes:
        settle_s: how long the listing of a version without a manifest has to stay the same.
        again_s: when to list again, for one of them to be complete; None when none is waited for.
    """

    settle_s: float
    again_s: float | None = None
    _since: dict[int, tuple[Hashable, float]] = field(default_factory=dict)
    _complete: dict[int, Hashable] = field(default_factory=dict)

    def complete(
        self, seen: Mapping[int, Seen], now_s: float, kept: Collection[int] = ()
    ) -> set[int]:
        """Which of the versions in a listing are complete.

        Args:
            seen: all of them.
            now_s: seconds, monotonic.
            kept: those that were complete once, with the same files.
        """
        before, self._since = self._since, {}
        self.again_s = None
        found = set()
        for number, version in seen.items():
            files, since_s = before.get(number, (None, now_s))
            if files != version.files:
                since_s = now_s
            self._since[number] = (version.files, since_s)
            if version.is_uploading:
                self._complete.pop(number, None)
                continue
            due_s = since_s + self.settle_s
            is_settled = number in kept or self._complete.get(number) == version.files
            if version.has_manifest or is_settled or now_s >= due_s:
                self._complete[number] = version.files
                found.add(number)
            else:
                self.again_s = due_s if self.again_s is None else min(self.again_s, due_s)
        self._complete = {n: files for n, files in self._complete.items() if n in seen}
        return found
