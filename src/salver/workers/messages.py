"""What the supervisor (S) and a worker (W) say to each other."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from salver.config.models import ModelConfig
from salver.config.start_up import Configuration
from salver.errors import ServingError
from salver.lifecycle.handles import Labels
from salver.lifecycle.monitor import VersionStatus
from salver.metrics.merged import Report
from salver.servable import ServableId
from salver.signature import Signature

__all__ = [
    "Apply",
    "Begin",
    "ClearQuarantine",
    "Close",
    "Describe",
    "Description",
    "Drain",
    "EndIsolation",
    "Goodbye",
    "Hello",
    "InheritedPort",
    "Isolate",
    "Leave",
    "Load",
    "Open",
    "Ping",
    "Publish",
    "Reading",
    "Recall",
    "Run",
    "RunIsolated",
    "Scrape",
    "SetLabels",
    "SetLogs",
    "SetNames",
    "SetPhase",
    "SetStates",
    "Signatures",
    "Sync",
    "TakeReading",
    "Taken",
    "Withdraw",
]


@dataclass(frozen=True, slots=True)
class InheritedPort:
    """A place where the server listens.

    Attributes:
        address: as it is announced.
        descriptors: of its sockets, the same in all processes.
    """

    address: str
    descriptors: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Begin:
    """S → W, first of all: who you are.

    Attributes:
        ports: `rest`, `grpc` and `unix`, as far as there are.
        board: descriptor of the memory of `transport.turns`, where each slot has two places: one
            for connections to gRPC, one for those to REST.
        memory: descriptors of its own, see `marks.make_memory`; None where nothing is marked.
    """

    slot: int
    num_workers: int
    configuration: Configuration
    ports: Mapping[str, InheritedPort]
    board: int
    memory: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Hello:
    """W → S: ready to load models."""


# -- models: S → W, each answered when it is done --------------------------------------------------


@dataclass(frozen=True, slots=True)
class Load:
    """Load a version, and warm it up.

    Attributes:
        mark: a number by which its runs are known; see `marks`.
        is_alone: it is loaded at once, whatever the flags say, by a process that serves nobody.
    """

    platform: str
    id: ServableId
    path: str
    mark: int = field(default=0, compare=False)
    is_alone: bool = False


@dataclass(frozen=True, slots=True)
class Close:
    """Unload a version that is not published."""

    id: ServableId


@dataclass(frozen=True, slots=True)
class Publish:
    """Answer requests by a loaded version."""

    id: ServableId


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Do not any more; answered when the last request has left it."""

    id: ServableId


@dataclass(frozen=True, slots=True)
class Signatures:
    """Answered by the signatures of a loaded version, by their names."""

    id: ServableId


@dataclass(frozen=True, slots=True)
class Description:
    """What a loaded version takes and gives.

    Attributes:
        signature_def_map: see `Model`.
    """

    signatures: Mapping[str, Signature]
    signature_def_map: bytes


@dataclass(frozen=True, slots=True)
class Describe:
    """Answered by the `Description` of a loaded version."""

    id: ServableId


@dataclass(frozen=True, slots=True)
class Run:
    """Run a loaded version, which serves nobody else; answered by its outputs.

    Attributes:
        feeds: names of tensors, as `Model.program` takes them; so are the next two.
        arrays: what is fed: a list of arrays, encoded; so is the answer.
    """

    id: ServableId
    feeds: tuple[str, ...]
    fetches: tuple[str, ...]
    targets: tuple[str, ...]
    arrays: bytes


@dataclass(frozen=True, slots=True)
class SetLogs:
    """Log requests: model → serialized `tensorflow.serving.LoggingConfig`."""

    configs: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Sync:
    """Answered at once: what was said before is in effect."""


# -- the truth: S → W, not answered ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SetLabels:
    """See `ServingMap.assign_labels`."""

    labels: Labels
    moving: Labels


@dataclass(frozen=True, slots=True)
class SetNames:
    """The models that are configured, and the configuration; see `ServerCore`."""

    names: tuple[str, ...]
    applied: tuple[ModelConfig, ...] | None


@dataclass(frozen=True, slots=True)
class SetStates:
    """All that is known of the versions of a model, highest first."""

    name: str
    statuses: tuple[VersionStatus, ...]
    last_error: ServingError | None


@dataclass(frozen=True, slots=True)
class Isolate:
    """Do not run a version here, whether or not it is loaded.

    Attributes:
        reason: what requests for it are told while it cannot be run elsewhere either.
        description: of it, where it can; see `RunIsolated`.
    """

    id: ServableId
    reason: str
    description: Description | None = None


@dataclass(frozen=True, slots=True)
class EndIsolation:
    """A version is to be run here again, if it is loaded.

    Attributes:
        is_published: whether it answers requests.
    """

    id: ServableId
    is_published: bool


@dataclass(frozen=True, slots=True)
class Taken:
    """The configuration of an `Apply` is in effect, and only its models are waited for.

    Attributes:
        number: of the `Apply`.
    """

    number: int


@dataclass(frozen=True, slots=True)
class SetPhase:
    """See `Readiness`."""

    is_started: bool = False
    is_draining: bool = False


# -- the life of a worker: S → W -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Open:
    """Accept connections; answered when that has begun."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Accept nothing more, answer what was asked, end.

    Attributes:
        timeout_s: what is unanswered by then is cut off.
        idle_s: how long connections may stay that ask for nothing, so that whoever is about to ask
            is told in an answer to go elsewhere.
    """

    timeout_s: float
    idle_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Ping:
    """Answered by the loop that answers requests, so that whoever asks sees that it turns."""


@dataclass(frozen=True, slots=True)
class TakeReading:
    """Answered by a `Reading`."""


# -- W → S -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reading:
    """What a worker has counted.

    Attributes:
        number: grows with each that is taken.
    """

    number: int
    report: Report


@dataclass(frozen=True, slots=True)
class Scrape:
    """Answered by what everybody else has counted: a `Report`."""

    reading: Reading


@dataclass(frozen=True, slots=True)
class RunIsolated:
    """Run a version that is isolated in a process of its own; answered as `Run`."""

    run: Run


@dataclass(frozen=True, slots=True)
class ClearQuarantine:
    """Bring back what is isolated of a model; answered by the numbers of these versions."""

    name: str


@dataclass(frozen=True, slots=True)
class Recall:
    """Answered by what all workers did lately: the document of `metrics.history`, as bytes."""

    reading: Reading


@dataclass(frozen=True, slots=True)
class Apply:
    """Make this the configuration; answered when all workers know what came of it.

    Attributes:
        number: by which the worker and the supervisor speak of it until then.
    """

    models: tuple[ModelConfig, ...] | None
    is_awaited: bool = True
    number: int = 0


@dataclass(frozen=True, slots=True)
class Leave:
    """Nobody waits any more for what comes of the `Apply` of that number."""

    number: int


@dataclass(frozen=True, slots=True)
class Goodbye:
    """The worker ends, and as it should.

    Attributes:
        reading: its last.
        cut: how many requests it cut off.
        has_ended: whether nothing of it was left running.
    """

    reading: Reading
    cut: int
    has_ended: bool
