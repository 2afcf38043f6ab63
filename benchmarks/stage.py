"""What the cases of the suite share: how long to measure, where, against whom."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from contestants import OTHER, Extra, Running, Start, has_flag
from tasks import Task
from turns import Lane, Race, take_turns

PYTHON_FUNCTION = "Python function"  # how a peer runs it


@dataclass(frozen=True)
class Stage:
    """One run of the suite.

    Attributes:
        turns: how often each lane is measured.
        seconds: of one lane in one turn.
        is_quick: a smoke test, whose figures say little.
        models: where the models are kept.
        scratch: removed afterwards.
        peers: the other servers that are installed here.
        extras: those given on the command line.
    """

    turns: int
    seconds: float
    is_quick: bool
    models: Path
    scratch: Path
    peers: Mapping[str, Start] = field(default_factory=dict)
    extras: tuple[Extra, ...] = ()

    @property
    def warm_s(self) -> float:
        return 1.0

    def race(self, lanes: Mapping[str, Lane], seconds: float = 0.0) -> Race:
        return take_turns(lanes, self.turns, seconds or self.seconds, self.warm_s)

    @contextmanager
    def running(self, task: Task, starts: Mapping[str, Start]) -> Iterator[dict[str, Running]]:
        """Servers side by side; those without a request are idle, and take no CPU."""
        with ExitStack() as ending:
            servers = {}
            for name, start in starts.items():
                try:
                    servers[name] = start(task, self.scratch)
                except Exception as error:
                    raise RuntimeError(f"{name} does not start: {error}") from error
                ending.callback(servers[name].child.stop)
            yield servers

    def others(
        self, *, is_half_plus_two: bool = False, with_peers: bool = False
    ) -> dict[str, Start]:
        """The extra servers that can be asked of a model, and perhaps the peers."""
        extras = [each for each in self.extras if is_half_plus_two or each.takes_models]
        peers = self.peers_of(is_python=False) if with_peers else {}
        return {**peers, **{each.name: each.start for each in extras}}

    def peers_of(self, *, is_python: bool) -> dict[str, Start]:
        """The peers that run a SavedModel, or those that run a function of Python."""
        return {
            name: start
            for name, start in self.peers.items()
            if name.endswith(PYTHON_FUNCTION) == is_python
        }


def kinds(names: Mapping[str, object], default: Mapping[str, int]) -> dict[str, int]:
    """How each lane is coloured: what is not ours and no yardstick is another server."""
    return {name: default.get(name, OTHER) for name in names}


def transports() -> tuple[str, ...]:
    """What our gRPC can go through here; empty where there is no choice."""
    return ("native", "grpcio") if has_flag("grpc_transport") else ()
