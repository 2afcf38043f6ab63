"""Named threads that work off a queue of jobs, started when needed and joined when closed."""

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from salver.errors import ResourceExhausted

__all__ = ["Job", "Pool"]

_logger = logging.getLogger(__name__)

Job = Callable[[], object]


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
        with self._changed:
            self._limit = max(1, num_threads)
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
            if self._idle >= len(self._jobs) or self._working >= self._limit:
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
            while self._working <= self._limit:
                if self._jobs:
                    return self._jobs.popleft()
                if self._is_closing:
                    break
                self._idle += 1
                self._changed.wait()
                self._idle -= 1
            self._working -= 1
            return None
