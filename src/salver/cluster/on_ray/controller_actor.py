"""The one actor that decides: a controller with its journal, a clock, and an actor at each node.

It is detached and restartable: Ray starts it again where the head is, and it goes on where its
journal ends. Nodes that it does not know yet it gives an actor; those go on with the servers that
they find.
"""

import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import ray
from ray.autoscaler.sdk import request_resources
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import salver
from salver.cluster.growing import request_of
from salver.cluster.journal_file import JournalFile, node_directory
from salver.cluster.on_ray.head import reaches
from salver.cluster.on_ray.names import HEAD, namespace_of, node_actor
from salver.cluster.on_ray.node_actor import NodeActor
from salver.cluster.server_launch import TOKEN, NodeSettings
from salver.cluster.service import ControllerService, NodePlan
from salver.cluster.spec import ClusterSpec
from salver.cluster.whole_files import make_private, replace_file
from salver.cluster.wire import bytes_of_answer, message_of
from salver.errors import NotFound

__all__ = ["ControllerActor"]

_log = logging.getLogger(__name__)

_TICK_S: Final = 0.5
_NODES_S: Final = 2.0  # between two looks which nodes Ray has
_VOUCH_S: Final = 1.0
_SILENT_S: Final = 2.0
_REACH_S: Final = 0.5
_PAGE_S: Final = 5.0
_STOP_S: Final = 120.0
_UNSET: Final = ""
_LEAST_CPUS: Final = 1.0  # of a further node, where the file says nothing
_OWN: Final = "node:"  # begins the resource that each node has for itself
_LITTLE: Final = 0.001


class ControllerActor:
    """Runs the controller of one cluster."""

    def __init__(self, cluster: str, journal: str, token: str) -> None:
        """Go on where the journal ends.

        Args:
            cluster: its name.
            journal: path of its journal.
            token: by which its servers know each other; empty for none.
        """
        logging.basicConfig(level=logging.INFO)
        self._cluster = cluster
        self._journal = journal
        self._token = token or _own_token(Path(journal).parent)
        self._service = ControllerService(JournalFile(journal), time.monotonic)
        self._actors: dict[str, tuple[str, Any]] = {}  # node → its node of Ray, the actor
        self._asked: list[dict[str, float]] | None = None
        self._nodes_lock = (
            threading.Lock()
        )  # held while actors are made, and to say that it is over
        self._is_over = threading.Event()
        for name, run, every_s in (
            ("ticks", self._service.tick, _TICK_S),
            ("nodes", self._see_to_nodes, _NODES_S),
            ("vouching", self._vouch, _VOUCH_S),
        ):
            threading.Thread(
                target=self._every, args=(run, every_s), name=name, daemon=True
            ).start()

    def _every(self, run: Any, every_s: float) -> None:
        while not self._is_over.wait(every_s):
            _attempt(run)

    # -- what the commands ask -------------------------------------------------------------------

    def about(self) -> Mapping[str, Any]:
        """Which controller this is."""
        return {"version": salver.__version__, "journal": self._journal, "pid": os.getpid()}

    def apply(self, spec: ClusterSpec) -> bool:
        """See `ControllerService.apply`."""
        is_new = self._service.apply(spec)
        self._see_to_nodes()
        return is_new

    def report(self, content: bytes) -> bytes:
        """See `ControllerService.report`."""
        return bytes_of_answer(self._service.report(message_of(content)))

    def status(self) -> Mapping[str, Any]:
        """See `ControllerService.status`."""
        return self._service.status()

    def why(self, model: str) -> str:
        """See `ControllerService.why`."""
        return self._service.why(model)

    def drain(self, node: str, *, is_draining: bool) -> None:
        """See `ControllerService.drain`."""
        self._service.drain(node, is_draining=is_draining)

    def logs(self, node: str, lines: int) -> str:
        """The last lines that a node's server has written.

        Raises:
            NotFound: there is no such node.
        """
        found = self._actors.get(node)
        if found is None:
            raise NotFound(
                f"There is no node {node}", hint=f"Nodes: {', '.join(sorted(self._actors))}."
            )
        text: str = ray.get(found[1].logs.remote(lines), timeout=_PAGE_S)
        return text

    def node_pids(self) -> Mapping[str, int]:
        """The process of each node's actor; 0 where it does not answer."""
        pings = {node: actor.ping.remote() for node, (_, actor) in self._actors.items()}
        if pings:
            ray.wait(list(pings.values()), num_returns=len(pings), timeout=_PAGE_S)
        return {node: int(_result(ping) or 0) for node, ping in pings.items()}

    def metrics_pages(self) -> Mapping[str, str]:
        """The metrics page of each node's server; empty where it did not come."""
        pages = {node: actor.metrics_page.remote() for node, (_, actor) in self._actors.items()}
        if pages:
            ray.wait(list(pages.values()), num_returns=len(pages), timeout=_PAGE_S)
        return {node: _result(page) for node, page in pages.items()}

    def stop(self) -> Sequence[str]:
        """Stop all servers and node actors, and decide no more.

        Returns:
            What went wrong, a line for each node.
        """
        _attempt(self._see_to_nodes)  # one that was just started again knows no actors yet
        self._end_looking()
        request_resources(bundles=[])
        stopping = {node: each.stop_server.remote() for node, (_, each) in self._actors.items()}
        found = {node: _problem(stopped) for node, stopped in stopping.items()}
        self.release()
        return [f"{node}: {problem}" for node, problem in found.items() if problem]

    def release(self) -> None:
        """End the node actors, and leave their servers as they are."""
        _attempt(self._see_to_nodes)
        self._end_looking()
        for _, actor in self._actors.values():
            ray.kill(actor, no_restart=True)
        self._actors.clear()

    def _end_looking(self) -> None:
        """Make no further actors: one that is being made is there when this returns."""
        with self._nodes_lock:
            self._is_over.set()

    # -- the nodes -------------------------------------------------------------------------------

    def _see_to_nodes(self) -> None:
        """Have an actor at each node of Ray."""
        with self._nodes_lock:
            self._see_to_each()

    def _see_to_each(self) -> None:
        spec = self._service.spec
        if spec is None or self._is_over.is_set():
            return
        nodes, shared = _nodes_of_ray()
        self._service.note(
            "nodes of Ray",
            f"several are called {', '.join(shared)}; one of each is used" if shared else "",
        )
        heads = [name for name, found in nodes.items() if HEAD in found["Resources"]]
        plan = self._service.see_nodes(nodes.keys(), heads)
        self._ask_for_nodes(spec, nodes, plan)
        self._find_actors(plan.reporting - self._actors.keys(), nodes)
        for name, (ray_node, actor) in list(self._actors.items()):
            if nodes.get(name, {}).get("NodeID") != ray_node:
                _log.warning("Node %s has gone from Ray", name)
                del self._actors[name]
            elif name in plan.ended:
                _log.info("Node %s is superfluous, and goes back to Ray's autoscaler", name)
                ray.kill(actor, no_restart=True)
                del self._actors[name]
                self._service.give_back(name)
        most = spec.nodes.max or len(nodes)
        large = {name for name, found in nodes.items() if _processors(found) >= spec.nodes.cpus}
        new = sorted(large - self._actors.keys() - plan.surplus)
        for name in new[: max(0, most - len(self._actors))]:
            _log.info("Node %s gets an actor", name)
            found = nodes[name]
            self._actors[name] = found["NodeID"], self._make_actor(spec, name, found)

    def _find_actors(self, names: Collection[str], nodes: Mapping[str, Mapping[str, Any]]) -> None:
        """Know the actors of nodes that are to get no new one: a controller has started anew."""
        for name in names:
            ray_node = nodes[name]["NodeID"]
            with suppress(ValueError):
                actor = ray.get_actor(node_actor(name, ray_node), namespace_of(self._cluster))
                self._actors[name] = ray_node, actor

    def _vouch(self) -> None:
        """Keep nodes from being taken for dead while only their actors are being restarted."""
        for name, rest in self._service.silent(_SILENT_S).items():
            if name in self._actors and reaches(rest, _REACH_S):
                self._service.vouch(name)

    def _ask_for_nodes(
        self, spec: ClusterSpec, nodes: Mapping[str, Mapping[str, Any]], plan: NodePlan
    ) -> None:
        """Tell Ray's autoscaler, where there is one, which nodes there should be."""
        processors = {name: _processors(each) for name, each in nodes.items()}
        each = spec.nodes.cpus or _LEAST_CPUS
        bundles = request_of(plan.wanted, plan.taken, processors, each)
        if bundles != self._asked:
            request_resources(bundles=bundles)
            self._asked = bundles

    def _make_actor(self, spec: ClusterSpec, name: str, found: Mapping[str, Any]) -> Any:
        settings = NodeSettings(
            name=name,
            host=found["NodeManagerAddress"],
            directory=node_directory(self._journal, name),
            zone=found.get("Labels", {}).get(spec.nodes.zone_label, _UNSET),
            flags=spec.flags,
            memory_bytes=int(spec.nodes.memory_bytes),
            cores=spec.nodes.cpus,
            token=self._token,
        )
        namespace = namespace_of(self._cluster)
        return (
            ray.remote(NodeActor)
            .options(
                name=node_actor(name, found["NodeID"]),
                namespace=namespace,
                lifetime="detached",
                get_if_exists=True,
                max_restarts=-1,
                max_concurrency=4,
                num_cpus=spec.nodes.cpus,
                resources=_little_of(found),
                scheduling_strategy=NodeAffinitySchedulingStrategy(found["NodeID"], soft=False),
            )
            .remote(settings, namespace)
        )


def _processors(node: Mapping[str, Any]) -> float:
    return float(node["Resources"].get("CPU", 0.0))


def _little_of(node: Mapping[str, Any]) -> dict[str, float]:
    """So little of a node that others miss nothing, and that its autoscaler sees that it is used.

    Without it the node of an actor that takes no processors is idle, and ended like any such.
    """
    own = (name for name in node["Resources"] if name.startswith(_OWN) and name != HEAD)
    return dict.fromkeys(own, _LITTLE)


def _own_token(directory: Path) -> str:
    """A token that was made for this cluster."""
    path = directory / TOKEN
    with suppress(OSError):
        if token := path.read_text().strip():
            return token
    token = secrets.token_urlsafe(32)
    make_private(directory)
    replace_file(path, token + "\n")
    return token


def _nodes_of_ray() -> tuple[dict[str, Mapping[str, Any]], list[str]]:
    """The nodes that live, by their names, and names that several have: the first one counts."""
    nodes: dict[str, Mapping[str, Any]] = {}
    shared = set()
    for found in ray.nodes():
        if found["Alive"]:
            name = found.get("NodeName") or found["NodeManagerAddress"]
            if nodes.setdefault(name, found) is not found:
                shared.add(name)
    return nodes, sorted(shared)


def _attempt(run: Callable[[], object]) -> None:
    try:
        run()
    except Exception:  # noqa: BLE001 - the next turn may be luckier
        _log.exception("%s failed", threading.current_thread().name)


def _problem(stopped: Any) -> str:
    try:
        ray.get(stopped, timeout=_STOP_S)
    except ray.exceptions.RayError as error:
        return f"its server was not stopped: {type(error).__name__}"
    return ""


def _result(page: Any) -> str:
    try:
        return str(ray.get(page, timeout=0))
    except ray.exceptions.RayError:
        return ""
