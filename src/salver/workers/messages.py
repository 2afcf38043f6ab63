"""What the supervisor (S) and a worker (W) say to each other; of files, see `file_messages`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from salver.config.model_options import LoadSettings
from salver.config.models import ModelConfig
from salver.config.start_up import Configuration
from salver.errors import ServingError
from salver.inference.servable import ProgramNames
from salver.lifecycle.handles import Labels
from salver.lifecycle.monitor import VersionStatus
from salver.metrics.merged import Report
from salver.protocols.administration import AdminRequest
from salver.tracing.sampling import Sampling
from salver.vocabulary.access import Actor
from salver.vocabulary.model import ModelInfo, TensorNames
from salver.vocabulary.servable import ServableId
from salver.workers.limit_columns import LimitColumn


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
        ports: by their names in `server.ports.Ports`, as far as there are.
        board: descriptor of the memory of `transport.turns`, where each slot has two places: one
            for connections to gRPC, one for those to REST.
        memory: descriptors of its own, see `marks.make_memory`; None where nothing is marked.
        limits: where it counts what clients use of their limits; None for by itself.
    """

    slot: int
    num_workers: int
    configuration: Configuration
    ports: Mapping[str, InheritedPort]
    board: int
    memory: tuple[int, int] | None = None
    limits: LimitColumn | None = None


@dataclass(frozen=True)
class Hello:
    """W → S: ready to load models."""


@dataclass(frozen=True)
class _OfVersion:
    """A message about one version and nothing more."""

    id: ServableId


# -- models: S → W, each answered when it is done --------------------------------------------------


@dataclass(frozen=True, slots=True)
class Load:
    """Load a version, and warm it up.

    Attributes:
        mark: a number by which its runs are known; see `marks`.
        is_alone: it is loaded at once, whatever the flags say, by a process without clients.
    """

    settings: LoadSettings
    id: ServableId
    path: str
    mark: int = field(default=0, compare=False)
    is_alone: bool = False


class Close(_OfVersion):
    """Unload a version that is not published."""


class Publish(_OfVersion):
    """Answer requests by a loaded version."""


class Withdraw(_OfVersion):
    """Do not any more; answered when the last request has left it."""


class Signatures(_OfVersion):
    """Answered by the signatures of a loaded version, by their names."""


class Describe(_OfVersion):
    """Answered by the `Description` of a loaded version."""


@dataclass(frozen=True, slots=True)
class Description:
    """What a loaded version takes and gives.

    Attributes:
        info: what it says of itself.
        names: see `Graph.names`; None where it has no graph.
    """

    info: ModelInfo
    names: Mapping[str, TensorNames] | None


@dataclass(frozen=True, slots=True)
class Run:
    """Run a loaded version, in a process without clients; answered by its outputs.

    Attributes:
        names: of the program.
        arrays: what is fed: a list of arrays, encoded; so is the answer.
    """

    id: ServableId
    names: ProgramNames
    arrays: bytes


@dataclass(frozen=True, slots=True)
class IsInUse:
    """Answered by whether a version of a model is in memory, of those loaded on demand."""

    name: str


@dataclass(frozen=True, slots=True)
class SetLogs:
    """Log requests: model → serialized `tensorflow.serving.LoggingConfig`."""

    configs: Mapping[str, bytes]


@dataclass(frozen=True)
class Sync:
    """Answered at once: what was sent before is in effect."""


# -- state that all workers share: S → W, not answered ---------------------------------------------


class SharedState:
    """What all workers are notified of, and each new one too, until it is replaced.

    Attributes:
        topic: a message replaces the one before it of the same topic.
    """

    __slots__ = ()

    @property
    def topic(self) -> object:
        return type(self)


@dataclass(frozen=True, slots=True)
class SetLabels(SharedState):
    """See `ServingMap.assign_labels`."""

    labels: Labels
    moving: Labels


@dataclass(frozen=True, slots=True)
class SetNames(SharedState):
    """The models that are configured, and the configuration; see `ServerCore`."""

    names: tuple[str, ...]
    applied: tuple[ModelConfig, ...] | None
    unloaded: frozenset[str] = frozenset()
    configured: tuple[ModelConfig, ...] = ()


@dataclass(frozen=True, slots=True)
class SetStates(SharedState):
    """All that is known of the versions of a model, highest first."""

    name: str
    statuses: tuple[VersionStatus, ...]
    last_error: ServingError | None

    @property
    def topic(self) -> object:
        return SetStates, self.name


@dataclass(frozen=True, slots=True)
class Isolate(SharedState):
    """Do not run a version here, whether or not it is loaded.

    Attributes:
        reason: the error of its requests while it cannot be run by another process either.
        description: of it, where it can; see `RunIsolated`.
    """

    id: ServableId
    reason: str
    description: Description | None = None

    @property
    def topic(self) -> object:
        return Isolate, self.id


@dataclass(frozen=True, slots=True)
class SetPhase(SharedState):
    """See `Readiness`."""

    is_started: bool = False
    is_draining: bool = False
    is_settled: bool = False


@dataclass(frozen=True, slots=True)
class Settled:
    """W → S: readiness is to stay as it is, in the workers to come too."""


@dataclass(frozen=True, slots=True)
class SetLogLevel(SharedState):
    """Log from this level up. W → S: have all processes do so; answered when they do."""

    level: int
    actor: Actor = field(default_factory=Actor)


@dataclass(frozen=True, slots=True)
class SetSampling(SharedState):
    """Trace these requests. W → S: have all workers do so; answered when they do."""

    sampling: Sampling
    actor: Actor = field(default_factory=Actor)


# -- other news: S → W, not answered ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EndIsolation:
    """A version is to be run here again, if it is loaded.

    Attributes:
        is_published: whether it answers requests.
    """

    id: ServableId
    is_published: bool


@dataclass(frozen=True, slots=True)
class Preload:
    """Versions of a model are to be loaded, as if somebody had asked for them."""

    name: str


@dataclass(frozen=True, slots=True)
class Taken:
    """The configuration of an `Apply` is in effect, and only its models are waited for.

    Attributes:
        number: of the `Apply`.
    """

    number: int


@dataclass(frozen=True, slots=True)
class Drain:
    """Accept nothing more, answer the requests there are, end.

    Attributes:
        timeout_s: what is unanswered by then is cut off.
        idle_s: how long connections may stay that ask for nothing, so that their client learns
            from an answer that it is to connect anew.
    """

    timeout_s: float
    idle_s: float = 0.0


# -- requests about the process: S → W -------------------------------------------------------------


@dataclass(frozen=True)
class Open:
    """Accept connections; answered when that has begun."""


@dataclass(frozen=True)
class Ping:
    """Answered by the loop that answers requests, which proves that it turns."""


@dataclass(frozen=True)
class TakeSlow:
    """Answered by what this worker tells of slow requests; see `tracing.slow`."""


@dataclass(frozen=True)
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
    """Answered by what everybody else has counted: a list of `Report`."""

    reading: Reading


@dataclass(frozen=True)
class TellSlow:
    """Answered by what all others tell of slow requests: a list of lists."""


@dataclass(frozen=True, slots=True)
class Recall:
    """Answered by the history of all workers: the document of `metrics.history`, as bytes."""

    reading: Reading


@dataclass(frozen=True, slots=True)
class Note:
    """What becomes of the processes of a version in this worker; None for nothing to be said."""

    id: ServableId
    text: str | None


@dataclass(frozen=True, slots=True)
class RunIsolated:
    """Run a version that is isolated in a process of its own; answered as `Run`."""

    run: Run


@dataclass(frozen=True, slots=True)
class Apply:
    """Make this the configuration; answered when all workers know what came of it.

    Attributes:
        number: by which `Taken` and `Leave` refer to it.
    """

    models: tuple[ModelConfig, ...] | None
    is_awaited: bool = True
    number: int = 0
    actor: Actor = field(default_factory=Actor)


@dataclass(frozen=True, slots=True)
class SetLoaded:
    """Load or unload a model that is configured; answered, and with a number, as `Apply`."""

    name: str
    is_loaded: bool
    number: int = 0
    actor: Actor = field(default_factory=Actor)


@dataclass(frozen=True, slots=True)
class Administer:
    """Do what an administrator requests; answered by an `Administered`. Numbered as `Apply`.

    Attributes:
        number: see there.
        actor: who requests it.
    """

    request: AdminRequest
    number: int = 0
    actor: Actor = field(default_factory=Actor)


@dataclass(frozen=True, slots=True)
class Leave:
    """Nobody waits any more for what comes of the `Apply`, or the like, of that number."""

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
