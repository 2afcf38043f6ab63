"""Who changed what: the record of a server, in memory and in a file.

The ring tells what happened lately; the file has all of it. Requests of administrators are
recorded also where they fail, except those that only read or try.
"""

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any, Final

from salver.config.changes import Difference, Tags, differences
from salver.config.model_documents import config_document
from salver.config.models import ModelConfig
from salver.errors import NotFound
from salver.instruments.redaction import redacted
from salver.management.applied import Applied
from salver.vocabulary.access import Actor

__all__ = ["Audit", "Entry", "audit_line"]

_MOST_ENTRIES: Final = 1000
_MOST_REVISIONS: Final = 100
_MOST_REVISION_BYTES: Final = 64 << 20  # of all of them, as messages
_MOST_CHANGE_CHARACTERS: Final = 1 << 16  # of one entry
_MOST_TEXT: Final = 1000  # characters of an error
_MOST_NAME: Final = 256  # characters of a model, of a principal; a request may name anything
_BASE_PATH: Final = "base_path"
_FLAGS: Final = Actor(via="start")
_FILE: Final = Actor(via="--model_config_file")


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that somebody did.

    Attributes:
        number: from 1, in their order.
        time_s: since the epoch.
        actor: who.
        action: what: `configure`, `load`, `unload`, `reload`, `clear_quarantine`, `log_level`,
            `trace_ratio`.
        model: of which model, its first 256 characters; empty for the server.
        outcome: `OK`, or the name of the code of the error.
        message: of the error.
        etag: of the configuration, once it is done.
        changes: see `Difference`.
        more_changes: how many there are beyond those.
        revision: see `Audit.revisions`; 0 where it changed no configuration.
    """

    number: int
    time_s: float
    actor: Actor
    action: str
    model: str = ""
    outcome: str = "OK"
    message: str = ""
    etag: str = ""
    changes: tuple[Difference, ...] = ()
    more_changes: int = 0
    revision: int = 0

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "number": self.number,
            "time": _iso(self.time_s),
            "principal": self.actor.name,
            "principal_kind": self.actor.kind,
            "peer": self.actor.peer or "",
            "via": self.actor.via,
            "action": self.action,
            "model": self.model,
            "outcome": self.outcome,
            "message": self.message,
            "etag": self.etag,
            "revision": self.revision,
            "changes": changes_document(self.changes),
            "more_changes": self.more_changes,
        }


def audit_line(entry: Entry) -> bytes:
    """An entry as a line of JSON. Names of models may hold bytes that are no text."""
    return json.dumps(entry.document()).encode() + b"\n"


def changes_document(changes: tuple[Difference, ...]) -> list[dict[str, Any]]:
    """Differences as JSON has them, without what may be secret in a base path."""
    return [
        {
            "model": each.model,
            "field": each.field,
            "before": _told(each.field, each.before),
            "after": _told(each.field, each.after),
        }
        for each in changes
    ]


def _told(field: str, value: Any) -> Any:
    from salver.remote.places import shown  # here: not what most servers need

    if isinstance(value, dict) and _BASE_PATH in value and not field:
        return {**value, _BASE_PATH: shown(value[_BASE_PATH])}
    return shown(value) if field == _BASE_PATH and isinstance(value, str) else value


@dataclass(frozen=True, slots=True)
class _Revision:
    entry: Entry
    models: tuple[ModelConfig, ...]
    size: int


def _bounded(changes: tuple[Difference, ...], more: int) -> tuple[tuple[Difference, ...], int]:
    """The first of many differences: an entry is kept for long."""
    left = _MOST_CHANGE_CHARACTERS
    for count, each in enumerate(changes):
        left -= len(each.model) + len(json.dumps((each.before, each.after)))
        if left < 0:
            return changes[:count], more + len(changes) - count
    return changes, more


def _short(entry: Entry) -> Entry:
    """An entry with the beginnings of texts that others have made, without keys and tokens."""
    actor = entry.actor
    peer = None if actor.peer is None else actor.peer[:_MOST_NAME]
    return replace(
        entry,
        actor=replace(
            actor, name=actor.name[:_MOST_NAME], peer=peer, via=redacted(actor.via)[:_MOST_TEXT]
        ),
        model=redacted(entry.model)[:_MOST_NAME],
        message=redacted(entry.message)[:_MOST_TEXT],
    )


class Audit:
    """The record. Safe to use from any thread."""

    def __init__(
        self,
        write: Callable[[Entry], None] = lambda _entry: None,
        *,
        now: Callable[[], float] = time.time,  # noqa: TID251 - the clock that is injected
    ) -> None:
        """Begin with nothing.

        Args:
            write: puts an entry into the file; does not wait.
            now: seconds since the epoch.
        """
        self._write = write
        self._now = now
        self._lock = threading.Lock()  # guards what follows
        self._tags = Tags()
        self._entries: deque[Entry] = deque(maxlen=_MOST_ENTRIES)
        self._revisions: deque[_Revision] = deque(maxlen=_MOST_REVISIONS)
        self._number = 0
        self._revision = 0

    def applied(self, applied: Applied) -> None:
        """Take down a change that is in effect; see `ServerCore`."""
        with self._lock:
            if applied.action is not None:
                actor = applied.actor or _FLAGS
                self._add(Entry(0, 0, actor, applied.action, applied.model or ""))
                return
            actor = applied.actor or (_FILE if self._revision else _FLAGS)
            changes, more = _bounded(*differences(applied.before, applied.after))
            self._revision += 1
            names = {each.model for each in changes}
            entry = self._add(
                Entry(
                    *(0, 0, actor, "configure", names.pop() if len(names) == 1 else ""),
                    etag=self._tags.of_all(applied.after),
                    changes=changes,
                    more_changes=more,
                    revision=self._revision,
                )
            )
            size = self._tags.size_of_all(applied.after)
            self._revisions.append(_Revision(entry, applied.after, size))
            total = sum(revision.size for revision in self._revisions)
            while total > _MOST_REVISION_BYTES and len(self._revisions) > 1:
                total -= self._revisions.popleft().size

    def did(self, actor: Actor, action: str, model: str) -> None:
        """Take down what changed no configuration."""
        with self._lock:
            self._add(Entry(0, 0, actor, action, model))

    def adjusted(self, actor: Actor, setting: str, before: Any, after: Any) -> None:
        """Take down a setting of the server that is none of its configuration.

        Args:
            actor: who.
            setting: its name, which is the action too.
            before: plain value; None where it is not known.
            after: likewise.
        """
        change = Difference("", setting, before, after)
        with self._lock:
            self._add(Entry(0, 0, actor, setting, changes=(change,)))

    def failed(self, actor: Actor, action: str, model: str, outcome: str, message: str) -> None:
        """Take down what was refused, or did not succeed."""
        with self._lock:
            self._add(Entry(0, 0, actor, action, model, outcome=outcome, message=message))

    def _add(self, entry: Entry) -> Entry:
        self._number += 1
        entry = replace(_short(entry), number=self._number, time_s=self._now())
        self._entries.append(entry)
        self._write(entry)
        return entry

    def entries(self, most: int) -> list[dict[str, Any]]:
        """The last ones, the newest first."""
        with self._lock:
            entries = list(self._entries)[-most:] if most > 0 else []
        return [entry.document() for entry in reversed(entries)]

    def revisions(self) -> list[dict[str, Any]]:
        """The configurations that were in effect, the newest first, each as what made it so."""
        with self._lock:
            entries = [revision.entry for revision in self._revisions]
        return [entry.document() for entry in reversed(entries)]

    def revision(self, number: int) -> Mapping[str, Any]:
        """One of them, with its models.

        Raises:
            NotFound: it is not remembered.
        """
        with self._lock:
            found = next((r for r in self._revisions if r.entry.revision == number), None)
        if found is None:
            raise NotFound(
                f"Revision {number} of the configuration is not remembered",
                hint=f"The last {_MOST_REVISIONS} are.",
            )
        return {**found.entry.document(), "config": config_document(found.models)}


def _iso(time_s: float) -> str:
    time = datetime.fromtimestamp(time_s, timezone.utc)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
