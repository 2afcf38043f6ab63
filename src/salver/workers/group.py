"""The workers as one: which versions all of them are to have, and who has them.

The lifecycle of the supervisor loads, publishes and unloads as in a single process; here that is
done at all workers. A new worker catches up before it answers anything, and one that has ended is
waited for no more.

A version whose load ends the process must not take the server along. So where there is something to
lose, one worker loads a version before the others do; and one that a worker has died of is tried
in a process that serves nobody before it comes near a worker again.

Nor must one whose load does not return: `abandon` ends the wait for it, and returns the workers
that still have a thread in it.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from functools import partial
from typing import Any, Final

from salver.config.model_options import LoadSettings
from salver.errors import STOPPING, ServingError, Unavailable
from salver.lifecycle.lateness import WARN_S
from salver.lifecycle.loader import Deadly
from salver.vocabulary.servable import ServableId
from salver.workers import messages
from salver.workers.catch_up import CannotCatchUp, catch_up
from salver.workers.channel import ChannelEnded
from salver.workers.futures import when_all_done
from salver.workers.member import Member
from salver.workers.messages import Isolate, SharedState
from salver.workers.versions import JointLoad, Source, Stage, Versions

__all__ = ["LOADS_AT_ONCE", "WorkerGroup"]

_log = logging.getLogger(__name__)

_ANSWER_S: Final = 10.0  # for what a worker does at once, if it is not held up by something
LOADS_AT_ONCE: Final = 4  # by a worker that catches up
_MOST_DEATHS: Final = 3  # of workers by one load, though it went well alone


class WorkerGroup:
    """All workers that serve. Safe to use from any thread.

    Attributes:
        is_careful: whether one worker loads a version first; set it once there is something to
            lose.
        is_open: whether connections are accepted.
    """

    def __init__(
        self,
        try_alone: Callable[[LoadSettings, ServableId, str], None],
        *,
        load_timeout_s: float = 0.0,
        warn_s: float = WARN_S,
    ) -> None:
        """Begin without workers.

        Args:
            try_alone: loads a version in a process that serves nobody; raises `Deadly` when that
                process dies of it, and `ServingError` when the load fails.
            load_timeout_s: how long a new worker may take for one load; 0 for any time.
            warn_s: after how long a warning is logged.
        """
        self.is_careful = False
        self._try_alone = try_alone
        self._load_timeout_s = load_timeout_s
        self._warn_s = warn_s
        self._trying = threading.Lock()
        self._changed = threading.Condition()  # its lock guards what follows
        self._members: list[Member] = []
        self._versions = Versions()
        self._loading: dict[ServableId, JointLoad] = {}
        self._logs = messages.SetLogs({})
        self._shared: dict[object, SharedState] = {}  # by topic
        self.is_open = False
        self._is_stopped = False

    @property
    def members(self) -> tuple[Member, ...]:
        """Those who serve now."""
        with self._changed:
            return tuple(self._members)

    # -- what the lifecycle does -----------------------------------------------------------------

    def load(self, settings: LoadSettings, id: ServableId, path: str) -> None:
        """Have all workers load a version. Called from load threads.

        Raises:
            Deadly: processes die of it.
            Cancelled: `abandon` was called.
            ServingError: a worker could not load it; then none has it any more.
        """
        with self._changed:
            load = self._loading[id] = JointLoad(id, self._versions.new(settings, id, path))
        try:
            while lacking := self._lacking(load):
                death = self._load_at(load, lacking)
                if death is not None:
                    self._died_of(load, death)
        except BaseException:
            self.unload(id)
            raise
        finally:
            with self._changed:
                if self._loading.get(id) is load:
                    del self._loading[id]

    def abandon(self, id: ServableId) -> list[Member]:
        """Wait no more for a load. What it brings to a worker after all is unloaded there.

        Returns:
            The workers that have not returned from it.
        """
        with self._changed:
            load = self._loading.get(id)
            if load is not None:
                load.abandon()
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
            publishing = [
                (member, member.request(messages.Publish(id))) for member in self._members
            ]
            self._end_isolation(id, is_published=True)
        _await_all(publishing, "publish a version")

    def withdraw(self, id: ServableId, on_drained: Callable[[], None]) -> None:
        """Have no worker answer by a version; `on_drained` is called when no request is in it."""
        with self._changed:
            self._versions[id].stage = Stage.WITHDRAWN
            draining = [m.request(messages.Withdraw(id)) for m in self._members if id in m.loaded]
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

    # -- versions that no worker is to run -------------------------------------------------------

    def answering(self, marks: Iterable[int]) -> frozenset[ServableId]:
        """The versions that answer requests now, of those with some marks."""
        with self._changed:
            return self._versions.answering(marks)

    def marked(self, marks: Iterable[int]) -> frozenset[ServableId]:
        """The versions with some marks, whatever has become of them."""
        with self._changed:
            return self._versions.marked(marks)

    def is_in_use(self, name: str) -> bool:
        """Whether some worker has a version of a model in memory, where that is on demand."""
        with self._changed:
            if not any(id.name == name for id in self._versions):
                return False
            asked = [member.request(messages.IsInUse(name)) for member in self._members]
        done, late = wait(asked, _ANSWER_S)
        answers = [each.result() for each in done if each.exception() is None]
        return bool(late) or any(answers)

    def serves_others(self, id: ServableId) -> bool:
        """Whether there is another model than this one to be kept from harm."""
        with self._changed:
            return any(
                other.name != id.name and version.answers
                for other, version in self._versions.items()
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
            self._share(notice)
            return True

    def update_isolated(self, notice: Isolate) -> None:
        """Notify the workers what has become of a version that is isolated, if it still is."""
        with self._changed:
            if notice.topic in self._shared:
                self._share(notice)

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
            death = self._load_at(JointLoad(id, version), lacking[:1])
            if death is not None:
                raise death

    def forget_isolated(self, id: ServableId) -> None:
        """A version that was isolated is wanted no more."""
        with self._changed:
            self._end_isolation(id, is_published=False)

    def _end_isolation(self, id: ServableId, *, is_published: bool) -> None:
        if self._shared.pop(Isolate(id, "").topic, None) is not None:
            self._notify_all(messages.EndIsolation(id, is_published))

    # -- what all workers are notified of --------------------------------------------------------

    def broadcast(self, make: Callable[[], SharedState]) -> None:
        """Notify all workers of a state, now and whenever one is new.

        Args:
            make: makes the message from what is so when it is called, under the lock of the group:
                of several threads that bring news the last one's are the latest.
        """
        with self._changed:
            self._share(make())

    def remember(self, make: Callable[[], SharedState]) -> None:
        """Notify new workers alone of a state that the others have come to by themselves."""
        with self._changed:
            state = make()
            if state.topic in self._shared:
                self._shared[state.topic] = state

    def set_logs(self, configs: Mapping[str, bytes]) -> None:
        """Have all workers log requests like this.

        Raises:
            ServingError: some worker cannot.
        """
        with self._changed:
            before, self._logs = self._logs, messages.SetLogs(dict(configs))
            setting = [(member, member.request(self._logs)) for member in self._members]
        _await_all(setting, "log requests as configured")  # a disk may hang
        done = [each for _, each in setting if each.done()]
        errors = [error for each in done if (error := each.exception()) is not None]
        refusals = [error for error in errors if not isinstance(error, ChannelEnded)]
        if refusals:
            with self._changed:
                self._logs = before
            raise refusals[0]

    def sync(self) -> None:
        """Wait until all that was sent to the workers is in effect."""
        with self._changed:
            syncing = [(member, member.request(messages.Sync())) for member in self._members]
        _await_all(syncing, "answer")

    def open(self) -> None:
        """Have all workers accept connections, now and whenever one is new.

        Raises:
            ServingError: some worker cannot.
        """
        with self._changed:
            self.is_open = True
            opening = [member.request(messages.Open()) for member in self._members]
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
                    error = ChannelEnded(f"Worker {member.slot} has ended: {member.cause}")
                    raise CannotCatchUp(None, error, is_death=True)
                lacking = [
                    (id, version)
                    for id, version in self._versions.items()
                    if version.is_wanted and id not in member.loaded
                ]
                surplus = [
                    self._unload_at(member, id) for id in member.loaded - self._versions.keys()
                ]
                if not lacking and not surplus:
                    opening = self._enter(member)
                    break
            wait(surplus)
            some = {id: version.source for id, version in lacking[:loads_at_once]}
            catch_up(member, some, self._loaded, limit_s=self._load_timeout_s, warn_s=self._warn_s)
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
            raise Unavailable(STOPPING)

    def _lacking(self, load: JointLoad) -> list[Member]:
        """The workers that are to load a version next; none if all have it, which is noted."""

        def is_time() -> bool:
            if self._is_stopped or load.is_abandoned:
                return True
            # One that was given up must be over before another begins in the same process.
            return bool(self._members) and not any(load.id in m.loading for m in self._members)

        with self._changed:
            self._changed.wait_for(is_time)
            self._check()
            load.check()
            lacking = [member for member in self._members if load.id not in member.loaded]
            if not lacking:
                self._versions[load.id] = load.version
            is_first = len(lacking) == len(self._members)
            return lacking[:1] if is_first and self.is_careful else lacking

    def _load_at(self, load: JointLoad, members: Sequence[Member]) -> ServingError | None:
        """Have some workers load a version; the error of one that died of it, if one did."""
        loads = {member.load(load.id, load.version.source): member for member in members}
        pending = set(loads)
        while pending and not load.is_abandoned:
            pending -= wait({*pending, load.end}, return_when=FIRST_COMPLETED).done
        failure: BaseException | None = None
        death: ServingError | None = None
        for each, member in loads.items():
            if each in pending:
                each.add_done_callback(partial(self._came_too_late, member, load.id))
                continue
            match each.exception():
                case None:
                    self._loaded(member, load.id)
                case ChannelEnded() as error:
                    death = error
                case error:
                    failure = failure or error
        load.check()
        if failure is not None:
            raise failure
        return death

    def _came_too_late(self, member: Member, id: ServableId, load: "Future[None]") -> None:
        if load.exception() is None:
            _log.info("%s has loaded %s after that was given up, and unloads it", member, id)
            member.unload(id)
        with self._changed:
            self._changed.notify_all()

    def _died_of(self, load: JointLoad, error: ServingError) -> None:
        """See whether it is a version that workers die of; raises if so."""
        with self._changed:
            self._check()  # who stops while it loads has not died of that
        load.deaths += 1
        if load.deaths >= _MOST_DEATHS:
            raise Deadly(f"Workers die while they load {load.id}: {error.message}")
        self.is_careful = True
        source = load.version.source
        with self._trying:  # one at a time: then it is clear what a process died of
            self._try_alone(source.settings, load.id, source.path)

    def _loaded(self, member: Member, id: ServableId) -> None:
        with self._changed:
            member.loaded.add(id)

    def _unload_at(self, member: Member, id: ServableId) -> "Future[None]":
        member.loaded.discard(id)
        return member.unload(id)

    def _enter(self, member: Member) -> "Future[Any] | None":
        """Bring a worker's state up to date, in an order in which that can be, and count it in."""
        member.request(self._logs).add_done_callback(_complain)
        for id, version in self._versions.items():
            if version.stage is Stage.PUBLISHED:
                member.request(messages.Publish(id))
        for state in self._shared.values():
            member.notify(state)
        opening = member.request(messages.Open()) if self.is_open else None
        self._members.append(member)
        self._changed.notify_all()
        return opening

    def _share(self, state: SharedState) -> None:
        self._shared[state.topic] = state
        self._notify_all(state)

    def _notify_all(self, message: object) -> None:
        for member in self._members:
            member.notify(message)


def _complain(done: "Future[Any]") -> None:
    error = done.exception()
    if isinstance(error, ServingError) and not isinstance(error, ChannelEnded):
        _log.error("A worker cannot log requests: %s", error.message)


def _await_all(pending: Iterable[tuple[Member, "Future[Any]"]], what: str) -> None:
    for member, answer in pending:
        done, _ = wait([answer], _ANSWER_S)
        if not done:
            _log.warning("%s did not %s within %g s", member, what, _ANSWER_S)
