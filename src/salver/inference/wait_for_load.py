"""Waiting, on the loop, for models that have to be loaded first: an interceptor."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from salver.errors import DeadlineExceeded
from salver.inference.context import RequestContext
from salver.inference.later import Later
from salver.lifecycle.placeholders import NotLoaded

__all__ = ["wait_for_load"]

A = TypeVar("A")


def wait_for_load(
    context: RequestContext, proceed: "Callable[[], A | Coroutine[Any, Any, A]]"
) -> "A | Coroutine[Any, Any, A]":
    """Have a request whose model is not in memory wait for it, and try again; an `Interceptor`.

    The time of the request is for the wait and the run together.

    Raises:
        DeadlineExceeded: the time was over first; the load goes on. Out of the coroutine.
        ServingError: the model could not be loaded; or what `proceed` raises.
    """
    try:
        answer = proceed()
    except NotLoaded as not_loaded:
        return _retried(not_loaded, context, proceed)
    if isinstance(answer, Coroutine):
        return Later(_awaited(answer, context, proceed), answer.close)
    return answer


async def _awaited(
    answer: Coroutine[Any, Any, A],
    context: RequestContext,
    proceed: "Callable[[], A | Coroutine[Any, Any, A]]",
) -> A:
    try:
        return await answer
    except NotLoaded as not_loaded:
        return await _retried(not_loaded, context, proceed)


async def _retried(
    not_loaded: NotLoaded,
    context: RequestContext,
    proceed: "Callable[[], A | Coroutine[Any, Any, A]]",
) -> A:
    loop = asyncio.get_running_loop()
    until_s = None if context.timeout_s is None else loop.time() + context.timeout_s
    while True:
        with not_loaded.claim() as claim:
            await _loaded(claim.loading, _left_s(until_s, loop), not_loaded)
            context.timeout_s = _left_s(until_s, loop)
            try:
                answer = proceed()
                return await answer if isinstance(answer, Coroutine) else answer
            except NotLoaded as again:  # it was another version this time, say
                not_loaded = again


def _left_s(until_s: float | None, loop: asyncio.AbstractEventLoop) -> float | None:
    return None if until_s is None else until_s - loop.time()


async def _loaded(loading: "Future[None]", timeout_s: float | None, of: NotLoaded) -> None:
    # Not `wrap_future`, which cancels what others wait for too.
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def notify(_loading: "Future[None]") -> None:
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(_set, done)

    if not loading.done():
        loading.add_done_callback(notify)
        try:
            await asyncio.wait_for(done, timeout_s)
        except asyncio.TimeoutError:
            text = f"Timed out waiting for servable {of.id} to be loaded"
            raise DeadlineExceeded(text) from None
    error = loading.exception()
    if error is not None:
        raise error


def _set(done: "asyncio.Future[None]") -> None:
    if not done.done():
        done.set_result(None)
