"""What runs at each node: it sees to the server there, says how it is, and does what it is told.

Everything that must be known after a restart of this is in the node's directory: which server runs
(`server.json`), the models' file and the map of peers that the server watches, and which generation
of the controller's those are (`applied.json`). So an agent that starts where another one ended goes
on with the server that it finds. It knows nothing of Ray.
"""

import fcntl
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import httpx

from salver.cluster.conditions import NodeCondition
from salver.cluster.observing import ServerLook, Versions, looker_at
from salver.cluster.preloading import Preloading
from salver.cluster.reports import ModelReport, NodeDesire, NodeReport
from salver.cluster.server_launch import MAP, MODELS, TOKEN, NodeSettings, launch_of
from salver.cluster.server_process import RunningServer, find_server, log_tail, start_server
from salver.cluster.whole_files import make_private, replace_file
from salver.config.model_documents import tag_of, tag_of_all
from salver.config.models import ModelConfig, parse_model_config
from salver.errors import FailedPrecondition, ServingError
from salver.peers import map as peer_map
from salver.peers.hops import parse_tokens

__all__ = ["Lock", "NodeAgent"]

_log = logging.getLogger(__name__)

_APPLIED: Final = "applied.json"
_LOCK: Final = "agent.lock"
_EMPTY: Final = '{"schema": 1, "models": []}\n'
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 30.0
_STEADY_S: Final = 60.0  # a server that ran as long is started again at once
_HUNG_S: Final = 15.0  # three looks; a server that loads something may miss one
_MISSING_S: Final = 60.0  # a start may take as long, and the second may have to wait
_DRAIN_MORE_S: Final = 15.0  # beyond the time that a server gives its requests
_TAIL_LINES: Final = 4


class Lock:
    """Keeps a second agent from a node's directory; the system lets go of it with its holder."""

    def __init__(self, directory: Path) -> None:
        """Take it.

        Raises:
            FailedPrecondition: somebody has it.
        """
        make_private(directory)
        self._file = (directory / _LOCK).open("w")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise FailedPrecondition(f"Another agent looks after {directory}") from None

    def release(self) -> None:
        """Let go of it."""
        self._file.close()


class NodeAgent:
    """The agent of one node. Its methods are called by one thread at a time."""

    def __init__(
        self,
        settings: NodeSettings,
        monotonic: Callable[[], float],
        look_at: Callable[[str, str, int], ServerLook] = looker_at,
    ) -> None:
        """Prepare the node's directory; the server is started by the first `report`.

        Args:
            settings: of the node.
            monotonic: the time.
            look_at: connects to a server by its socket, the token and the memory of the node.
        """
        self._settings = settings
        self._monotonic = monotonic
        self._look_at = look_at
        self._directory = settings.directory
        make_private(self._directory)
        self._server: RunningServer | None = None
        self._look: ServerLook | None = None
        self._versions = Versions()
        self._preloading = Preloading()
        self._problem = ""
        self._knows_flags = False
        self._starts = 0
        self._started_s = 0.0
        self._start_again_s = 0.0
        self._pause_s = _FIRST_PAUSE_S
        self._is_stopped = False
        self._kill_s = 0.0  # when one that is to end is killed
        self._has_answered = False  # the present server
        self._answered_s = monotonic()  # any server, or when one was to start
        self._said: dict[str, ModelReport] | None = None
        self._applied = _read_applied(self._directory)
        self._models: dict[str, ModelConfig] = {}
        self._tag = ""
        self._map_written = 0
        self._prepare_files()

    def _prepare_files(self) -> None:
        models = self._directory / MODELS
        if not models.exists():
            replace_file(models, _EMPTY)
        if self._settings.token:
            replace_file(self._directory / TOKEN, self._settings.token + "\n")
        if not (self._directory / MAP).exists():
            replace_file(self._directory / MAP, peer_map.text(peer_map.PeerMap()))
        self._read_models()

    def _read_models(self) -> None:
        path = self._directory / MODELS
        models = parse_model_config(path.read_bytes(), str(path)) or ()
        self._models = {model.name: model for model in models}
        self._tag = tag_of_all([tag_of(model) for model in models])

    # -- the server ------------------------------------------------------------------------------

    @property
    def condition(self) -> NodeCondition:
        """How the node is."""
        server = self._server
        return NodeCondition(
            server_pid=0 if server is None else server.process.pid,
            started_by="" if server is None else server.digest,
            wanted=launch_of(self._settings).digest,
            starts=self._starts,
            niceness=0 if server is None else _niceness(server.process.pid),
            problem=self._problem,
            is_lost=self._is_lost,
            knows_flags=self._knows_flags,
        )

    @property
    def _is_lost(self) -> bool:
        limit_s = _HUNG_S if self._has_answered else _MISSING_S
        return not self._is_stopped and self._monotonic() - self._answered_s > limit_s

    def take_flags(self, flags: Mapping[str, str]) -> None:
        """Have the next start of the server be with these flags."""
        self._knows_flags = True
        if dict(flags) != dict(self._settings.flags):
            self._settings = replace(self._settings, flags=dict(flags))

    def _ensure_server(self) -> None:
        if self._is_stopped:
            self._see_to_its_end()
            return
        if self._server is not None and self._server.is_alive:
            return
        if self._server is not None:
            self._lost()
        found = find_server(self._directory)
        if found is not None:
            self._take(found)
            self._has_answered = True  # to another agent
            _log.info("Took over the server of process %s", found.process.pid)
        elif self._monotonic() >= self._start_again_s:
            self._start()

    def _take(self, server: RunningServer) -> None:
        self._server = server
        self._look = self._look_at(server.socket, self._token(), self._settings.memory_bytes)
        self._started_s = self._monotonic()
        self._said = None
        self._preloading = Preloading()

    def _token(self) -> str:
        """What the agent says: of several secrets, which servers all believe, the first one."""
        content = self._settings.token.encode()
        return parse_tokens(content, "The token of peers")[0].decode() if content else ""

    def _start(self) -> None:
        self._starts += 1
        try:
            self._take(start_server(launch_of(self._settings)))
        except ServingError as error:
            self._problem = error.message
            self._pause()
            _log.error("%s", error.message)
        else:
            self._problem = ""

    def _lost(self) -> None:
        assert self._server is not None
        tail = log_tail(self._directory, _TAIL_LINES).strip()
        said = f"; its log ends with: {tail}" if tail else ""
        self._problem = f"the server of process {self._server.process.pid} has ended{said}"
        _log.warning("%s", self._problem)
        if self._monotonic() - self._started_s >= _STEADY_S:
            self._pause_s = _FIRST_PAUSE_S
            self._start_again_s = self._monotonic()
        else:
            self._pause()
        self._let_go()

    def _pause(self) -> None:
        """The first start again is at once; those that come soon after it wait."""
        is_first = self._pause_s == _FIRST_PAUSE_S and self._starts <= 1
        self._start_again_s = self._monotonic() + (0.0 if is_first else self._pause_s)
        self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)

    def _let_go(self) -> None:
        if self._look is not None:
            self._look.close()
        self._server, self._look, self._said = None, None, None
        self._has_answered = False

    def stop_server(self) -> None:
        """Have the server answer what it has begun and end; it is not started again."""
        self._end_server()
        if self._server is not None:
            self._server.wait(max(0.0, self._kill_s - self._monotonic()))
        self._see_to_its_end()

    def _end_server(self) -> None:
        """The same, without waiting for the end: reports go on meanwhile."""
        if self._is_stopped:
            return
        self._is_stopped = True
        self._kill_s = self._monotonic() + self._settings.drain_timeout_s + _DRAIN_MORE_S
        self._server = self._server or find_server(self._directory)
        if self._server is not None:
            self._server.end()

    def _see_to_its_end(self) -> None:
        """Let go of a server that has ended, and kill one that does not in time."""
        if self._server is not None and self._server.is_alive:
            if self._monotonic() < self._kill_s:
                return
            _log.warning("Process %s did not end in time", self._server.process.pid)
            self._server.kill()
        self._let_go()

    def restart_server(self) -> None:
        """Stop the server, and have the next report start it anew."""
        self.stop_server()
        self._expect_server()
        self._start_again_s, self._pause_s = 0.0, _FIRST_PAUSE_S

    def _expect_server(self) -> None:
        self._is_stopped = False
        self._answered_s = self._monotonic()

    def metrics_page(self) -> str:
        """What Prometheus reads of the server; empty where it does not answer."""
        look = self._look
        try:
            return "" if look is None else look.metrics_page()
        except (httpx.HTTPError, RuntimeError):  # closed meanwhile
            return ""

    def close(self) -> None:
        """Let go of the server, which goes on."""
        self._let_go()

    # -- reports ---------------------------------------------------------------------------------

    def report(self) -> NodeReport:
        """Say how the node is; starts the server where there is none."""
        self._ensure_server()
        at = self._server or launch_of(self._settings)
        base = NodeReport(
            name=self._settings.name,
            rest=at.rest,
            grpc=at.grpc,
            zone=self._settings.zone,
            memory_bytes=self._settings.memory_bytes,
            cores=self._settings.cores,
        )
        if self._server is None or self._look is None or self._is_stopped:
            return base
        try:
            models, generation = self._look.models(), self._generation()
            map_generation = self._map_generation()
        except (httpx.HTTPError, OSError, ValueError, KeyError) as error:
            if self._has_answered or self._monotonic() - self._started_s > _STEADY_S:
                self._problem = f"the server does not answer: {type(error).__name__}: {error}"
            self._said = None  # whoever hears of no models forgets them
            return replace(base, incarnation=self._server.incarnation)
        self._problem = ""
        self._has_answered, self._answered_s = True, self._monotonic()
        models = {name: self._with_found(name, report) for name, report in models.items()}
        said, self._said = self._said, models
        is_partial = said is not None and said.keys() <= models.keys()
        changed = models
        if is_partial:
            assert said is not None
            changed = {name: each for name, each in models.items() if said.get(name) != each}
        return replace(
            base,
            incarnation=self._server.incarnation,
            generation=generation,
            map_generation=map_generation,
            models=changed,
            is_partial=is_partial,
        )

    def _with_found(self, name: str, report: ModelReport) -> ModelReport:
        model = self._models.get(name)
        return (
            report
            if model is None
            else replace(report, found=self._versions.found(model.base_path))
        )

    def _generation(self) -> int:
        """Of the configuration that the server has, if it is the last one that it was given."""
        assert self._look is not None
        applied = self._applied
        if not applied.is_confirmed and self._look.config_tag() == self._tag:
            self._applied = applied = replace(applied, is_confirmed=True)
        return applied.generation if applied.is_confirmed else 0

    def _map_generation(self) -> int:
        assert self._look is not None
        return self._look.map_generation()

    @property
    def is_pending(self) -> bool:
        """Whether the server is yet to take what it was given, or to load what it should have."""
        is_behind = not self._applied.is_confirmed or self._preloading.is_under_way
        return self._server is not None and is_behind

    def unsaid(self) -> None:
        """A report was lost: the next one says everything."""
        self._said = None

    # -- desires ---------------------------------------------------------------------------------

    def obey(self, desire: NodeDesire) -> None:
        """Do what the controller says."""
        if desire.wants_all:
            self._said = None
        if desire.config is not None and desire.generation != self._applied.generation:
            self._write_models(desire.config, desire.generation)
        if desire.peer_map is not None and desire.peer_map.generation != self._map_written:
            replace_file(self._directory / MAP, peer_map.text(desire.peer_map))
            self._map_written = desire.peer_map.generation
        if desire.may_stop and desire.is_draining and not self._is_stopped:
            self._end_server()
        elif self._is_stopped and self._server is None and not desire.is_draining:
            self._expect_server()
        self._preload(desire.resident)

    def _preload(self, desired: Sequence[str]) -> None:
        """Have the next model brought into memory of those that should be there."""
        if self._look is None or not self._applied.is_confirmed:
            return
        model = self._preloading.next(desired, self._look.cold, self._monotonic())
        if not model:
            return
        try:
            self._look.bring_in(model)
        except httpx.HTTPError as error:
            _log.warning("Model %s is not brought into memory: %s", model, error)

    def _write_models(self, config: Mapping[str, Any], generation: int) -> None:
        replace_file(self._directory / MODELS, json.dumps(config, indent=1) + "\n")
        self._applied = replace(self._applied, generation=generation, is_confirmed=False)
        self._read_models()  # the server does too, whether or not the next file can be written
        replace_file(self._directory / _APPLIED, self._applied.text())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Applied:
    """Which generation the models' file is of; and whether the server is known to have it."""

    generation: int = 0
    is_confirmed: bool = False

    def text(self) -> str:
        return json.dumps({"generation": self.generation}) + "\n"


def _read_applied(directory: Path) -> _Applied:
    with suppress(OSError, ValueError, KeyError, TypeError):
        found = json.loads((directory / _APPLIED).read_text())
        return _Applied(generation=int(found["generation"]))
    return _Applied()


def _niceness(pid: int) -> int:
    with suppress(OSError):
        return os.getpriority(os.PRIO_PROCESS, pid)
    return 0
