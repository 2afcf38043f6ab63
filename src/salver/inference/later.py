"""An answer that is being made, which can be given up before anybody has begun to wait for it."""

from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar, cast

__all__ = ["Later", "begun"]

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


def begun(coroutine: Coroutine[Any, Any, A]) -> "A | Coroutine[Any, Any, A]":
    """Take the first step of a coroutine now, rather than in a later turn of the loop.

    So what it asks of others is on its way at once. The first step runs in no task: it may wait for
    futures, but use nothing that looks for the task it is in, such as `asyncio.timeout`.

    Returns:
        What it returns, where it does so at once; else the rest of it, which somebody has to await
        or to close.

    Raises:
        Exception: whatever the first step does.
    """
    try:
        first = coroutine.send(None)
    except StopIteration as ended:
        made: A = ended.value
        return made
    return _Begun(coroutine, first)


class _Begun(Coroutine[Any, Any, A]):
    """The rest of a coroutine whose first step was taken: it waits for what `first` is."""

    __slots__ = ("_coroutine", "_first")

    def __init__(self, coroutine: Coroutine[Any, Any, A], first: object) -> None:
        self._coroutine = coroutine
        self._first = first

    def __await__(self) -> Generator[Any, Any, A]:
        waiting: Any = self  # an iterator with `send`, `throw` and `close`: all that is asked for
        return cast("Generator[Any, Any, A]", waiting)

    def __iter__(self) -> "_Begun[A]":
        return self

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, value: Any) -> Any:
        """See `Coroutine.send`."""
        first, self._first = self._first, None
        return self._coroutine.send(value) if first is None else first

    def throw(self, *error: Any) -> Any:
        """See `Coroutine.throw`."""
        self._first = None
        try:
            return self._coroutine.throw(*error)
        finally:
            del error  # it knows this frame, and through it all that the request holds

    def close(self) -> None:
        """See `Coroutine.close`."""
        self._coroutine.close()
