"""The `config.pbtxt` beside the versions of a model in a bucket, as in Triton's repositories."""

import tempfile
import threading
from collections import deque
from collections.abc import Callable, Collection, Hashable, Sequence
from pathlib import Path
from typing import Final

from salver.about.config_file import FILE
from salver.errors import Aborted, ServingError
from salver.remote.listing import Entry, entry_of, revision
from salver.remote.parts import RemoteFile
from salver.remote.places import joined
from salver.remote.stores import Bucket
from salver.sources.protocol import MonitoredServable
from salver.sources.unforeseen import Unforeseen
from salver.vocabulary.servable import VersionPolicy

__all__ = ["MOST_BYTES", "Policies", "PolicyOf", "read_config_beside"]

MOST_BYTES: Final = 1 << 20  # as on this machine
_AT_ONCE: Final = 8


def read_config_beside(bucket: Bucket, path: str, wanted: str) -> bytes:
    """The file in a base path.

    Args:
        bucket: where it is.
        path: of the base path.
        wanted: the revision of the file, as it was listed.

    Raises:
        Aborted: it is another by now.
        ServingError: it cannot be read.
    """
    name = joined(path, FILE)
    meta = bucket.head(name)
    entry = None if meta is None else entry_of(FILE, meta)
    if entry is None or revision([entry]) != wanted:
        raise Aborted(f"{joined(bucket.root, name)} has changed since it was listed")
    return bucket.read_small(name, MOST_BYTES, RemoteFile(FILE, entry.size, entry.etag))


class PolicyOf:
    """One model whose policy is asked for.

    Attributes:
        key: of the model.
        servable: the model.
        path: of its base path.
        config: as it was listed.
    """

    __slots__ = ("config", "key", "path", "servable")

    def __init__(
        self, key: Hashable, servable: MonitoredServable, path: str, config: Entry
    ) -> None:
        """See there."""
        self.key = key
        self.servable = servable
        self.path = path
        self.config = config


class Policies:
    """What such files say of versions. Each is read when it has changed.

    Used in one thread.
    """

    def __init__(self) -> None:
        """Know nothing."""
        self._unforeseen = Unforeseen()
        self._known: dict[Hashable, tuple[str, VersionPolicy | None]] = {}

    def keep(self, keys: Collection[Hashable]) -> None:
        """Forget the others."""
        self._known = {key: of for key, of in self._known.items() if key in keys}

    def read(self, bucket: Bucket, asked: Sequence[PolicyOf]) -> dict[Hashable, ServingError]:
        """Read those that are new, several at a time; why some cannot be."""
        new = deque(
            each
            for each in asked
            if each.servable.is_policy_beside
            and self._known.get(each.key, ("",))[0] != each.config.line
        )
        errors: dict[Hashable, ServingError] = {}

        def work() -> None:
            while new:
                try:
                    each = new.popleft()
                except IndexError:  # another thread was quicker
                    return
                try:
                    policy = _policy(bucket, each)
                except Exception as error:  # noqa: BLE001 - of one model, and not of all
                    base_path = each.servable.base_path
                    errors[each.key] = self._unforeseen.as_serving_error(base_path, error)
                else:
                    self._unforeseen.forget(each.servable.base_path)
                    self._known[each.key] = each.config.line, policy

        _run_together(work, min(_AT_ONCE, len(new)))
        return errors

    def of(self, key: Hashable, servable: MonitoredServable) -> VersionPolicy:
        """Which versions of a model are to be served."""
        policy = self._known.get(key, ("", None))[1] if servable.is_policy_beside else None
        return servable.policy if policy is None else policy

    def forget(self, key: Hashable) -> None:
        """There is no such file any more."""
        self._known.pop(key, None)


def _run_together(work: Callable[[], object], count: int) -> None:
    if count < 2:
        work()
        return
    threads = [
        threading.Thread(target=work, name=f"salver-list-{number}", daemon=True)
        for number in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _policy(bucket: Bucket, asked: PolicyOf) -> VersionPolicy | None:
    """What a file says; of one that is wrong it is told when a version loads."""
    content = read_config_beside(bucket, asked.path, revision([asked.config]))
    with tempfile.TemporaryDirectory(prefix="salver-config-") as directory:
        Path(directory, FILE).write_bytes(content)
        return asked.servable.policy_in(directory)
