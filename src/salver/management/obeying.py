"""Models run as their backend says that they may be: see `backends.protocol.Capabilities`."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import cast

from salver.backends.protocol import CancellableModel, Capabilities
from salver.errors import DeadlineExceeded
from salver.inference.servable import ProgramNames, Runner, StartableProgram
from salver.vocabulary.model import Model, Program, with_programs
from salver.vocabulary.requests import Array

__all__ = ["cancelling", "is_serial", "obeying"]


def is_serial(capabilities: Capabilities) -> bool:
    """Whether there is to be one run of a model at a time."""
    return capabilities.keeps_gil or not capabilities.parallel_runs


def obeying(model: Model, capabilities: Capabilities) -> Model:
    """The same model; it runs in the event loop, or in two threads at once, only if it may."""
    # In the loop nobody may wait for the run of another thread.
    may_run_inline = capabilities.may_run_inline and capabilities.parallel_runs
    if may_run_inline and not capabilities.keeps_gil:
        return model
    lock = threading.Lock() if is_serial(capabilities) else None
    return with_programs(
        model, lambda program: _RestrainedProgram(program, lock, may_run_inline=may_run_inline)
    )


class _RestrainedProgram:
    """See `Program`. What is said to have loops is never run in the event loop."""

    __slots__ = ("can_loop", "run", "run_in_caller", "run_inline")

    def __init__(
        self, program: Program, lock: "threading.Lock | None", *, may_run_inline: bool
    ) -> None:
        self.can_loop = program.can_loop or not may_run_inline
        self.run = program.run if lock is None else _alone(program.run, lock)
        self.run_in_caller = (
            program.run_in_caller if lock is None else _alone(program.run_in_caller, lock)
        )
        self.run_inline = program.run_inline if may_run_inline else self.run


def _alone(
    run: Callable[[Sequence[Array]], list[Array]], lock: threading.Lock
) -> Callable[[Sequence[Array]], list[Array]]:
    def run_alone(feeds: Sequence[Array]) -> list[Array]:
        with lock:
            return run(feeds)

    return run_alone


def cancelling(runner: Runner, model: Model) -> Runner:
    """The same runner; a run for which nobody waits any more is ended.

    Args:
        runner: decides where runs happen.
        model: of a backend that can cancel.
    """
    cancel = cast("CancellableModel", model).cancel

    def make(program: Program, names: ProgramNames) -> StartableProgram:
        return _CancellingProgram(runner(program, names), cancel)

    return make


class _CancellingProgram:
    """See `StartableProgram`."""

    __slots__ = ("_cancel", "_start")

    def __init__(
        self, program: StartableProgram, cancel: Callable[[Sequence[Array]], None]
    ) -> None:
        self._start = program.start
        self._cancel = cancel

    def start(
        self, feeds: Sequence[Array], *, timeout_s: float | None, on_end: Callable[[], None]
    ) -> "list[Array] | asyncio.Future[list[Array]]":
        answer = self._start(feeds, timeout_s=timeout_s, on_end=on_end)
        if isinstance(answer, asyncio.Future):

            def answered(done: "asyncio.Future[list[Array]]") -> None:
                if done.cancelled() or isinstance(done.exception(), DeadlineExceeded):
                    self._cancel(feeds)

            answer.add_done_callback(answered)
        return answer
