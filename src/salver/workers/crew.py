"""The workers as one: what all of them are to have, and who has it.

The lifecycle of the supervisor loads, publishes and unloads as in a single process; here that
comes to mean: at all workers. A worker that is new catches up before it answers anything, and one
that has ended is waited for no more.

A version whose load ends the process must not take the server along. So where there is something to
lose, one worker loads a version before the others do; and one that a worker has died of is tried
alone, in a process that serves nobody, before it comes near a worker again.

Nor must one whose load does not return: `abandon` ends the wait for it, and tells which workers
still have a thread in it.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from functools import partial
from typing import Any, Final

from salver.errors import ServingError, Unavailable
from salver.lifecycle.handles import Labels
from salver.lifecycle.late_loads import given_up_after
from salver.lifecycle.lateness import WARN_S
from salver.lifecycle.loader import Deadly
from salver.servable import ServableId
from salver.workers.channel import ChannelEnded
from salver.workers.joint_load import JointLoad, late_load
from salver.workers.member import Member
from salver.workers.messages import (
    EndIsolation,
    Isolate,
    Open,
    Publish,
    SetLabels,
    SetLogs,
    SetNames,
    SetPhase,
    SetStates,
    Sync,
    Withdraw,
)
from salver.workers.versions import Source, Stage, Version, Versions
from salver.workers.waiting import when_all_done

__all__ = ["LOADS_AT_ONCE", "CannotCatchUp", "Crew"]

_log = logging.getLogger(__name__)

_STOPPING: Final = "The server is stopping"
_ANSWER_S: Final = 10.0  # for what a worker does at once, if it is not held up by something
LOADS_AT_ONCE: Final = 4  # by a worker that catches up
_MOST_DEATHS: Final = 3  # of workers by one load, though it went well alone


class CannotCatchUp(Exception):
    """A new worker could not load what the others have.

    Attributes:
        id: the version, if it is known which.
        error: what came of the load.
        is_death: whether the worker died of it.
    """

    def __init__(self, id: ServableId | None, error: ServingError, *, is_death: bool) -> None:
        super().__init__(error.message)
        self.id = id
        self.error = error
        self.is_death = is_death


class Crew:
    """All workers that serve. Safe to use from any thread.

    Attributes:
        is_careful: whether one worker loads a version first; set it once there is something to
            lose.
    """

    def __init__(
        self,
        try_alone: Callable[[str, ServableId, str], None],
        *,
        load_timeout_s: float = 0.0,
        warn_s: float = WARN_S,
    ) -> None:
        """Begin without workers.

        Args:
            try_alone: loads a version in a process that serves nobody; raises `Deadly` when that
                process dies of it, and `ServingError` when the load fails.
            load_timeout_s: how long a new worker may take for one load; 0 for any time.
            warn_s: after how long that is told of.
        """
        self.is_careful = False
        self._try_alone = try_alone
        self._load_timeout_s = load_timeout_s
        self._warn_s = warn_s
        self._trying = threading.Lock()
        self._changed = threading.Condition()  # its lock guards what follows
        self._members: list[Member] = []
        self._versions = Versions()
        self._isolated: dict[ServableId, Isolate] = {}
        self._loading: dict[ServableId, JointLoad] = {}
        self._labels: SetLabels | None = None
        self._logs = SetLogs({})
        self._names = SetNames((), None)
        self._states: dict[str, SetStates] = {}
        self._phase = SetPhase()
        self._is_open = False
        self._is_stopped = False

    @property
    def is_open(self) -> bool:
        """Whether connections are accepted."""
        return self._is_open

    @property
    def members(self) -> tuple[Member, ...]:
        """Those who serve now."""
        with self._changed:
            return tuple(self._members)

    # -- what the lifecycle does -----------------------------------------------------------------

    def load(self, platform: str, id: ServableId, path: str) -> None:
        """Have all workers load a version. Called from load threads.

        Raises:
            Deadly: processes die of it.
            Cancelled: `abandon` was called.
            ServingError: a worker could not load it; then none has it any more.
        """
        deaths = 0
        loading = JointLoad()
        with self._changed:
            self._loading[id] = loading
        try:
            with self._changed:
                version = self._versions.new(platform, id, path)
            while lacking := self._lacking(loading, id, version):
                dead = self._load_at(loading, lacking, id, version)
                if dead is None:
                    continue
                deaths += 1
                self._judge(deaths, dead, platform, id, path)
        except BaseException:
            self.unload(id)
            raise
        finally:
            with self._changed:
                if self._loading.get(id) is loading:
                    del self._loading[id]

    def abandon(self, id: ServableId) -> list[Member]:
        """Wait no more for a load. What it brings to a worker after all is unloaded there.

        Returns:
            The workers that have not returned from it.
        """
        with self._changed:
            loading = self._loading.get(id)
            if loading is not None:
                loading.abandon()
                self._changed.notify_all()
            return [member for member in self._members if id in member.loading]

    def unload(self, id: ServableId) -> None:
        """Have all workers unload a version, and wait until they have."""
        with self._changed:
            self._versions.pop(id, None)
            having = [member for member in self._members if id in member.loaded]
            closing = [self._unload_at(member, id) for member in having]
        wait(closing)

    def publish(self, id: ServableId) -> None:
        """Have all workers answer by a version; they do when this returns."""
        with self._changed:
            self._versions[id].stage = Stage.PUBLISHED
            publishing = [(member, member.ask(Publish(id))) for member in self._members]
            self._end_isolation(id, is_published=True)
        _await_all(publishing, "publish a version")

    def withdraw(self, id: ServableId, on_drained: Callable[[], None]) -> None:
        """Have no worker answer by a version; `on_drained` is called when no request is in it."""
        with self._changed:
            self._versions[id].stage = Stage.WITHDRAWN
            draining = [m.ask(Withdraw(id)) for m in self._members if id in m.loaded]
        when_all_done(draining, on_drained)

    def lose(self, id: ServableId) -> bool:
        """Give up a version that was served, since no worker can have it any more.

        Returns:
            Whether it was so: not if some worker has it.
        """
        with self._changed:
            version = self._versions.get(id)
            if version is None or not version.is_wanted:
                return False
            if any(id in member.loaded for member in self._members):
                return False
            version.stage = Stage.LOST
            return True

    # -- what no worker is to run ----------------------------------------------------------------

    def answering(self, marks: Iterable[int]) -> frozenset[ServableId]:
        """The versions that answer requests now, of those with some marks."""
        with self._changed:
            return self._versions.answering(marks)

    def marked(self, marks: Iterable[int]) -> frozenset[ServableId]:
        """The versions with some marks, whatever has become of them."""
        with self._changed:
            return self._versions.marked(marks)

    def serves_others(self, id: ServableId) -> bool:
        """Whether there is another model than this one to be kept from harm."""
        with self._changed:
            return any(
                other.name != id.name and self._versions.answer(other) for other in self._versions
            )

    def isolate(self, notice: Isolate) -> bool:
        """Have no worker run a version, from when this returns.

        Returns:
            Whether it answered requests until then.
        """
        with self._changed:
            version = self._versions.get(notice.id)
            if version is None or version.stage is not Stage.PUBLISHED:
                return False
            version.stage = Stage.ISOLATED
            self._isolated[notice.id] = notice
            self._tell_all(notice)
            return True

    def update_isolated(self, notice: Isolate) -> None:
        """Tell the workers what has become of a version that is isolated, if it still is."""
        with self._changed:
            if notice.id in self._isolated:
                self._isolated[notice.id] = notice
                self._tell_all(notice)

    def is_isolated(self, id: ServableId) -> bool:
        """Whether a version answers requests, and no worker runs it."""
        with self._changed:
            version = self._versions.get(id)
            return version is not None and version.stage is Stage.ISOLATED

    def source_of(self, id: ServableId) -> Source | None:
        """What a process needs to load a version; None if there is no such."""
        with self._changed:
            version = self._versions.get(id)
            return None if version is None else version.source

    def end_isolation(self, id: ServableId) -> None:
        """Have the workers run a version again. Called from a thread that may wait for them.

        Raises:
            ServingError: one could not load it, or died of that; then it stays isolated.
        """
        loading = JointLoad()
        while True:
            with self._changed:
                self._check()
                version = self._versions.get(id)
                if version is None or version.stage is not Stage.ISOLATED:
                    return
                lacking = [member for member in self._members if id not in member.loaded]
                if not lacking:
                    version.stage = Stage.PUBLISHED
                    self._end_isolation(id, is_published=True)
                    return
            dead = self._load_at(loading, lacking[:1], id, version)
            if dead is not None:
                raise dead

    def forget_isolated(self, id: ServableId) -> None:
        """A version that was isolated is wanted no more."""
        with self._changed:
            self._end_isolation(id, is_published=False)

    def _end_isolation(self, id: ServableId, *, is_published: bool) -> None:
        if self._isolated.pop(id, None) is not None:
            self._tell_all(EndIsolation(id, is_published))

    # -- what is told to all ---------------------------------------------------------------------

    def set_labels(self, labels: Labels, moving: Labels) -> None:
        """See `ServingMap.assign_labels`."""
        with self._changed:
            self._labels = SetLabels(_copy(labels), _copy(moving))
            self._tell_all(self._labels)

    def keep_labels(self, labels: Labels, moving: Labels) -> None:
        """Labels have moved with a version that was published, as workers know by themselves."""
        with self._changed:
            if self._labels is not None:
                self._labels = SetLabels(_copy(labels), _copy(moving))

    def set_names(self, names: SetNames) -> None:
        """Tell which models are configured."""
        with self._changed:
            self._names = names
            self._tell_all(names)

    def set_states(self, name: str, look: Callable[[], SetStates]) -> None:
        """Tell how the versions of a model are.

        Args:
            name: of the model.
            look: gives its states as they are when it is called, so that the last word is the
                latest news, however many threads bring some.
        """
        with self._changed:
            states = self._states[name] = look()
            self._tell_all(states)

    def set_phase(self, phase: SetPhase) -> None:
        """Tell how far the server is."""
        with self._changed:
            self._phase = phase
            self._tell_all(phase)

    def set_logs(self, configs: Mapping[str, bytes]) -> None:
        """Have all workers log requests like this.

        Raises:
            ServingError: some worker cannot.
        """
        with self._changed:
            before, self._logs = self._logs, SetLogs(dict(configs))
            setting = [(member, member.ask(self._logs)) for member in self._members]
        _await_all(setting, "log requests as configured")  # a disk may hang
        done = [each for _, each in setting if each.done()]
        errors = [error for each in done if (error := each.exception()) is not None]
        refusals = [error for error in errors if not isinstance(error, ChannelEnded)]
        if refusals:
            with self._changed:
                self._logs = before
            raise refusals[0]

    def sync(self) -> None:
        """Wait until all workers know what they were told."""
        with self._changed:
            syncing = [(member, member.ask(Sync())) for member in self._members]
        _await_all(syncing, "answer")

    def open(self) -> None:
        """Have all workers accept connections, now and whenever one is new.

        Raises:
            ServingError: some worker cannot.
        """
        with self._changed:
            self._is_open = True
            opening = [member.ask(Open()) for member in self._members]
        for each in opening:
            with suppress(ChannelEnded):  # it will have a successor
                each.result()

    # -- who belongs to it -----------------------------------------------------------------------

    def admit(self, member: Member, *, loads_at_once: int = LOADS_AT_ONCE) -> None:
        """Bring a worker up to date, then make it one of those who serve.

        Args:
            member: said hello.
            loads_at_once: how many; with one it is clear what it died of, if it does.

        Raises:
            CannotCatchUp: it cannot load what the others have.
            Unavailable: the server stops.
        """
        while True:
            with self._changed:
                self._check()
                if member.is_removed:
                    raise CannotCatchUp(None, _ended(member), is_death=True)
                lacking = [
                    (id, version)
                    for id, version in self._versions.items()
                    if version.is_wanted and id not in member.loaded
                ]
                surplus = [self._unload_at(member, id) for id in self._surplus(member)]
                if not lacking and not surplus:
                    opening = self._enter(member)
                    break
            wait(surplus)
            self._catch_up(member, lacking[:loads_at_once])
        if opening is not None:
            try:
                opening.result()
            except ServingError as error:
                self.remove(member)
                raise CannotCatchUp(None, error, is_death=isinstance(error, ChannelEnded)) from None

    def remove(self, member: Member) -> None:
        """It serves no more: it has ended, or leaves."""
        with self._changed:
            member.is_removed = True
            if member in self._members:
                self._members.remove(member)
            self._changed.notify_all()

    def stop(self) -> None:
        """Load nothing more, now and for ever."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    # -- within ----------------------------------------------------------------------------------

    def _check(self) -> None:
        if self._is_stopped:
            raise Unavailable(_STOPPING)

    def _lacking(self, loading: JointLoad, id: ServableId, version: Version) -> list[Member]:
        """The workers that are to load a version next; none if all have it, which is noted."""

        def is_time() -> bool:
            if self._is_stopped or loading.is_abandoned:
                return True
            # One that was given up must be over before another begins in the same process.
            return bool(self._members) and not any(id in m.loading for m in self._members)

        with self._changed:
            self._changed.wait_for(is_time)
            self._check()
            loading.check(id)
            lacking = [member for member in self._members if id not in member.loaded]
            if not lacking:
                self._versions[id] = version
            is_first = len(lacking) == len(self._members)
            return lacking[:1] if is_first and self.is_careful else lacking

    def _load_at(
        self, loading: JointLoad, members: Sequence[Member], id: ServableId, version: Version
    ) -> ServingError | None:
        """Have some workers load a version; what one of them said that died of it, if one did."""
        loads = [(member, member.load(id, version.source)) for member in members]
        pending = {load for _, load in loads}
        while pending and not loading.is_abandoned:
            pending -= wait({*pending, loading.end}, return_when=FIRST_COMPLETED).done
        failure: BaseException | None = None
        death: ServingError | None = None
        for member, load in loads:
            if load in pending:
                load.add_done_callback(partial(self._came_too_late, member, id))
                continue
            match load.exception():
                case None:
                    with self._changed:
                        member.loaded.add(id)
                case ChannelEnded() as error:
                    death = error
                case error:
                    failure = failure or error
        loading.check(id)
        if failure is not None:
            raise failure
        return death

    def _came_too_late(self, member: Member, id: ServableId, load: "Future[None]") -> None:
        if load.exception() is None:
            _log.info("%s has loaded %s after that was given up, and unloads it", member, id)
            member.unload(id)
        with self._changed:
            self._changed.notify_all()

    def _judge(
        self, deaths: int, error: ServingError, platform: str, id: ServableId, path: str
    ) -> None:
        """See whether it is a version that workers die of; raises if so."""
        with self._changed:
            self._check()  # who stops while it loads has not died of that
        if deaths >= _MOST_DEATHS:
            raise Deadly(f"Workers die while they load {id}: {error.message}")
        self.is_careful = True
        with self._trying:  # one at a time: then it is clear what a process died of
            self._try_alone(platform, id, path)

    def _unload_at(self, member: Member, id: ServableId) -> "Future[None]":
        member.loaded.discard(id)
        return member.unload(id)

    def _surplus(self, member: Member) -> list[ServableId]:
        return [id for id in member.loaded if id not in self._versions]

    def _catch_up(self, member: Member, lacking: Iterable[tuple[ServableId, Version]]) -> None:
        loading = [(id, member.load(id, v.source)) for id, v in lacking]
        limit_s = self._load_timeout_s * len(loading)  # they take the processors from each other
        late = late_load(
            {load: id for id, load in loading}, str(member), limit_s=limit_s, warn_s=self._warn_s
        )
        if late is not None:
            raise CannotCatchUp(late, given_up_after(late, limit_s), is_death=False)
        for id, load in loading:
            match load.exception():
                case None:
                    with self._changed:
                        member.loaded.add(id)
                case ChannelEnded() as error:
                    alone = member.died_loading[0] if len(member.died_loading) == 1 else None
                    raise CannotCatchUp(alone, error, is_death=True)
                case ServingError() as error:
                    raise CannotCatchUp(id, error, is_death=False)
                case error:
                    assert error is not None
                    raise error

    def _enter(self, member: Member) -> "Future[Any] | None":
        """Tell a worker the truth, in an order in which it can be told, and count it in."""
        logging_as = member.ask(self._logs)
        logging_as.add_done_callback(_complain)
        for id, version in self._versions.items():
            if version.stage is Stage.PUBLISHED:
                member.ask(Publish(id))
        if self._labels is not None:
            member.tell(self._labels)
        member.tell(self._names)
        for states in self._states.values():
            member.tell(states)
        for notice in self._isolated.values():
            member.tell(notice)
        member.tell(self._phase)
        opening = member.ask(Open()) if self._is_open else None
        self._members.append(member)
        self._changed.notify_all()
        return opening

    def _tell_all(self, message: object) -> None:
        for member in self._members:
            member.tell(message)


def _ended(member: Member) -> ChannelEnded:
    return ChannelEnded(f"Worker {member.slot} has ended: {member.cause}")


def _copy(labels: Labels) -> dict[str, dict[str, int]]:
    return {name: dict(of_name) for name, of_name in labels.items()}


def _complain(done: "Future[Any]") -> None:
    error = done.exception()
    if isinstance(error, ServingError) and not isinstance(error, ChannelEnded):
        _log.error("A worker cannot log requests: %s", error.message)


def _await_all(asked: Iterable[tuple[Member, "Future[Any]"]], what: str) -> None:
    for member, answer in asked:
        done, _ = wait([answer], _ANSWER_S)
        if not done:
            _log.warning("%s did not %s within %g s", member, what, _ANSWER_S)
