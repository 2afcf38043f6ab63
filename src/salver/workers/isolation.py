"""Versions that workers die of: isolated from all others, and tried in a process of their own.

One death or two isolate a version: no worker runs it any more, and its requests go to one process
that does nothing else. There it may go on dying without harm to anybody. Three deaths, that
process's among them, and it is quarantined: it ends with UNAVAILABLE, is unloaded everywhere, and
requests are refused. After a pause, longer each time, such a process is started once more and gets
one request at a time. A version that has answered there for long enough comes back to the workers.

Where no other model is served there is nobody to protect, and a version is only isolated when it
is quarantined.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Final, Protocol

from salver.errors import ServingError, Unavailable
from salver.servable import ServableId
from salver.workers.blame import DEATHS_TO_QUARANTINE, Blame, Charge
from salver.workers.cases import FIRST_PAUSE_S, Case
from salver.workers.causes import short_cause
from salver.workers.channel import ChannelEnded
from salver.workers.crew import Crew
from salver.workers.member import Member
from salver.workers.messages import Describe, Description, Drain, Isolate, Run

__all__ = ["Isolation", "Lifecycle"]

_log = logging.getLogger(__name__)

_LOOK_S: Final = 1.0  # between looks whether a version is still wanted
_WORKERS_LOOK_S: Final = 0.05
_WAIT_FOR_WORKERS_S: Final = 20.0
_ANSWER_S: Final = 10.0


class Lifecycle(Protocol):
    """What is asked of a `ServerCore`."""

    def quarantine(self, id: ServableId, error: ServingError) -> None: ...
    def load_again(self, id: ServableId) -> None: ...
    def is_quarantined(self, id: ServableId) -> bool: ...


class Isolation:
    """Decides which versions are isolated, and keeps their processes. Thread-safe."""

    def __init__(
        self,
        crew: Crew,
        lifecycle: Lifecycle,
        start: Callable[[Callable[[Member], None]], Member],
        *,
        is_complete: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[threading.Event, float], object] = threading.Event.wait,
    ) -> None:
        """Begin with no version.

        Args:
            crew: the workers.
            lifecycle: what decides about versions.
            start: starts a process that serves nobody, which is yet to be started to be talked to;
                is given what is to be called when it has ended.
            is_complete: whether all workers are there, so that none is kept from coming up.
            clock: seconds, monotonic.
            wait: waits for an event, so many seconds at most.
        """
        self._crew = crew
        self._lifecycle = lifecycle
        self._start = start
        self._is_complete = is_complete
        self._clock = clock
        self._wait = wait
        self._lock = threading.Lock()  # guards what follows
        self._blame = Blame()
        self._cases: dict[ServableId, Case] = {}
        self._ever: set[str] = set()
        self._is_stopping = False

    def died(self, code: int, answers: Mapping[ServableId, int]) -> None:
        """A worker has died of one of the versions that it ran.

        Args:
            code: its exit status.
            answers: these versions, and how many requests each has answered so far.
        """
        with self._lock:
            quarantined = [case.id for case in self._cases.values() if case.is_quarantined]
            self._blame.died(self._clock(), short_cause(code), answers)
            for id, charge in self._blame.charges(quarantined).items():
                self._judge(id, charge)

    def quarantined(self) -> dict[str, int]:
        """Model → how many of its versions are quarantined; of all that ever had one."""
        with self._lock:
            counts = dict.fromkeys(self._ever, 0)
            for case in self._cases.values():
                if case.is_quarantined:
                    counts[case.id.name] += 1
            return counts

    def run(self, run: Run) -> "Future[bytes]":
        """Run a version that is isolated.

        Returns:
            A future of the outputs; see `Run`.

        Raises:
            Unavailable: it cannot be run now.
        """
        with self._lock:
            case = self._cases.get(run.id)
            if case is None:
                raise Unavailable(f"Servable {run.id} is not isolated any more; try again")
            member = case.member
            if member is None or case.is_full:
                raise Unavailable(case.reason)
            case.running += 1
        answer: Future[bytes] = Future()
        member.ask(run).add_done_callback(lambda asked: self._ran(case, member, asked, answer))
        return answer

    def clear(self, name: str | None = None) -> tuple[ServableId, ...]:
        """Bring versions back, whatever they have done.

        Args:
            name: of their model; None for all models.

        Returns:
            Those that were isolated or quarantined.
        """
        with self._lock:
            cases = [case for case in self._cases.values() if name in (None, case.id.name)]
            for case in cases:
                del self._cases[case.id]
            for id in self._blame.suspects():
                if name in (None, id.name):
                    self._blame.forget(id)
        for case in cases:
            _log.info("%s is brought back by hand", case.id)
            case.changed.set()
            if case.is_quarantined:
                self._crew.forget_isolated(case.id)
                self._lifecycle.load_again(case.id)
            else:
                self._end_isolation(case)
        return tuple(case.id for case in cases)

    def stop(self) -> None:
        """Isolate nothing any more. The processes are left to whoever started them."""
        with self._lock:
            self._is_stopping = True
            cases, self._cases = list(self._cases.values()), {}
        for case in cases:
            case.changed.set()

    # -- under the lock --------------------------------------------------------------------------

    def _judge(self, id: ServableId, charge: Charge) -> None:
        case = self._cases.get(id)
        if case is not None and case.charge != charge:
            case.charge = charge
            if case.member is None:
                self._crew.update_isolated(Isolate(id, case.reason))
        if self._is_stopping or not charge.is_grave:
            return
        is_to_end = charge.is_at_least(DEATHS_TO_QUARANTINE)
        if case is None:
            if not is_to_end and not self._crew.serves_others(id):
                return
            case = self._isolate(id, charge)
        if case is not None and is_to_end and not case.is_quarantined:
            self._quarantine(case)

    def _isolate(self, id: ServableId, charge: Charge) -> Case | None:
        source = self._crew.source_of(id)
        if source is None:
            return None
        case = Case(id, source, charge)
        if not self._crew.isolate(Isolate(id, case.reason)):
            return None
        self._cases[id] = case
        _log.error("%s; it is run by a process of its own", case.reason)
        name = f"salver-isolated-{id.name}-{id.version}"
        threading.Thread(target=self._keep, args=(case,), name=name, daemon=True).start()
        return case

    def _quarantine(self, case: Case) -> None:
        case.is_quarantined = True
        case.member = None
        pause_s = case.pause(self._clock())
        self._ever.add(case.id.name)
        _log.error("%s; it is tried again in %g s", case.reason, pause_s)
        self._crew.update_isolated(Isolate(case.id, case.reason))
        self._lifecycle.quarantine(case.id, Unavailable(case.reason))
        case.changed.set()

    def _is_open(self, case: Case) -> bool:
        return not self._is_stopping and self._cases.get(case.id) is case

    # -- the thread of a case --------------------------------------------------------------------

    def _keep(self, case: Case) -> None:
        while self._is_wanted(case):
            if self._is_due(case):
                self._try(case)
            else:
                self._wait(case.changed, _LOOK_S if case.retry_at_s else _WORKERS_LOOK_S)
                case.changed.clear()
        with self._lock:
            is_given_up = self._cases.get(case.id) is case
            if is_given_up:
                del self._cases[case.id]
                self._blame.forget(case.id)
        if is_given_up:
            self._crew.forget_isolated(case.id)

    def _is_wanted(self, case: Case) -> bool:
        with self._lock:
            if not self._is_open(case):
                return False
        return self._crew.is_isolated(case.id) or self._lifecycle.is_quarantined(case.id)

    def _is_due(self, case: Case) -> bool:
        """Whether a process may be started; one for the first time only beside all workers."""
        now_s = self._clock()
        if case.retry_at_s:
            return now_s >= case.retry_at_s
        case.since_s = case.since_s or now_s
        return self._is_complete() or now_s - case.since_s >= _WAIT_FOR_WORKERS_S

    def _try(self, case: Case) -> None:
        """Have a process run it, until that ends or the version comes back."""
        was_quarantined = case.is_quarantined
        ended = threading.Event()

        def end(_member: Member) -> None:
            ended.set()
            case.changed.set()

        try:
            member = self._start(end)
        except (OSError, RuntimeError) as error:
            self._cannot_try(case, error)
            return
        try:
            description = self._bring_up(member, case)
            if description is not None and self._open(case, member, description, was_quarantined):
                self._look_after(case, member, ended, was_quarantined)
        finally:
            self._let_go(case, member)

    def _bring_up(self, member: Member, case: Case) -> Description | None:
        member.start()
        member.said_hello.wait()
        try:
            member.load(case.id, case.source, is_alone=True).result()
            description: Description = member.ask(Describe(case.id)).result(_ANSWER_S)
        except (ServingError, TimeoutError) as error:
            if isinstance(error, ChannelEnded) and not member.was_killed:
                self._died_alone(case, member)
            else:
                self._cannot_try(case, error)
            return None
        return description

    def _cannot_try(self, case: Case, error: Exception) -> None:
        _log.error("%s cannot be loaded by a process of its own: %s", case.id, error)
        with self._lock:
            case.retry_at_s = self._clock() + FIRST_PAUSE_S

    def _open(
        self, case: Case, member: Member, description: Description, was_quarantined: bool
    ) -> bool:
        with self._lock:
            if not self._is_open(case) or case.is_quarantined != was_quarantined:
                return False
            case.open(member, self._clock())
            self._crew.update_isolated(Isolate(case.id, case.reason, description))
        _log.info("%s is run by a process of its own (%d)", case.id, member.pid)
        return True

    def _look_after(
        self, case: Case, member: Member, ended: threading.Event, was_quarantined: bool
    ) -> None:
        while self._is_wanted(case) and case.is_quarantined == was_quarantined:
            if ended.is_set():
                self._died_alone(case, member)
                return
            with self._lock:
                is_proven = case.is_proven(self._clock())
                if not is_proven and case.is_in_vain(self._clock()):
                    case.pause(self._clock())
                    return
            if is_proven and self._comes_back(case):
                return
            if not ended.is_set():
                self._wait(case.changed, _LOOK_S)
                case.changed.clear()

    def _died_alone(self, case: Case, member: Member) -> None:
        with self._lock:
            case.member = None
            if not self._is_open(case):
                return
            was_quarantined = case.is_quarantined
            self._blame.died(self._clock(), short_cause(member.code or 0), {case.id: 0})
            charge = self._blame.charges([case.id]).get(case.id, case.charge)
            self._judge(case.id, charge)
            self._crew.update_isolated(Isolate(case.id, case.reason))
            pause_s = case.pause(self._clock()) if was_quarantined else 0.0
        _log.error("The process that runs %s has ended: %s", case.id, member.cause)
        if pause_s:
            _log.error("%s; it is tried again in %g s", case.reason, pause_s)

    def _comes_back(self, case: Case) -> bool:
        """Give a version that has proven itself back to the workers; whether they have it."""
        with self._lock:
            if not self._is_open(case):
                return False
            self._blame.forget(case.id, keeping=1)
            runs = case.runs
        _log.info("%s has answered %d requests and comes back", case.id, runs)
        if case.is_quarantined:
            self._lifecycle.load_again(case.id)
            while self._is_wanted(case):  # until it is loaded: then it is neither
                self._wait(case.changed, _LOOK_S)
                case.changed.clear()
            return True
        if not self._end_isolation(case):
            with self._lock:
                case.runs, case.since_s = 0, self._clock()
            return False
        with self._lock:
            if self._is_open(case):
                del self._cases[case.id]
        return True

    def _end_isolation(self, case: Case) -> bool:
        try:
            self._crew.end_isolation(case.id)
        except ServingError as error:
            _log.error("%s cannot be brought back: %s", case.id, error.message)
            return False
        return True

    def _let_go(self, case: Case, member: Member) -> None:
        with self._lock:
            if case.member is member:
                case.member = None
        if not member.ended.is_set():
            member.tell(Drain(0.0))
            if not member.ended.wait(_ANSWER_S):
                member.kill()
                member.ended.wait()

    # -- runs ------------------------------------------------------------------------------------

    def _ran(
        self, case: Case, member: Member, asked: "Future[Any]", answer: "Future[bytes]"
    ) -> None:
        error = asked.exception()
        with self._lock:
            if case.member is member:
                case.running -= 1
                case.runs += not isinstance(error, ChannelEnded)
                if case.is_proven(self._clock()):
                    case.changed.set()
            reason = case.reason
        if error is None:
            answer.set_result(asked.result())
        elif isinstance(error, ChannelEnded):
            answer.set_exception(Unavailable(reason))
        else:
            answer.set_exception(error)
