"""Where a model is to run: in this process, or in children; and what that asks of its runs."""

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final, cast

from salver.backends.protocol import Backend
from salver.children.limits import ChildLimits, ChildSettings
from salver.children.model import ChildModel
from salver.config.model_options import LoadSettings, ModelOptions
from salver.config.options import ServerOptions
from salver.errors import DeadlineExceeded, InvalidArgument
from salver.inference.servable import ProgramNames, Runner, StartableProgram
from salver.scheduling.batched import StartsLone
from salver.vocabulary.model import Program
from salver.vocabulary.requests import Array
from salver.vocabulary.servable import ServableId

__all__ = ["giving_up", "limits_of", "lone_by_children", "placement", "started_by_children"]

_PROCESS: Final = "process"


def placement(
    settings: LoadSettings, options: ServerOptions, backend: Backend, id: ServableId
) -> ChildSettings | None:
    """How the children of a version are made; None where it runs in this process.

    Raises:
        InvalidArgument: it asks for what only children have, and is to have none.
    """
    isolation = settings.isolation or options.isolation
    if isolation == _PROCESS or backend.capabilities.needs_process:
        return ChildSettings(settings.instances or 1, settings.cpus, settings.python_executable)
    asked = {
        "instances": settings.instances > 1,
        "cpus": settings.cpus > 0,
        "python_executable": bool(settings.python_executable),
    }
    for name in (name for name, is_asked in asked.items() if is_asked):
        error = InvalidArgument(
            f"Model {id.name} sets salver.{name}, which needs processes of its own",
            hint='Set salver.isolation to "process" too.',
        )
        error.is_final = True
        raise error
    return None


def limits_of(own: ModelOptions) -> ChildLimits:
    """What a model may have in children."""
    return ChildLimits(own.max_concurrent_runs or None, own.max_resident_bytes, own.on_timeout)


def lone_by_children(program: Program) -> StartsLone:
    """What begins a lone run of a program in a child: the program itself."""
    return cast("StartsLone", program)


def started_by_children(program: Program, _names: ProgramNames) -> StartableProgram:
    """What starts the runs of a program in a child: the program itself."""
    return cast("StartableProgram", program)


def giving_up(runner: Runner, model: ChildModel) -> Runner:
    """The same runner, of merged runs in children: one for which nobody waits is stopped.

    A run of several requests began after all of them had come. So once all that wait have come
    after it began, nobody waits for it.
    """
    waiting: dict[int, float] = {}  # request → when it came; in the loop, in order

    def make(program: Program, names: ProgramNames) -> StartableProgram:
        return _GivingUp(runner(program, names), model, waiting)

    return make


class _GivingUp:
    """See `StartableProgram`."""

    __slots__ = ("_model", "_start", "_waiting")

    def __init__(
        self, program: StartableProgram, model: ChildModel, waiting: dict[int, float]
    ) -> None:
        self._start = program.start
        self._model = model
        self._waiting = waiting

    def start(
        self, feeds: Sequence[Array], *, timeout_s: float | None, on_end: Callable[[], None]
    ) -> "list[Array] | asyncio.Future[list[Array]]":
        came_s = monotonic()
        answer = self._start(feeds, timeout_s=timeout_s, on_end=on_end)
        if isinstance(answer, asyncio.Future):
            waiting, key = self._waiting, id(answer)
            waiting[key] = came_s

            def answered(done: "asyncio.Future[list[Array]]") -> None:
                waiting.pop(key, None)
                if done.cancelled() or isinstance(done.exception(), DeadlineExceeded):
                    oldest_s = next(iter(waiting.values()), monotonic())
                    self._model.instances.stop_before(oldest_s)

            answer.add_done_callback(answered)
        return answer
