"""The actor at each node: an agent, a thread that has it report, and what others ask of it."""

import logging
import os
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import ray

from salver.cluster.node_agent import Lock, NodeAgent
from salver.cluster.on_ray.names import CONTROLLER
from salver.cluster.server_launch import NodeSettings, server_environment
from salver.cluster.server_process import log_tail
from salver.cluster.wire import Answer, Message, answer_of, bytes_of_message
from salver.config.options import schedulable_cpus
from salver.errors import FailedPrecondition, ServingError
from salver.instruments.machine import memory_bytes

__all__ = ["NodeActor"]

_log = logging.getLogger(__name__)

_REPORT_S: Final = 1.0
_SOON_S: Final = 0.25  # while the server is to take something
_ANSWER_S: Final = 5.0
_LOCK_S: Final = 0.5
_AGAIN_S: Final = 2.0  # a disk that takes nothing may be given room
_MODELS_SHARE: Final = 0.8
"""Of a machine's memory, which models may take where nobody says."""


class NodeActor:
    """Looks after the server of one node, and goes on with the one that it finds."""

    def __init__(self, settings: NodeSettings, namespace: str) -> None:
        """Begin.

        Args:
            settings: of the node, as far as the controller knows them.
            namespace: of the controller.
        """
        logging.basicConfig(level=logging.INFO)
        self._namespace = namespace
        self._directory = settings.directory
        self._settings = _completed(settings)
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._agent: NodeAgent | None = None
        self._controller: Any = None
        self._thread = threading.Thread(target=self._run, name="node-reports", daemon=True)
        self._thread.start()

    def ping(self) -> int:
        """Its process."""
        return os.getpid()

    def _run(self) -> None:
        lock = self._take_lock()
        if lock is None:
            return
        try:
            agent = self._make_agent()
            if agent is not None:
                self._look_after(agent)
        finally:
            lock.release()

    def _look_after(self, agent: NodeAgent) -> None:
        self._agent = agent
        while not self._is_over.is_set():
            begun_s = time.monotonic()
            with self._lock:
                self._attempt(agent)
            pause_s = _SOON_S if agent.is_pending else _REPORT_S
            self._is_over.wait(max(0.0, begun_s + pause_s - time.monotonic()))
        agent.close()

    def _take_lock(self) -> Lock | None:
        """Wait until the agent before this one has ended."""
        while not self._is_over.is_set():
            try:
                return Lock(self._directory)
            except FailedPrecondition:  # noqa: PERF203 - each turn waits anyway
                self._is_over.wait(_LOCK_S)
            except OSError as error:
                self._wait_after(error)
        return None

    def _make_agent(self) -> NodeAgent | None:
        """Prepare the node's directory, as soon as that can be done."""
        while not self._is_over.is_set():
            try:
                return NodeAgent(self._settings, time.monotonic)
            except (OSError, ServingError) as error:  # noqa: PERF203 - each turn waits anyway
                self._wait_after(error)
        return None

    def _wait_after(self, error: Exception) -> None:
        _log.warning("%s cannot be prepared, and is tried again: %s", self._directory, error)
        self._is_over.wait(_AGAIN_S)

    def _attempt(self, agent: NodeAgent) -> None:
        try:
            self._once(agent)
        except Exception:  # noqa: BLE001 - the next report may be luckier
            _log.exception("A report failed")

    def _once(self, agent: NodeAgent) -> None:
        message = Message(report=agent.report(), condition=agent.condition)
        answer = self._exchange(agent, message)
        if answer is None:
            return
        if answer.flags is not None:
            agent.take_flags(answer.flags)
        if answer.must_restart:
            agent.restart_server()
        else:
            agent.obey(answer.desire)

    def _exchange(self, agent: NodeAgent, message: Message) -> Answer | None:
        """What the controller answers; None where it is away, and all stays as it is."""
        try:
            if self._controller is None:
                self._controller = ray.get_actor(CONTROLLER, namespace=self._namespace)
            content = ray.get(
                self._controller.report.remote(bytes_of_message(message)), timeout=_ANSWER_S
            )
            return answer_of(content)
        except (ray.exceptions.RayError, ValueError, ServingError) as error:
            _log.warning("The controller does not answer: %s: %s", type(error).__name__, error)
            agent.unsaid()
            self._controller = None
            return None

    def stop_server(self) -> None:
        """Have the server answer what it has begun and end, and report no more."""
        self._is_over.set()
        with self._lock:
            agent = self._agent or NodeAgent(self._settings, time.monotonic)
            agent.stop_server()

    def logs(self, lines: int) -> str:
        """The last lines of the server's log."""
        return log_tail(self._directory, lines)

    def metrics_page(self) -> str:
        """What Prometheus reads of the server; empty where it does not answer."""
        agent = self._agent
        return "" if agent is None else agent.metrics_page()


def _completed(settings: NodeSettings) -> NodeSettings:
    """Settings with what only the node itself knows."""
    raylet = None
    with suppress(OSError, KeyError):
        raylet = Path(f"/proc/{os.environ['RAY_RAYLET_PID']}/environ").read_bytes()
    return replace(
        settings,
        memory_bytes=settings.memory_bytes or int(memory_bytes() * _MODELS_SHARE),
        cores=settings.cores or float(schedulable_cpus()),
        environment=server_environment(os.environ, raylet),
    )
