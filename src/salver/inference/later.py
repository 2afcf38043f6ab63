"""An answer that is being made, which can be given up before anybody has begun to wait for it."""

from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

__all__ = ["Later"]

A = TypeVar("A")


class Later(Coroutine[Any, Any, A]):
    """A coroutine, and what was begun for it.

    A client may leave between the moment its request is handled and the first step of the task
    that waits for the answer. Python then closes the coroutine without having run a line of it,
    so no `finally` in it sees to the run that is queued already.
    """

    __slots__ = ("_coroutine", "_give_up")

    def __init__(self, coroutine: Coroutine[Any, Any, A], give_up: Callable[[], object]) -> None:
        """Join the two.

        Args:
            coroutine: makes the answer.
            give_up: called when the coroutine is closed or ends by what is thrown into it; does
                nothing where there is nothing left to give up.
        """
        self._coroutine = coroutine
        self._give_up = give_up

    def __await__(self) -> Generator[Any, Any, A]:
        return self._coroutine.__await__()

    def send(self, value: Any) -> Any:
        """See `Coroutine.send`."""
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        """See `Coroutine.throw`."""
        try:
            return self._coroutine.throw(*error)
        except BaseException:
            self._give_up()
            raise
        finally:
            del error  # it knows this frame, and through it all that the request holds

    def close(self) -> None:
        """See `Coroutine.close`."""
        self._coroutine.close()
        self._give_up()
