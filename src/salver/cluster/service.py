"""The controller with what it needs around it: its journal, the time, one call after the other.

Knows nothing of Ray: `on_ray` runs one of these in an actor. Any thread may call anything here.
"""

import logging
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import orjson

from salver.cluster.conditions import NodeCondition
from salver.cluster.control import Controller
from salver.cluster.growing import Wanted
from salver.cluster.journal_file import JournalFile
from salver.cluster.reports import NodeDesire, NodeReport
from salver.cluster.rolling import turn_after
from salver.cluster.spec import ClusterSpec
from salver.cluster.wire import Answer, Message
from salver.errors import ServingError

__all__ = ["ControllerService", "NodePlan"]

_log = logging.getLogger(__name__)

_WRITE_S: Final = 1.0  # with 10,000 models a journal takes some 20 ms to make
_VOUCHED_S: Final = 30.0  # longest that others vouch for a node which says nothing
_NODE_S: Final = 10.0  # how long the last condition of a node counts
_TURN_S: Final = 300.0  # likewise of one whose server is being stopped, which takes its time
_UNSETTLED_S: Final = 60.0  # for which a turn may wait without being told of
_RESTARTS: Final = "restarts"


@dataclass(frozen=True, slots=True)
class NodePlan:
    """What becomes of the machines that there are.

    Attributes:
        wanted: those that stay, and how many more there should be.
        surplus: those that get no new server: they go back to Ray's autoscaler.
        reporting: of those, the ones whose agents are there.
        ended: of these, the ones whose servers have ended, or do not answer for good.
        taken: all nodes with an agent that says something, whether they stay or not.
    """

    wanted: Wanted
    surplus: frozenset[str]
    reporting: frozenset[str]
    ended: frozenset[str]
    taken: frozenset[str]


class ControllerService:
    """One cluster's controller."""

    def __init__(self, journal: JournalFile, monotonic: Callable[[], float]) -> None:
        """Go on where the journal ends.

        Args:
            journal: see there.
            monotonic: the time.
        """
        self._journal = journal
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._conditions: dict[str, tuple[float, NodeCondition]] = {}
        self._reports: dict[str, tuple[float, NodeReport]] = {}
        self._problems: dict[str, str] = {}
        self._written_s = 0.0
        self._begun_s = self._whole_s = monotonic()
        self._disk = threading.Lock()  # a slow disk keeps no node from reporting
        self._journals = 0  # made so far
        self._newest = 0  # that went to the disk
        self._core = _restored(journal)

    @property
    def spec(self) -> ClusterSpec | None:
        """What the cluster should be like; None where nobody has said."""
        with self._lock:
            return self._core.spec

    def apply(self, spec: ClusterSpec) -> bool:
        """Have the cluster be like this; whether that is something new.

        Raises:
            ServingError: it cannot be.
        """
        with self._lock:
            is_new = self._core.apply(spec)
            journal = self._made_journal()
        self._write(*journal)
        return is_new

    def report(self, message: Message) -> Answer:
        """Take what a node says, and answer what it should do.

        Raises:
            ServingError: it says what cannot be.
        """
        name = message.report.name
        with self._lock:
            now_s = self._monotonic()
            self._conditions[name] = now_s, message.condition
            desire = self._taken(message, now_s)
            flags = None if self._core.spec is None else self._core.spec.flags
            if name == self._core.restarting and not message.condition.is_outdated:
                desire = replace(desire, may_stop=False)  # its next server stays, or is tried again
            return Answer(desire=desire, flags=flags, must_restart=self._must_restart(name, desire))

    def _taken(self, message: Message, now_s: float) -> NodeDesire:
        """Have the core know of a report, or that a node has no use; the lock is held."""
        report, name = message.report, message.report.name
        if not message.condition.is_lost:
            desire = self._core.report(report, now_s)
            self._reports[name] = now_s, report
            self._problems.pop(_node_subject(name), None)
            return desire
        self._core.lose(name)
        self._reports.pop(name, None)
        problem = message.condition.problem or "its server does not answer"
        self._problems[_node_subject(name)] = f"{problem}; others take its place meanwhile"
        return NodeDesire(generation=report.generation)

    def silent(self, since_s: float) -> Mapping[str, str]:
        """Nodes that have said nothing for so long, but not for too long, and their addresses."""
        with self._lock:
            now_s = self._monotonic()
            return {
                name: report.rest
                for name, (at_s, report) in self._reports.items()
                if since_s <= now_s - at_s <= _VOUCHED_S
            }

    def vouch(self, node: str) -> None:
        """A node says nothing, but is there, and its server answers: its agent is being restarted.

        So it does not count as dead, and its models stay where they are. One that does already
        counts again when it reports.
        """
        with self._lock:
            if (known := self._reports.get(node)) is None or not self._core.knows(node):
                return
            report = replace(known[1], models={}, is_partial=True)
            with suppress(ServingError):
                self._core.report(report, self._monotonic())

    def _must_restart(self, name: str, desire: NodeDesire) -> bool:
        if self._core.restarting != name or not self._conditions[name][1].is_outdated:
            return False
        if name in self._core.leaving:  # what a person has drained is not started anew like that
            return desire.may_stop
        return desire.may_stop or self._core.is_stuck or self._is_alone(name)

    def _is_alone(self, name: str) -> bool:
        """Whether no other node could take over what a node has."""
        if self._monotonic() - self._begun_s <= _NODE_S:  # others may not have reported yet
            return False
        return self._conditions.keys() - self._core.leaving <= {name}

    def tick(self) -> None:
        """Decide, about once a second."""
        with self._lock:
            now_s = self._monotonic()  # those who waited for the lock are not silent for it
            self._drop_late(now_s)
            self._end_turn(now_s)  # before the next placement, in which its node counts again
            self._core.tick(now_s)
            for name in [n for n, (at_s, _) in self._reports.items() if now_s - at_s > _VOUCHED_S]:
                del self._reports[name]
            self._begin_turn(now_s)
            if now_s - self._written_s < _WRITE_S:
                return
            journal = self._made_journal()
        self._write(*journal)

    def _drop_late(self, now_s: float) -> None:
        for name, (at_s, _) in list(self._conditions.items()):
            if now_s - at_s > (_TURN_S if name == self._core.restarting else _NODE_S):
                del self._conditions[name]
                self._problems.pop(_node_subject(name), None)

    def _end_turn(self, now_s: float) -> None:
        turn, nodes = self._core.restarting, self._nodes()
        if not turn or (turn not in nodes and now_s - self._begun_s <= _TURN_S):
            return  # the turn is of a journal, and the node may be stopping its server
        drained, is_stuck = self._core.leaving, self._core.is_stuck
        if not turn_after(turn, nodes, drained, is_whole=False, is_stuck=is_stuck):
            self._core.restart("")

    def _begin_turn(self, now_s: float) -> None:
        nodes, drained = self._nodes(), self._core.leaving
        following = "" if self._core.restarting else turn_after("", nodes, drained, is_whole=True)
        if not following or self._core.status().is_settled:
            self._problems.pop(_RESTARTS, None)
            self._whole_s = now_s
        elif now_s - self._whole_s > _UNSETTLED_S:
            self._problems[_RESTARTS] = (
                f"{following} is to start its server anew, as soon as all models are at all of "
                "their nodes"
            )
        if following and self._whole_s == now_s:
            _log.info("Node %s is drained: its server is to have other flags", following)
            self._core.restart(following)

    def _nodes(self) -> dict[str, NodeCondition]:
        return {name: condition for name, (_, condition) in self._conditions.items()}

    def _made_journal(self) -> tuple[int, Mapping[str, Any]]:
        """The journal as it is now, and which one it is; the lock is held."""
        self._written_s = self._monotonic()
        self._journals += 1
        return self._journals, self._core.journal()

    def _write(self, number: int, journal: Mapping[str, Any]) -> None:
        """Have the disk keep a journal, or a newer one; the lock is not held."""
        with self._disk:
            if number > self._newest:
                self._newest = number
                self._journal.write(journal)

    def drain(self, node: str, *, is_draining: bool) -> None:
        """Have others take over what a node has, or have it take models again.

        Raises:
            NotFound: there is no such node.
        """
        with self._lock:
            self._core.drain(node, is_draining)
            journal = self._made_journal()
        self._write(*journal)

    def see_nodes(self, nodes: Collection[str], kept: Collection[str]) -> NodePlan:
        """Take which machines there are; returns which of them are used, and how many should be.

        Args:
            nodes: names of all of them.
            kept: of those that stay in any case.
        """
        with self._lock:
            self._core.see(nodes, kept)
            surplus = self._core.surplus
            conditions = self._nodes()
            lost = {name for name in surplus & conditions.keys() if conditions[name].is_lost}
            reporting = frozenset(filter(self._core.knows, surplus)) | lost
            ended = frozenset(
                name
                for name in reporting & conditions.keys() - lost
                if not conditions[name].server_pid and self._core.is_empty(name)
            )
            taken = frozenset(self._conditions.keys() & {*nodes})
            return NodePlan(self._wanted(taken), surplus, reporting, ended | lost, taken)

    def _wanted(self, taken: Collection[str]) -> Wanted:
        """Which nodes there should be: also those that leave count as some of the most."""
        wanted, spec = self._core.wanted, self._core.spec
        if spec is None or not spec.nodes.max:
            return wanted
        room = spec.nodes.max - len({*wanted.nodes, *taken})
        return replace(wanted, more=max(0, min(wanted.more, room)))

    def give_back(self, node: str) -> None:
        """Nobody looks after a superfluous node any more."""
        with self._lock:
            self._core.lose(node)
            self._conditions.pop(node, None)
            self._reports.pop(node, None)
            self._problems.pop(_node_subject(node), None)

    def forget(self, node: str) -> None:
        """A node has gone for good."""
        with self._lock:
            self._core.forget(node)
            self._conditions.pop(node, None)
            journal = self._made_journal()
        self._write(*journal)

    def why(self, model: str) -> str:
        """Why a model is where it is.

        Raises:
            NotFound: there is no such model.
        """
        with self._lock:
            return self._core.why(model)

    def note(self, subject: str, problem: str) -> None:
        """Have the status say what is wrong; an empty problem takes it back."""
        with self._lock:
            if problem:
                self._problems[subject] = problem
            else:
                self._problems.pop(subject, None)

    def status(self) -> Mapping[str, Any]:
        """How the cluster is, as a document: that of the core, and what is known beside it."""
        with self._lock:
            now_s = self._monotonic()
            document = self._core.status().document()
            conditions = {
                name: asdict(condition) | {"is_outdated": condition.is_outdated}
                for name, (at_s, condition) in self._conditions.items()
                if now_s - at_s <= _NODE_S
            }
            for node in document["nodes"]:
                node["condition"] = conditions.get(node["name"])
            problems = self._problems | self._core.problems
            if self._journal.problem:
                problems["journal"] = self._journal.problem
            whole = {**document, "restarting": self._core.restarting, "problems": problems}
        found: Mapping[str, Any] = orjson.loads(orjson.dumps(whole))  # the same for all readers
        return found


def _node_subject(name: str) -> str:
    return f"the node {name}"


def _restored(journal: JournalFile) -> Controller:
    """A controller that goes on where the journal ends; a new one where that is of no use.

    A new one learns from the nodes what they have, and from whoever applies a specification what
    they should have.
    """
    written = journal.read()
    if written is None:
        return Controller()
    try:
        return Controller.restore(written)
    except ServingError as error:
        journal.put_aside(error.message)
        return Controller()
