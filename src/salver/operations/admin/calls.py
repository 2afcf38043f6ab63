"""Requests of administrators on their way into threads: so many at once, the others in turn."""

import asyncio
from collections.abc import Callable
from typing import Any, Final, TypeVar

from salver.errors import Overloaded, ResourceExhausted
from salver.instruments.threads import InThread
from salver.lifecycle.callers import Caller
from salver.protocols.administration import Act, Administer, Administered, AdminRequest
from salver.vocabulary.access import Actor

__all__ = ["AdminCalls"]

R = TypeVar("R")

_AT_ONCE: Final = 4  # each has a thread
_MOST_QUEUED: Final = 1000
_MOST_WAITING: Final = 16  # for models to load or to unload


class AdminCalls:
    """Does what administrators request. Belongs to the loop."""

    def __init__(self, administer: Administer, in_control: InThread) -> None:
        """Make it.

        Args:
            administer: does it.
            in_control: runs what may wait for models or for the disk.
        """
        self._administer = administer
        self._in_control = in_control
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._n_queued = 0
        self._n_waiting = 0

    async def __call__(
        self, read: Callable[[], AdminRequest], actor: Actor, write: Callable[[Administered], R]
    ) -> R:
        """Do it. A client that leaves takes nothing back that has begun.

        Args:
            read: makes the request of what a client has sent; called in a thread.
            actor: who wants it.
            write: makes the answer of what came of it, in that thread too.

        Raises:
            Overloaded: many others wait for their turn.
            ServingError: it cannot be done.
        """
        if self._n_queued >= _MOST_QUEUED:
            raise Overloaded(f"{_MOST_QUEUED} other administrative requests wait for their turn")
        self._n_queued += 1
        try:
            await self._turns.acquire()
        finally:
            self._n_queued -= 1
        caller = Caller(actor=actor)
        try:
            doing = asyncio.ensure_future(
                self._in_control(lambda: write(self._administer(read(), caller))),
            )
        except BaseException:  # the machine has no thread for it
            self._turns.release()
            raise
        doing.add_done_callback(self._done)
        return await self._answer(doing, caller)

    async def wait_for_model(self, act: Act, actor: Actor, write: Callable[[Administered], R]) -> R:
        """Do what waits for a model to load or to unload. Who leaves ends the wait.

        Raises:
            ResourceExhausted: many others wait.
            ServingError: it cannot be done.
        """
        if self._n_waiting >= _MOST_WAITING:
            raise ResourceExhausted(
                f"{_MOST_WAITING} others wait for models to be loaded or unloaded: try again later"
            )
        caller = Caller(actor=actor)
        doing = asyncio.ensure_future(
            self._in_control(lambda: write(self._administer(act, caller)))
        )
        self._n_waiting += 1
        doing.add_done_callback(self._has_waited)
        return await self._answer(doing, caller)

    async def _answer(self, doing: "asyncio.Future[R]", caller: Caller) -> R:
        try:
            return await asyncio.shield(doing)
        except asyncio.CancelledError:
            caller.leave()
            raise

    def _done(self, doing: "asyncio.Future[Any]") -> None:
        self._turns.release()
        _take_error(doing)

    def _has_waited(self, doing: "asyncio.Future[Any]") -> None:
        self._n_waiting -= 1
        _take_error(doing)


def _take_error(doing: "asyncio.Future[Any]") -> None:
    if not doing.cancelled():
        doing.exception()  # nobody may be left to be told
