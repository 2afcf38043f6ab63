"""Named threads that work off a queue of jobs, started when needed and joined when closed."""

import ctypes
import itertools
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from salver.errors import ResourceExhausted

__all__ = [
    "LARGE_BYTES",
    "VERY_LARGE_BYTES",
    "Breather",
    "InPool",
    "InThread",
    "Job",
    "Pool",
    "call_process",
    "in_background",
    "step_back",
    "take_short_slices",
]

_logger = logging.getLogger(__name__)

Job = Callable[[], object]

R = TypeVar("R")


class InPool(Protocol):
    """Runs what takes long for the event loop in another thread."""

    def __call__(self, call: Callable[[], Any], size: int = 0, /) -> Awaitable[Any]:
        """Run it; called in the loop.

        Args:
            call: what to run. It may raise.
            size: about how many bytes it goes through: what is very large waits for others that
                are, and not in the way of the rest.
        """
        ...


InThread = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs a function that may wait, for models or for the disk, in a thread other than the loop's."""

LARGE_BYTES: Final = 1 << 16
"""What is larger is worked on in the pool: reading this much JSON takes about as long as a change
of threads."""
VERY_LARGE_BYTES: Final = 16 << 20
"""What is larger is worked on apart from the rest, with what is that large too."""

_COMPUTE_S: Final = 100e-6  # half of the server's switch interval
_REST_S: Final = 100e-6

_BACKGROUND_NICE: Final = 10
"""A tenth of the weight of other threads: it gets what they leave, and a tenth where they leave
nothing, so that whoever waits for a lock of its does not wait long."""


def in_background(name: str, call: Callable[[], R]) -> R:
    """Run what takes long without the GIL, behind all threads that serve requests; wait for it.

    It runs in a thread of its own, since without rights a thread that has once stepped back can
    not step forward again. Threads that it starts inherit its place: so nothing may be run here
    that starts threads for others. Where there is no priority of single threads (anything but
    Linux) it is a thread as any other; where there is no thread, it runs in the caller's.

    Args:
        name: of the thread.
        call: what to run; little of it in Python, because whoever holds the GIL holds up everybody.

    Returns:
        What `call` returns; it raises what that raises.
    """
    outcome: list[R] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            step_back()
            outcome.append(call())
        except BaseException as error:  # noqa: BLE001 - handed to the caller
            errors.append(error)

    thread = threading.Thread(target=work, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        return call()
    thread.join()
    if errors:
        raise errors.pop()
    return outcome.pop()


def call_process(name: str) -> None:
    """Have this process shown by a name in `ps` and `top`; to be called in its first thread.

    Args:
        name: of at most 15 bytes; of a longer one the end is lost. Nothing happens but on Linux.
    """
    with suppress(OSError):
        Path("/proc/self/comm").write_text(name)


def step_back() -> None:
    """Let this thread run behind others, for the rest of its life, and what threads it starts.

    For a thread that was made for work that nobody waits for.
    """
    if sys.platform == "linux":  # elsewhere a thread's number would be taken for a process
        thread = threading.get_native_id()
        with suppress(OSError):  # one that is further back already stays there
            nice = max(os.getpriority(os.PRIO_PROCESS, thread), _BACKGROUND_NICE)
            os.setpriority(os.PRIO_PROCESS, thread, nice)


_SLICE_NS: Final = 700_000
"""More than a request takes, so that it is not stopped in its middle, and a fraction of the 3 ms
that others have; see `docs/decisions/lower-priority-loads.md`."""
_SET_ATTRIBUTES: Final = {"x86_64": 314, "aarch64": 274}  # system calls by machine
_RESET_ON_FORK: Final = 1


class _Attributes(ctypes.Structure):
    """`struct sched_attr` of `sched_setattr(2)`, in its first version."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime_ns", ctypes.c_uint64),
        ("deadline_ns", ctypes.c_uint64),
        ("period_ns", ctypes.c_uint64),
    )


def take_short_slices(slice_ns: int = _SLICE_NS) -> bool:
    """Have this thread wait less for a processor, and take it for less time at once.

    Who wakes up on a processor where another thread computes waits until that one's slice is over,
    1 ms and more, unless it asks for shorter slices itself. An event loop wakes up for each
    request. From Linux 6.12 on; before, and elsewhere, nothing happens. It needs no rights and
    takes from no other thread what is due to it. Threads that this one starts are as any other.

    Args:
        slice_ns: how long at once, in nanoseconds; Linux gives 100,000 to 100,000,000.

    Returns:
        Whether the system took it.
    """
    if sys.platform != "linux" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return False
    number = _SET_ATTRIBUTES.get(os.uname().machine)
    if number is None:
        return False
    try:
        nice = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        policy = os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK
    except OSError:  # not for this process to know
        return False
    # Threads of one who stands before others would be set back with the rest.
    if nice < 0 or policy != os.SCHED_OTHER:
        return False
    attributes = _Attributes(
        size=ctypes.sizeof(_Attributes),
        policy=os.SCHED_OTHER,
        flags=_RESET_ON_FORK,
        nice=nice,
        runtime_ns=slice_ns,
    )
    return _system_call(number, 0, ctypes.byref(attributes), 0) == 0


def _system_call(number: int, *arguments: Any) -> int:
    call: Any = ctypes.CDLL(None).syscall
    result: int = call(ctypes.c_long(number), *arguments)
    return result


class Breather:
    """Has a thread that computes in Python for long stop now and then, for others to have the GIL.

    A thread that wants the GIL waits for `sys.getswitchinterval`, and an event loop wants it anew
    for each event. So who computes for longer than that should rest before it is over. Belongs to
    one thread.
    """

    __slots__ = ("_begun_s", "_clock", "_sleep")

    def __init__(
        self,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Begin to compute.

        Args:
            clock: seconds, monotonic.
            sleep: waits so many seconds.
        """
        self._clock = clock
        self._sleep = sleep
        self._begun_s = clock()

    def __call__(self) -> None:
        """Rest, if it is time to. To be called every 10 µs or so; 0.1 µs."""
        if self._clock() - self._begun_s >= _COMPUTE_S:
            self._sleep(_REST_S)
            self._begun_s = self._clock()


class Pool:
    """Runs jobs in the order they come, on at most so many threads. Safe to use from any thread.

    A thread starts with the first job that finds none idle, so a pool nobody uses costs nothing.
    """

    def __init__(self, name: str, num_threads: int) -> None:
        """Make a pool whose threads are called `<name>-0` and so on.

        Args:
            name: what the threads are called.
            num_threads: jobs that may run at the same time; below 1 counts as 1.
        """
        self._name = name
        self._limit = max(1, num_threads)
        self._lent = 0
        self._changed = threading.Condition()
        self._jobs: deque[Job] = deque()
        self._threads: list[threading.Thread] = []
        self._working = 0  # threads that have not left
        self._idle = 0
        self._is_closing = False
        self._numbers = itertools.count()

    def submit(self, job: Job) -> None:
        """Queue a job. What it raises is logged and ends nothing.

        Raises:
            RuntimeError: the pool is closed.
            ResourceExhausted: no thread is there to run it, and the system gives none.
        """
        with self._changed:
            if self._is_closing:
                raise RuntimeError(f"pool {self._name} is closed")
            self._jobs.append(job)
            try:
                self._start_threads(1)
            except ResourceExhausted as error:
                if self._working == 0:
                    self._jobs.pop()
                    raise
                _logger.warning("%s", error.message)  # those there are will come to it
            self._changed.notify()

    def withdraw(self, job: Job) -> bool:
        """Take back a job that has not begun; False when it has, or is unknown."""
        with self._changed:
            try:
                self._jobs.remove(job)
            except ValueError:
                return False
            return True

    def resize(self, num_threads: int) -> None:
        """Change how many jobs may run at the same time; those that run now go on."""
        self._set_limit(lambda: (max(1, num_threads), self._lent))

    def lend(self) -> None:
        """Let one more job run at the same time, since one of those that run does not return."""
        self._set_limit(lambda: (self._limit, self._lent + 1))

    def take_back(self) -> None:
        """The job that did not return has returned."""
        self._set_limit(lambda: (self._limit, self._lent - 1))

    def _set_limit(self, limits: Callable[[], tuple[int, int]]) -> None:
        with self._changed:
            self._limit, self._lent = limits()
            try:
                self._start_threads(len(self._jobs))
            except ResourceExhausted as error:
                _logger.warning("%s", error.message)
            self._changed.notify_all()

    def close(self, timeout_s: float | None = None) -> bool:
        """Run what is queued, then stop. Waits for the threads; False when time ran out."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        until_s = None if timeout_s is None else time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(None if until_s is None else max(0.0, until_s - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _start_threads(self, most: int) -> None:
        """Start as many as there is work and room for, up to `most`."""
        for _ in range(most):
            if self._idle >= len(self._jobs) or self._working >= self._limit + self._lent:
                return
            name = f"{self._name}-{next(self._numbers)}"
            thread = threading.Thread(target=self._work, name=name, daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                raise ResourceExhausted(f"Could not start thread {name}: {error}") from error
            self._threads = [*(t for t in self._threads if t.is_alive()), thread]
            self._working += 1

    def _work(self) -> None:
        while job := self._next_job():
            try:
                job()
            except Exception:
                _logger.exception("A job of %s failed", self._name)
            del job  # what it holds must not live until the next one comes

    def _next_job(self) -> Job | None:
        with self._changed:
            while self._working <= self._limit + self._lent:
                if self._jobs:
                    return self._jobs.popleft()
                if self._is_closing:
                    break
                self._idle += 1
                self._changed.wait()
                self._idle -= 1
            self._working -= 1
            return None
