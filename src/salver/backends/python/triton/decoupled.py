"""The responses of a decoupled model: sent from any thread, until one of them is the final one."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, Final

from salver.errors import Internal, ServingError
from salver.vocabulary.model import Answers
from salver.vocabulary.requests import Array

__all__ = ["SentResponses"]

_TIMES_IN_LOOP: Final = 32
"""As many answers as usual may be ahead where the event loop of a model would have to wait: all its
requests would wait with it."""


class SentResponses:
    """See `utils.Responses`. An error among the responses ends them.

    Attributes:
        future: done with the final response.
        loop_thread: of the event loop that runs the model; None where none does.
    """

    def __init__(self, take: Callable[[Any], list[Array]], answers: Answers) -> None:
        """Take none yet.

        Args:
            take: makes the outputs of a response; raises ServingError.
            answers: where they go.
        """
        self.future: Future[None] = _Uncancelled()
        self.loop_thread: int | None = None
        self._take = take
        self._answers = answers

    def respond(self, response: Any, *, is_last: bool) -> None:
        """Send one, once there is room for it; dropped where nobody waits for it."""
        if self.future.done():
            return
        is_in_loop = threading.get_ident() == self.loop_thread
        if not self._answers.wait(_TIMES_IN_LOOP if is_in_loop else 1):
            return
        try:
            self._answers.send(self._take(response), is_last=is_last)
        except ServingError as error:
            self._end(error)

    def complete(self) -> None:
        """There are no more."""
        self._end(None)

    def is_cancelled(self) -> bool:
        """Whether nobody waits for more."""
        return self._answers.is_stopped

    def abandon(self) -> None:
        """See `Responses`."""
        self._end(Internal("The model has dropped its response sender before the final response"))

    def forget(self) -> None:
        """What is sent from here on counts for nothing: the run has ended otherwise."""
        self._end(None)

    def _end(self, error: ServingError | None) -> None:
        with suppress(InvalidStateError):
            if error is None:
                self.future.set_result(None)
            else:
                self.future.set_exception(error)


class _Uncancelled(Future[None]):
    """The run ends when the model says so; it can ask whether anybody waits."""

    def __init__(self) -> None:
        super().__init__()
        self.set_running_or_notify_cancel()

    def cancel(self) -> bool:
        return False
