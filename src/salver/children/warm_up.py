"""How children are warmed up before they answer: each runs the model alone."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Protocol

from salver.children.child import Child
from salver.children.description import Description
from salver.children.programs import ChildGraph, ChildProgram, Runs
from salver.children.run import Run
from salver.errors import ServingError
from salver.vocabulary.model import Model
from salver.vocabulary.servable import ServableId

__all__ = ["Warm", "WarmUps"]

_log = logging.getLogger("salver.children")

Warm = Callable[[Model], object]
"""Runs a model as it is warmed up; not called in the loop. What it raises says that it is not."""


class Submits(Protocol):
    """Who has children; see `Instances`."""

    def submit_to(self, child: Child, run: Run) -> None:
        """Have a certain child make a run."""
        ...

    def give_up(self, run: Run) -> None:
        """See `programs.Runs`."""
        ...


class _OneChild:
    """See `programs.Runs`."""

    def __init__(self, child: Child, owner: Submits) -> None:
        self._child = child
        self._owner = owner

    def submit(self, run: Run, *, is_limited: bool) -> None:
        self._owner.submit_to(self._child, run)

    def give_up(self, run: Run) -> None:
        self._owner.give_up(run)


class _OneChildModel:
    """See `Model`. To close it ends nothing."""

    batching = None  # nothing is merged

    def __init__(self, description: Description, runs: Runs) -> None:
        self.signatures = description.signatures
        self.definitions = description.definitions
        names = description.names
        self.graph = None if names is None else ChildGraph(names, runs)
        self._runs = runs

    def program(self, signature_name: str, outputs: Any = None) -> ChildProgram:
        names = None if outputs is None else tuple(outputs)
        return ChildProgram(self._runs, (signature_name, names, (), (), ()))

    def close(self) -> None:
        """Nothing is held."""


class WarmUps:
    """Those of the children of one version."""

    def __init__(self, id: ServableId, loop: asyncio.AbstractEventLoop, owner: Submits) -> None:
        """Warm up none.

        Args:
            id: of the version.
            loop: in which children are heard.
            owner: has the children.
        """
        self._id = id
        self._loop = loop
        self._owner = owner
        self._warm: Warm | None = None
        self._limit_s = 0.0

    def each(self, children: Iterable[Child], warm: Warm) -> None:
        """Warm up those that are ready, one after the other; not in the loop."""
        for child in children:
            if child.is_ready:
                warm(self._model(child))

    def set(self, warm: Warm, limit_s: float) -> None:
        """Warm up each child that replaces another from now on.

        Args:
            warm: see there.
            limit_s: how long it may take before the child is ended; 0: for ever.
        """
        self._limit_s, self._warm = limit_s, warm

    def begin(self, child: Child, then: Callable[[], None]) -> None:
        """Warm up a child that has loaded, if it is to be, and go on; in the loop."""
        warm, limit_s = self._warm, self._limit_s
        if warm is None:
            then()
            return
        timer = None
        if limit_s:
            reason = f"its warm-up has not returned for {limit_s:g} s"
            timer = self._loop.call_later(limit_s, child.kill, reason, "timeout")

        def warmed() -> None:
            if timer is not None:
                timer.cancel()
            then()

        def done() -> None:
            with suppress(RuntimeError):  # the loop is closed: the processes end with this one
                self._loop.call_soon_threadsafe(warmed)

        _warmed_in_thread(warm, self._model(child), self._id, done)

    def _model(self, child: Child) -> _OneChildModel:
        return _OneChildModel(child.ready.result(), _OneChild(child, self._owner))


def _warmed_in_thread(
    warm: Warm, model: _OneChildModel, label: object, done: Callable[[], object]
) -> None:
    """Warm up in a thread of its own, and say when that is over, well or not.

    It ends with the child, which fails the run that it waits for.
    """

    def work() -> None:
        try:
            warm(model)
        except ServingError as error:
            _log.warning("%s: a process was not warmed up: %s", label, error.message)
        except BaseException as error:  # noqa: BLE001 - a thread ends here
            _log.error("%s: a process was not warmed up", label, exc_info=error)
        finally:
            done()

    try:
        threading.Thread(target=work, name="salver-child-warm", daemon=True).start()
    except RuntimeError as error:  # there are as many as the machine gives
        _log.warning("%s: a process was not warmed up: %s", label, error)
        done()
