"""What comes of several futures together."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

__all__ = ["when_all_done"]


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
