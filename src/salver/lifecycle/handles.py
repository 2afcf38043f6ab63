"""The serving map: the one thing a request shares with the lifecycle.

Readers take no lock: they read one immutable table, swapped whole by the writers. A handle pins
its version until it is released, and a version that has been withdrawn hands out no new handles.

A pin is an element of a list, because `append` and `pop` are atomic, and cheaper than a counter
under a lock: see `docs/decisions/pins.md`.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from salver.errors import InvalidArgument, NotFound
from salver.vocabulary.servable import ServableId

__all__ = ["Entry", "Labels", "ServingMap"]

T = TypeVar("T")

Labels = Mapping[str, Mapping[str, int]]
"""Servable name → label → version."""


class Entry(Generic[T]):
    """One available version: what `acquire` gives. Release it exactly once per acquire."""

    __slots__ = ("_is_withdrawn", "_on_drained", "_pins", "_settling", "id", "model")

    def __init__(self, id: ServableId, model: T) -> None:
        self.id = id
        self.model = model
        self._pins: list[None] = []
        self._is_withdrawn = False
        self._on_drained: Callable[[], None] | None = None
        self._settling = threading.Lock()

    @property
    def in_flight(self) -> int:
        """How many requests hold this version now."""
        return len(self._pins)

    def try_acquire(self) -> bool:
        """Pin this version; False when it has been withdrawn.

        Whoever pins looks at the flag afterwards, and whoever sets the flag looks at the pins
        afterwards, so one of the two always sees the other.
        """
        self._pins.append(None)
        if self._is_withdrawn:
            self.release()
            return False
        return True

    def release(self) -> None:
        """Give one pin back; the last one of a withdrawn version reports it drained."""
        self._pins.pop()
        if self._is_withdrawn and not self._pins:
            self._settle()

    def withdraw(self, on_drained: Callable[[], None]) -> None:
        """Hand out no more pins; call `on_drained` once, when the last one is given back."""
        self._on_drained = on_drained
        self._is_withdrawn = True
        if not self._pins:
            self._settle()

    def _settle(self) -> None:
        # Two releases may both find the pins gone; only one of them may report it.
        with self._settling:
            on_drained, self._on_drained = self._on_drained, None
        if on_drained is not None:
            on_drained()


@dataclass(frozen=True, slots=True)
class _Table(Generic[T]):
    """What readers see, whole.

    Attributes:
        newest: name → its highest version.
        exact: (name, version) → that version.
        labels: what labels mean now.
        moving: labels that take effect when their version is published.
    """

    newest: Mapping[str, Entry[T]] = field(default_factory=dict)
    exact: Mapping[tuple[str, int], Entry[T]] = field(default_factory=dict)
    labels: Labels = field(default_factory=dict)
    moving: Labels = field(default_factory=dict)

    # Copies, but walks nothing: of a thousand models each is published by itself.

    def with_entry(self, entry: Entry[T]) -> "_Table[T]":
        name, version = entry.id.name, entry.id.version
        newest = self.newest.get(name)
        is_newest = newest is None or version >= newest.id.version
        return replace(
            self,
            newest={**self.newest, name: entry} if is_newest else self.newest,
            exact={**self.exact, (name, version): entry},
        )

    def without(self, entry: Entry[T]) -> "_Table[T]":
        name, newest, exact = entry.id.name, dict(self.newest), dict(self.exact)
        del exact[name, entry.id.version]
        if newest[name] is entry:
            del newest[name]
            left = [other for (of, _), other in exact.items() if of == name]
            if left:
                newest[name] = max(left, key=lambda other: other.id.version)
        return replace(self, newest=newest, exact=exact)

    def with_labels_moved(self) -> "_Table[T]":
        """Labels whose version is here by now have arrived."""
        labels = {name: dict(of_name) for name, of_name in self.labels.items()}
        moving: dict[str, dict[str, int]] = {}
        for name, of_name in self.moving.items():
            for label, version in of_name.items():
                arrived = (name, version) in self.exact
                (labels if arrived else moving).setdefault(name, {})[label] = version
        return replace(self, labels=labels, moving=moving)


def _not_found(name: str, version: int | None) -> NotFound:
    which = f"Latest({name})" if version is None else f"Specific({name}, {version})"
    return NotFound(f"Servable not found for request: {which}")


class ServingMap(Generic[T]):
    """The versions that answer requests now. Safe to use from any thread."""

    def __init__(self) -> None:
        self._writing = threading.Lock()
        # Not `_Table[T]()`: a frozen slotted generic refuses to be built through a subscript.
        self._table: _Table[T] = _Table()

    def acquire(self, name: str, version: int | None = None) -> Entry[T]:
        """Pin one version until its `release`.

        Args:
            name: the servable stream.
            version: the version wanted; None takes the newest that is available.

        Raises:
            NotFound: no such version is available.
        """
        while True:
            table = self._table
            entry = table.newest.get(name) if version is None else table.exact.get((name, version))
            if entry is None:
                raise _not_found(name, version)
            if entry.try_acquire():
                return entry
            # Withdrawn between the look-up and the pin; the table has moved on, so look again.

    def acquire_label(self, name: str, label: str) -> Entry[T]:
        """Pin the version that a label means now, until its `release`.

        Label and version come from one table: a label that moves while its old version is
        withdrawn is either still at the one or already at the other.

        Raises:
            InvalidArgument: no such label.
            NotFound: its version is not available.
        """
        while True:
            table = self._table
            try:
                version = table.labels[name][label]
            except KeyError:
                raise InvalidArgument(f"Unrecognized servable version label: {label}") from None
            entry = table.exact.get((name, version))
            if entry is None:
                raise _not_found(name, version)
            if entry.try_acquire():
                return entry

    @property
    def labels(self) -> Labels:
        """What all labels mean now."""
        return self._table.labels

    @property
    def moving_labels(self) -> Labels:
        """Labels that will mean another version once that version is available."""
        return self._table.moving

    @property
    def all_labels(self) -> tuple[Labels, Labels]:
        """Both of one moment."""
        table = self._table
        return table.labels, table.moving

    def available(self, name: str) -> tuple[int, ...]:
        """The versions of `name` that answer now, highest first."""
        return tuple(
            sorted((version for of, version in self._table.exact if of == name), reverse=True)
        )

    def answers(self, name: str) -> bool:
        """Whether a version of `name` answers now."""
        return name in self._table.newest

    def has(self, name: str, version: int) -> bool:
        """Whether a version of `name` answers now."""
        return (name, version) in self._table.exact

    def has_label(self, name: str, label: str) -> bool:
        """Whether the version that a label means answers now."""
        table = self._table
        version = table.labels.get(name, {}).get(label)
        return version is not None and (name, version) in table.exact

    def in_flight(self) -> dict[ServableId, int]:
        """How many requests hold each available version."""
        return {entry.id: entry.in_flight for entry in self._table.exact.values()}

    def publish(self, id: ServableId, model: T) -> None:
        """Make a loaded version available, and move the labels that waited for it."""
        with self._writing:
            table = self._table.with_entry(Entry(id, model))
            self._table = table.with_labels_moved() if table.moving else table

    def withdraw(self, id: ServableId, on_drained: Callable[[], None]) -> None:
        """Make a version unavailable; call `on_drained` once the last handle is released.

        `on_drained` runs in whichever thread releases last, so it must only post a message.
        """
        with self._writing:
            entry = self._table.exact[id.name, id.version]
            self._table = self._table.without(entry)
        entry.withdraw(on_drained)

    def assign_labels(self, labels: Labels, moving: Labels) -> None:
        """Replace all labels.

        Args:
            labels: what takes effect now.
            moving: what takes effect when its version is published, now where it is already.
        """
        with self._writing:
            self._table = replace(self._table, labels=labels, moving=moving).with_labels_moved()
