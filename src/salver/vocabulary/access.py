"""Who asks, and what a request wants to do: the words of access control."""

import enum
import math
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, TypeAlias

__all__ = [
    "ANONYMOUS",
    "UNSAID",
    "Access",
    "Actor",
    "Need",
    "Principal",
    "Priority",
    "Role",
    "Verb",
    "VerbOrAccess",
    "current_priority",
]


class Verb(enum.Enum):
    """What a request wants to do; each route and each method has one."""

    HEALTH = "health"
    METADATA = "metadata"
    PREDICT = "predict"
    METRICS = "metrics"
    ADMIN = "admin"

    __hash__ = object.__hash__  # a tenth of what Enum's own takes; members are there once


class Access(enum.Enum):
    """What a route asks for that needs no verb."""

    OPEN = "open"
    """Answered to everybody: it tells nothing of this server, does nothing to it and reads no
    body."""
    KNOWN = "known"
    """Answered to whoever has shown credentials: what refuses, and does no more."""
    BY_MESSAGE = "by_message"
    """The same of a stream, each of whose messages asks for itself, and alone counts against
    limits."""


VerbOrAccess: TypeAlias = Verb | Access


@dataclass(frozen=True, slots=True)
class Need:
    """What has to be permitted before a route or a method answers.

    Attributes:
        verb: what it does.
        is_filtered: the endpoint itself looks after which models the principal may see, or tells
            of none. Of others, a request that names no model is about all of them.
    """

    verb: VerbOrAccess = Verb.ADMIN
    is_filtered: bool = False


UNSAID: Final = Need()
"""Of what says nothing: as much as there is."""


class Priority(enum.Enum):
    """Who is served first where requests wait."""

    INTERACTIVE = "interactive"
    BATCH = "batch"


current_priority: Final[ContextVar[Priority]] = ContextVar(
    "salver_priority", default=Priority.INTERACTIVE
)
"""Of the request that is being handled. It is read only where a request begins to wait, so that
those that do not wait are no slower for it."""


@dataclass(frozen=True, slots=True)
class Role:
    """What its principals may do, and how much of it.

    Attributes:
        name: as the configuration calls it.
        models: patterns of names of models, with `*` and `?`.
        verbs: what is permitted.
        requests_per_second: of each principal, at all workers together; infinity: no limit.
        burst: requests at once beyond that rate; at least 1 where there is a limit.
        max_concurrent_requests: of each principal; 0: no limit.
        priority: of its requests where they wait.
    """

    name: str
    models: tuple[str, ...] = ("*",)
    verbs: frozenset[Verb] = frozenset()
    requests_per_second: float = math.inf
    burst: int = 1
    max_concurrent_requests: int = 0
    priority: Priority = Priority.INTERACTIVE

    @property
    def has_limits(self) -> bool:
        """Whether anything bounds how much its principals may ask."""
        return self.requests_per_second != math.inf or self.max_concurrent_requests > 0


@dataclass(frozen=True, slots=True)
class Principal:
    """Whom a request is from.

    Attributes:
        name: of a key, the subject of a token or of a certificate; stands in logs and metrics.
        kind: how it was told: `api_key`, `jwt`, `mtls` or `anonymous`.
        role: what it may do.
    """

    name: str
    kind: str
    role: Role


@dataclass(frozen=True, slots=True)
class Actor:
    """Who had something changed, for the record.

    Attributes:
        name: of the principal; empty where the server asks nobody for one.
        kind: see `Principal`; empty likewise.
        peer: the address of the client; None when it has none.
        via: what was called: a method and a path, or the full name of a method of gRPC.
    """

    name: str = ""
    kind: str = ""
    peer: str | None = None
    via: str = ""


ANONYMOUS: Final = "anonymous"
"""Name and kind of who shows no credentials."""
