"""A child that is warmed up before it answers: the model as that one child alone runs it."""

import logging
import threading
from collections.abc import Callable
from typing import Any, Protocol

from salver.children.child import Child
from salver.children.description import Description
from salver.children.programs import ChildGraph, ChildProgram, Runs
from salver.children.run import Run
from salver.errors import ServingError
from salver.vocabulary.model import Model

__all__ = ["OneChild", "OneChildModel", "Warm", "warmed_in_thread"]

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


class OneChild:
    """See `programs.Runs`."""

    def __init__(self, child: Child, owner: Submits) -> None:
        self._child = child
        self._owner = owner

    def submit(self, run: Run, *, is_limited: bool) -> None:
        self._owner.submit_to(self._child, run)

    def give_up(self, run: Run) -> None:
        self._owner.give_up(run)


class OneChildModel:
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


def warmed_in_thread(
    warm: Warm, model: OneChildModel, label: object, done: Callable[[], object]
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
