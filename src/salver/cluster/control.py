"""The controller of a cluster: what is desired, what is observed, and what each node should do.

Without I/O, clock or thread: whoever runs it brings reports and the time, and takes the answers
to the nodes. The same calls make the same answers.

Reports only note what has changed; `tick`, about once a second, decides:

1. nodes that have been silent are dead; what they had is nowhere;
2. models whose demand calls for it get more replicas, or fewer, or leave memory;
3. versions that enough replicas have become the truth, and labels move;
4. models are placed; one that moves stays where it was until it answers where it should be;
5. nodes that nobody needs are drained, to go back to Ray's autoscaler, or come back from there;
6. nodes whose files have changed, and the map of peers, get a new generation.
"""

from collections.abc import Collection, Mapping
from typing import Any

from salver.cluster import journal as journals
from salver.cluster.asked import scale
from salver.cluster.evacuation import (
    drain_notice,
    is_stuck,
    restart_notice,
    surplus_notice,
    watch_turn,
)
from salver.cluster.explain import explain
from salver.cluster.generations import desire_of, publish
from salver.cluster.growing import Wanted
from salver.cluster.membership import bury, bury_the_silent
from salver.cluster.models import KnownModel
from salver.cluster.moving import place_if_due, release
from salver.cluster.nodes import KnownNode
from salver.cluster.reports import ModelReport, NodeDesire, NodeReport
from salver.cluster.resizing import resize, take_back
from salver.cluster.settings import Settings
from salver.cluster.spec import ClusterSpec, check_cluster
from salver.cluster.state import State
from salver.cluster.status import ClusterStatus, status_of
from salver.cluster.versions import settle_changed
from salver.errors import InvalidArgument, NotFound
from salver.peers.map import PeerMap

__all__ = ["Controller"]


class Controller:
    """Decides for one cluster. Not thread-safe.

    Args:
        settings: see there.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self._state = State(settings or Settings())

    @property
    def spec(self) -> ClusterSpec | None:
        """What is desired; None before anybody said."""
        return self._state.spec

    @property
    def peer_map(self) -> PeerMap:
        """The map of peers as it is now."""
        return self._state.peer_map

    @property
    def restarting(self) -> str:
        """The node whose server is being started with other flags; empty for none."""
        return self._state.restarting

    @property
    def leaving(self) -> Collection[str]:
        """Nodes that a person has drained, or that are superfluous."""
        return self._state.draining | self._state.surplus

    @property
    def surplus(self) -> frozenset[str]:
        """Nodes that are superfluous: drained, to go back to Ray's autoscaler."""
        return frozenset(self._state.surplus)

    @property
    def wanted(self) -> Wanted:
        """Which nodes there should be."""
        return self._state.wanted

    @property
    def is_stuck(self) -> bool:
        """Whether `restarting` has waited long enough for others to take over what it has."""
        return is_stuck(self._state)

    @property
    def problems(self) -> dict[str, str]:
        """What keeps nodes from being emptied: subject → what is wrong."""
        state = self._state
        found = {f"the drain of {node}": drain_notice(state, node) for node in state.draining}
        found |= {f"the return of {node}": surplus_notice(state, node) for node in state.surplus}
        found[f"the restart of {state.restarting}"] = restart_notice(state)
        return {subject: found[subject] for subject in sorted(found) if found[subject]}

    # -- what comes from outside -----------------------------------------------------------------

    def apply(self, spec: ClusterSpec, sizes: Mapping[str, int] | None = None) -> bool:
        """Have the cluster be like this.

        Args:
            spec: what is desired.
            sizes: model → bytes of memory that a version of it takes, where somebody knows. What
                nodes have reported counts more.

        Returns:
            Whether it is something new.

        Raises:
            ServingError: it can never be; what was desired before still is.
        """
        state = self._state
        check_cluster(spec.models)
        for name, size in (sizes or {}).items():
            if (model := state.models.get(name)) is not None and not model.bytes:
                model.bytes = size
                state.must_place = True
        if spec == state.spec:
            return False
        state.spec = spec
        state.vain.clear()
        wanted = {config.name: config for config in spec.models}
        for name in sorted(state.models.keys() - wanted.keys()):
            self._remove(name)
        for name, config in wanted.items():
            known = state.models.get(name)
            if known is None:
                known = state.removed.pop(name, None) or KnownModel(config)
                known.bytes = known.bytes or (sizes or {}).get(name, 0)
                known.is_warm = known.is_kept_warm or not known.may_be_nowhere
            elif known.config == config:
                continue
            known.take(config)
            state.models[name] = known
            state.changed.add(name)
            state.touch((*known.nodes, *known.leaving))
            state.must_place = True
        return True

    def _remove(self, name: str) -> None:
        state = self._state
        model = state.removed[name] = state.models.pop(name)
        for node in model.nodes:
            model.leaving[node] = None
        model.nodes = ()
        state.moving.add(name)
        state.changed.add(name)
        state.remapped.add(name)

    def report(self, report: NodeReport, now_s: float) -> NodeDesire:
        """Take what a node says; returns what it should do.

        Raises:
            InvalidArgument: it says what cannot be.
        """
        state = self._state
        state.now_s = max(state.now_s, now_s)
        said = KnownNode(report)
        said.peer()  # raises
        if report.memory_bytes < 0 or not report.cores > 0:
            raise InvalidArgument(f"the node {report.name} reports no memory, or no processors")
        node = state.nodes.get(report.name)
        is_new = node is None or node.last_s is None
        if node is None:
            node = state.nodes[report.name] = said
            state.drain_as_asked(report.name)
        if is_new:
            state.short_s = None
            state.hoped = dict(state.lacking) if state.wanted.more else {}
        if is_new or node.peer() != said.peer() or node.room() != said.room():
            state.must_place = state.must_map = True
        if state.gathering_s is None:
            state.gathering_s = now_s
        state.generation = max(state.generation, report.generation, report.map_generation)
        wants_all = report.is_partial and (is_new or report.incarnation != node.report.incarnation)
        if report.incarnation != node.report.incarnation:
            node.resident = None  # its models are brought in anew, those first that are asked most
        for name, before, now in node.take(report, now_s):
            self._take(report.name, name, before, now)
        return desire_of(state, node, report, wants_all)

    def _take(
        self, node: str, name: str, before: ModelReport | None, now: ModelReport | None
    ) -> None:
        state = self._state
        if (model := state.models.get(name)) is None:
            return
        if now is None or before is None or before.is_other_than(now):
            state.changed.add(name)
        if now is None:
            model.demand.forget(node)
            return
        if model.demand.count(node, before, now, state.now_s):
            state.active.add(name)
        if now.found and now.found != model.found:
            model.take_found(now.found)

    def found(self, versions: Mapping[str, Collection[int]]) -> None:
        """Take which versions there are at the base paths of models, from whoever has looked."""
        for name, numbers in versions.items():
            model = self._state.models.get(name)
            if model is not None and model.take_found(numbers):
                self._state.changed.add(name)

    def drain(self, node: str, is_draining: bool = True) -> None:
        """Have others take over a node's models, so that it can leave: a person asks for that.

        Args:
            node: its name.
            is_draining: or have it take models again; a drained node may be away meanwhile.

        Raises:
            NotFound: there is none.
        """
        state = self._state
        known = state.nodes.get(node)
        if known is None and (is_draining or node not in self.leaving):
            names = ", ".join(sorted(state.nodes)) or "none"
            raise NotFound(f"There is no node {node}", hint=f"Nodes that live: {names}.")
        if is_draining:
            state.draining.add(node)
            state.hoped = {}
            state.vain.clear()
        else:
            state.draining.discard(node)
            take_back(state, node)
        state.drain_as_asked(node)

    def see(self, nodes: Collection[str], kept: Collection[str]) -> None:
        """Take which machines there are; a superfluous one that is there no more has been taken.

        Args:
            nodes: names of all of them.
            kept: of those that are never superfluous.
        """
        self._state.surplus &= {*nodes}
        self._state.kept = frozenset(kept)

    def restart(self, node: str) -> None:
        """Have others take over a node's models while its server is started with other flags.

        The node before takes models again, unless a person has drained it.

        Args:
            node: its name; empty where all servers are as they should be.
        """
        state = self._state
        before, state.restarting = state.restarting, node
        state.stuck, state.stuck_s = {}, None
        state.drain_as_asked(before)
        state.drain_as_asked(node)

    def knows(self, node: str) -> bool:
        """Whether a node lives, or may."""
        return node in self._state.nodes

    def is_empty(self, node: str) -> bool:
        """Whether nothing is needed any more of what a node has."""
        known = self._state.nodes.get(node)
        return known is not None and known.is_draining and not known.held

    def forget(self, node: str) -> None:
        """A node has gone for good."""
        state = self._state
        state.draining.discard(node)
        state.surplus.discard(node)
        if state.restarting == node:
            self.restart("")
        self.lose(node)

    def lose(self, node: str) -> None:
        """A node is of no use now: what it has is placed elsewhere until it reports again."""
        if node in self._state.nodes:
            bury(self._state, node)

    # -- what is decided -------------------------------------------------------------------------

    def tick(self, now_s: float) -> None:
        """Decide what follows from all that was said."""
        state = self._state
        state.now_s = max(state.now_s, now_s)
        bury_the_silent(state)
        scale(state)
        settle_changed(state)
        place_if_due(state)
        release(state)
        watch_turn(state)
        resize(state)
        publish(state)

    # -- what is told ----------------------------------------------------------------------------

    def status(self) -> ClusterStatus:
        """What the cluster is like."""
        return status_of(self._state)

    def why(self, model: str) -> str:
        """Why a model is where it is, and why not where it is not: lines for a person."""
        return explain(self._state, model)

    def journal(self) -> dict[str, Any]:
        """What must outlive the controller, of values that JSON has."""
        return journals.written(self._state)

    @classmethod
    def restore(cls, journal: Mapping[str, Any], settings: Settings | None = None) -> "Controller":
        """The controller that wrote a journal; nodes of it have until they are silent too long.

        Raises:
            DataLoss: it is no journal.
        """
        controller = cls()
        controller._state = journals.read(journal, settings or Settings())
        return controller
