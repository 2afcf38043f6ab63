"""Waiting, in the loop, for models that have to be brought into memory first."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import TypeVar

from salver.errors import DeadlineExceeded
from salver.lifecycle.seats import NotLoaded

__all__ = ["patiently"]

A = TypeVar("A")


async def patiently(
    not_loaded: NotLoaded,
    ask_again: Callable[[float | None], "A | Awaitable[A]"],
    timeout_s: float | None,
) -> A:
    """Wait for a model, then ask again.

    Args:
        not_loaded: what the first time has raised.
        ask_again: told how many seconds are left, or None; it may raise `NotLoaded` once more.
        timeout_s: how long the caller waits altogether; None: for ever.

    Raises:
        DeadlineExceeded: the time was over first; the load goes on.
        ServingError: the model could not be loaded; or what `ask_again` raises.
    """
    loop = asyncio.get_running_loop()
    until_s = None if timeout_s is None else loop.time() + timeout_s
    while True:
        with not_loaded.claim() as claim:
            await _done(claim.loading, _left_s(until_s, loop), not_loaded)
            try:
                answer = ask_again(_left_s(until_s, loop))
                return await answer if isinstance(answer, Awaitable) else answer
            except NotLoaded as again:  # it was another version this time, say
                not_loaded = again


def _left_s(until_s: float | None, loop: asyncio.AbstractEventLoop) -> float | None:
    return None if until_s is None else until_s - loop.time()


async def _done(loading: "Future[None]", timeout_s: float | None, of: NotLoaded) -> None:
    # Not `wrap_future`, which cancels what others wait for too.
    loop = asyncio.get_running_loop()
    told: asyncio.Future[None] = loop.create_future()

    def tell(_loading: "Future[None]") -> None:
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(_tell, told)

    if not loading.done():
        loading.add_done_callback(tell)
        try:
            await asyncio.wait_for(told, timeout_s)
        except asyncio.TimeoutError:
            text = f"Timed out waiting for servable {of.id} to be loaded"
            raise DeadlineExceeded(text) from None
    error = loading.exception()
    if error is not None:
        raise error


def _tell(told: "asyncio.Future[None]") -> None:
    if not told.done():
        told.set_result(None)
