"""What an API asks of the administration of a server, wherever in the server that is.

Requests and answers go between processes, so they are plain values. An answer is a document of
JSON, which REST sends as it is; gRPC fills its messages from the same.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from salver.config.changes import Change, Condition
from salver.lifecycle.callers import Caller

__all__ = [
    "Act",
    "Action",
    "AdminRequest",
    "Administer",
    "Administered",
    "MakeChange",
    "ReadAudit",
    "ReadConfig",
    "ReadModel",
    "ReadRevisions",
]


_ENCODER: Final = json.JSONEncoder()
"""In one go it would keep the GIL for as long as that takes; `iterencode` does not."""


@dataclass(frozen=True)
class ReadConfig:
    """The configuration in effect, with the source of each value."""


@dataclass(frozen=True, slots=True)
class ReadModel:
    """One model of it, and how its versions are."""

    name: str


@dataclass(frozen=True, slots=True)
class MakeChange:
    """Change the configuration.

    Attributes:
        condition: what has to be so.
        is_dry_run: only find out whether it could be done, and what it would do.
    """

    change: Change
    condition: Condition = field(default_factory=Condition)
    is_dry_run: bool = False


Action = Literal["reload", "load", "unload", "clear_quarantine"]


@dataclass(frozen=True, slots=True)
class Act:
    """Do something to a model that changes no configuration. Loads and unloads are waited for."""

    action: Action
    name: str


@dataclass(frozen=True, slots=True)
class ReadRevisions:
    """The configurations there were, the newest first; or one of them.

    Attributes:
        revision: of which the models are told too; None for the list.
    """

    revision: int | None = None


@dataclass(frozen=True, slots=True)
class ReadAudit:
    """Who changed what, the newest first.

    Attributes:
        most: so many at most.
    """

    most: int = 100


AdminRequest = ReadConfig | ReadModel | MakeChange | Act | ReadRevisions | ReadAudit


@dataclass(frozen=True, slots=True)
class Administered:
    """What came of a request.

    Attributes:
        body: a document of JSON, all of it ASCII.
        tag: of what the request is about, as it is now; empty for what has none.
    """

    body: bytes
    tag: str = ""

    @classmethod
    def of(cls, document: Mapping[str, Any], tag: str = "") -> "Administered":
        """Write a document. One of thousands of models is written in small steps.

        Names of models may hold bytes that are no text.
        """
        return cls("".join(_ENCODER.iterencode(document)).encode(), tag)

    @property
    def document(self) -> dict[str, Any]:
        """The document, read again."""
        read: dict[str, Any] = json.loads(self.body)
        return read


Administer = Callable[[AdminRequest, Caller], Administered]
"""Does what a request says; it may wait for models, until the caller leaves.

Raises:
    ServingError: it cannot be done.
"""
