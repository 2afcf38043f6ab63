"""What goes wrong in a model's own code, as errors with codes. Tracebacks go to the log alone."""

import logging
from asyncio import CancelledError
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from salver.errors import FailedPrecondition, Internal, InvalidArgument, ServingError, Unavailable

__all__ = ["loading", "message_of", "running"]

_log = logging.getLogger(__name__)

_LONGEST: Final = 10_000


def message_of(error: BaseException) -> str:
    """What an error says, whatever its `__str__` does; its kind where it says nothing."""
    kind = type(error).__name__
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001 - it is the model's code
        return f"{kind}, whose message cannot be read"
    return text[:_LONGEST] or kind


@contextmanager
def running(what: str, *, is_async: bool = False) -> Iterator[None]:
    """Have what a run raises fail that run alone.

    Args:
        what: is run, for the log.
        is_async: whether it is a part of a coroutine.

    Raises:
        InvalidArgument: a ValueError came.
        Internal: any other error came, or the code wanted to end the process.
        Unavailable: it was cancelled.
        GeneratorExit: it was stopped, since nobody waits for it.
    """
    try:
        yield
    except ServingError:
        raise
    except ValueError as error:
        raise InvalidArgument(message_of(error)) from None
    except SystemExit as error:
        raise Internal(_exits(error)) from None
    except CancelledError:
        if is_async:  # whoever waits for it has cancelled it
            raise
        raise Unavailable("The run was cancelled") from None
    except GeneratorExit:  # it was stopped: nobody waits for it
        raise
    except BaseException as error:  # noqa: BLE001 - a run ends here
        _tell(what, error)
        raise Internal(message_of(error)) from None


@contextmanager
def loading(what: str) -> Iterator[None]:
    """Have what a load raises fail that load alone.

    Args:
        what: is loaded, for the texts.

    Raises:
        FailedPrecondition: the program is wrong, or lacks a module.
        ServingError: as of `running`.
    """
    try:
        with running(what):
            try:
                yield
            except SyntaxError as error:
                where = f"{error.filename}, line {error.lineno}"
                raise _final(f"{what} is no Python program: {error.msg} ({where})") from None
            except ModuleNotFoundError as error:
                hint = f"pip install what has {error.name}, where the model runs"
                raise _final(f"{what} imports {error.name}, which is not installed", hint) from None
            except (RecursionError, MemoryError) as error:
                _tell(what, error)
                raise _final(f"{what} cannot be loaded: {message_of(error)}") from None
    except ServingError as error:
        if not error.message.startswith(what):
            error.message = f"{what}: {error.message}"
            error.args = (error.message,)
        raise


def _exits(error: SystemExit) -> str:
    return f"The model called sys.exit({error.code!r:.100})"


def _final(message: str, hint: str | None = None) -> FailedPrecondition:
    error = FailedPrecondition(message, hint=hint)
    error.is_final = True
    return error


def _tell(what: str, error: BaseException) -> None:
    try:
        _log.error("%s has failed", what, exc_info=error)
    except BaseException:  # noqa: BLE001 - its `__str__` is the model's code
        _log.error("%s has failed with %s", what, type(error).__name__)
