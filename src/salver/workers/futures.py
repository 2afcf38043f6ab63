"""Futures: what a call comes to in another thread, and what comes of several together."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from salver.errors import ServingError, drop_frames
from salver.instruments.threads import Pool

__all__ = ["in_pool", "in_thread", "when_all_done"]

R = TypeVar("R")


def in_thread(name: str, call: Callable[[], R]) -> "Future[R]":
    """Make a call in a thread of its own, which does not keep the process from ending.

    Raises:
        RuntimeError: the system gives no thread.
    """
    done: Future[R] = Future()
    threading.Thread(target=_settle, args=(done, call), name=name, daemon=True).start()
    return done


def in_pool(pool: Pool, call: Callable[[], R]) -> "Future[R]":
    """Make a call in a thread of a pool; raises as `Pool.submit`."""
    done: Future[R] = Future()
    pool.submit(lambda: _settle(done, call))
    return done


def _settle(done: "Future[R]", call: Callable[[], R]) -> None:
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 - what the future fails with
        if isinstance(error, ServingError):
            drop_frames(error)
        done.set_exception(error)
    else:
        done.set_result(result)


def when_all_done(futures: "Sequence[Future[Any]]", do: Callable[[], None]) -> None:
    """Call `do` once, when all are done, however they are: at once if there is none to wait for."""
    left = len(futures)
    if left == 0:
        do()
        return
    lock = threading.Lock()

    def one_is_done(_future: "Future[Any]") -> None:
        nonlocal left
        with lock:
            left -= 1
            is_last = left == 0
        if is_last:
            do()

    for future in futures:
        future.add_done_callback(one_is_done)
