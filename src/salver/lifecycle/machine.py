"""The states of every servable version, as pure state: events in, instructions out.

No thread, no clock, no file is touched here. `manager` performs the instructions and feeds the
outcomes back as events, so every race the server can meet is a sequence a test can write down.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from salver.lifecycle.policy import Policy, Verb
from salver.lifecycle.state import FINAL, LEAVING, TRANSITIONS, Event, Snapshot, State
from salver.vocabulary.servable import ServableId

__all__ = [
    "CancelLoad",
    "Instruction",
    "LoadServable",
    "Machine",
    "PublishServable",
    "UnloadServable",
    "WithdrawServable",
]


@dataclass(frozen=True)
class _OfVersion:
    id: ServableId


class LoadServable(_OfVersion):
    """Run the loader of `id`; report `LOADED` or `LOAD_FAILED`."""


class CancelLoad(_OfVersion):
    """Nobody wants `id` any more: try no further. Its `LoadServable` still owes its report."""


class PublishServable(_OfVersion):
    """Put `id`, which is loaded, into the serving map; there is nothing to report."""


class WithdrawServable(_OfVersion):
    """Take `id` out of the serving map; report `DRAINED` when its last handle is gone."""


class UnloadServable(_OfVersion):
    """Free what the loader of `id` holds; report `UNLOADED`."""


Instruction = LoadServable | CancelLoad | PublishServable | WithdrawServable | UnloadServable


@dataclass(slots=True)
class _Version:
    state: State = State.NEW
    is_aspired: bool = True
    is_quarantined: bool = False


@dataclass(slots=True)
class Machine:
    """Every managed version and the one policy that moves them.

    Not thread-safe: the manager's thread is the only caller.
    """

    policy: Policy
    _streams: dict[str, dict[int, _Version]] = field(default_factory=dict)
    _waiting: dict[str, frozenset[int]] = field(default_factory=dict)

    @property
    def names(self) -> frozenset[str]:
        """The streams that have a version, or wait for one."""
        return frozenset(self._streams) | frozenset(self._waiting)

    @property
    def states(self) -> frozenset[State]:
        """The states that any version is in."""
        return frozenset(v.state for stream in self._streams.values() for v in stream.values())

    def aspire(self, name: str, versions: Iterable[int]) -> list[Instruction]:
        """Set the versions of `name` to aspire to; leaving one out asks for it to be unloaded.

        Each call replaces the one before it. A version being withdrawn cannot be called back, so
        a call that names one waits until it is gone; one that is still ready simply stays.
        """
        self._waiting[name] = frozenset(versions)
        return self._advance(name)

    def happened(self, id: ServableId, event: Event) -> list[Instruction]:
        """Record the outcome of an instruction and return what to do next.

        `LOADED` of a version nobody aspires to any more makes it unload at once, unpublished.
        """
        version = self._streams[id.name][id.version]
        if event is Event.LOADED and not version.is_aspired:
            event = Event.LOADED_IN_VAIN
        if event is Event.UNLOADED and version.is_quarantined:
            event, version.is_quarantined = Event.UNLOADED_QUARANTINED, False
        version.state = TRANSITIONS[version.state, event]
        instructions: list[Instruction] = []
        if version.state is State.READY:
            instructions.append(PublishServable(id))
        elif version.state is State.UNLOADING:
            instructions.append(UnloadServable(id))
        return instructions + self._advance(id.name)

    def quarantine(self, id: ServableId) -> list[Instruction]:
        """Withdraw a version that does harm, though it is wanted; then it has failed.

        Returns:
            What to do; nothing when it is not ready.
        """
        version = self._streams.get(id.name, {}).get(id.version)
        if version is None or version.state is not State.READY:
            return []
        version.is_quarantined = True
        version.state = TRANSITIONS[version.state, Event.QUARANTINE]
        return [WithdrawServable(id), *self._advance(id.name)]

    def state(self, id: ServableId) -> State | None:
        """Presence a version stands; None for one that is not managed."""
        version = self._streams.get(id.name, {}).get(id.version)
        return None if version is None else version.state

    def is_aspired(self, id: ServableId) -> bool:
        """Whether a version is managed and wanted."""
        version = self._streams.get(id.name, {}).get(id.version)
        return version is not None and version.is_aspired

    def snapshots(self, name: str) -> list[Snapshot]:
        """The versions of `name`, oldest first."""
        return [
            Snapshot(ServableId(name, number), version.state, version.is_aspired)
            for number, version in sorted(self._streams.get(name, {}).items())
        ]

    def _advance(self, name: str) -> list[Instruction]:
        stream = self._streams.setdefault(name, {})
        self._forget_finished(stream)
        instructions: list[Instruction] = [*self._apply_aspired(name, stream)]
        while action := self.policy(self.snapshots(name)):
            version = stream[action.id.version]
            if action.verb is Verb.LOAD:
                version.state = TRANSITIONS[version.state, Event.LOAD]
                instructions.append(LoadServable(action.id))
            else:
                version.state = TRANSITIONS[version.state, Event.WITHDRAW]
                instructions.append(WithdrawServable(action.id))
        if not stream:
            del self._streams[name]
        return instructions

    def _apply_aspired(self, name: str, stream: dict[int, _Version]) -> list[CancelLoad]:
        wanted = self._waiting.get(name)
        if wanted is None or any(stream[n].state in LEAVING for n in wanted & stream.keys()):
            return []
        del self._waiting[name]
        cancelled: list[CancelLoad] = []
        for number, version in stream.items():
            if version.is_aspired and number not in wanted and version.state is State.LOADING:
                cancelled.append(CancelLoad(ServableId(name, number)))
            version.is_aspired = number in wanted
        for number in wanted - stream.keys():
            stream[number] = _Version()
        self._forget_finished(stream)
        return cancelled

    @staticmethod
    def _forget_finished(stream: dict[int, _Version]) -> None:
        for number, version in list(stream.items()):
            if not version.is_aspired and (version.state in FINAL or version.state is State.NEW):
                del stream[number]
