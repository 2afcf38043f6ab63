"""When what is polled: each store by itself, later after failures."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, TypeVar

from salver.errors import ServingError, Unavailable
from salver.remote.backing_off import Backoff, jittered
from salver.remote.errors import StoreBusy, is_transient
from salver.remote.polls import NEVER_S, Polls
from salver.sources.protocol import Found, MonitoredServable, Stage, Version
from salver.sources.settings import SourceSettings
from salver.sources.unforeseen import Unforeseen

__all__ = ["Failures", "OneByOne", "again"]

_logger = logging.getLogger(__name__)

_LEAST_BOUND_S: Final = 60.0
_FIRST_S: Final = 1.0
_TRIES: Final = 4  # of a request of a fetch
_BACKOFF: Final = Backoff(0.2, 5.0)

T = TypeVar("T")


class Failures:
    """How long a store that failed is left alone."""

    def __init__(self, poll_wait_s: float) -> None:
        """Nothing has failed yet.

        Args:
            poll_wait_s: the pause between polls; 0 for one poll alone.
        """
        self._poll_wait_s = poll_wait_s
        self._backoff = Backoff(_FIRST_S, max(_LEAST_BOUND_S, poll_wait_s))
        self._unforeseen = Unforeseen()
        self._count = 0

    def as_serving_error(self, what: str, error: Exception) -> ServingError:
        """See `Unforeseen`."""
        return self._unforeseen.as_serving_error(what, error)

    def failed(self, error: ServingError) -> float:
        """How long to wait; the error says so too."""
        self._count += 1
        asked_s = error.retry_after_s if isinstance(error, StoreBusy) else 0.0
        wait_s = self._backoff.wait_s(self._count, asked_s)
        error.message += f"; it is asked again in {wait_s:.0f} s"
        return wait_s

    def succeeded(self, what: str) -> float:
        """How long to wait."""
        if self._count:
            _logger.warning("%s answers again", what)
        self._count = 0
        self._unforeseen.forget(what)
        return jittered(self._poll_wait_s) if self._poll_wait_s > 0 else NEVER_S


class _Looked:
    """One model that is polled by itself. A `Polled`."""

    def __init__(
        self,
        servable: MonitoredServable,
        look: Callable[[MonitoredServable], Mapping[int, Version]],
        poll_wait_s: float,
    ) -> None:
        """Be due.

        Args:
            servable: the model.
            look: finds its versions; raises `ServingError`.
            poll_wait_s: the pause between polls.
        """
        self.due_s = 0.0
        self._servable = servable
        self._look = look
        self._failures = Failures(poll_wait_s)
        self._known: Mapping[int, Version] | None = None

    def poll(self, now_s: float) -> list[Found]:
        """See `Polled`."""
        try:
            found = self._look(self._servable)
        except Exception as raised:  # noqa: BLE001 - of one model, and not of all
            error = self._failures.as_serving_error(self._servable.base_path, raised)
            self.due_s = now_s + self._failures.failed(error)
            return [(self._servable, error)]
        self.due_s = now_s + self._failures.succeeded(self._servable.base_path)
        if found != self._known:
            self._known = found
        assert self._known is not None
        return [(self._servable, self._known)]


class OneByOne:
    """Models that are polled each by itself: `find` and `poll_wait_s` of a `Source`."""

    def __init__(
        self,
        look: Callable[[MonitoredServable], Mapping[int, Version]],
        settings: SourceSettings,
        clock: Callable[[], float],
    ) -> None:
        """Know of no model yet.

        Args:
            look: finds the versions of a model; raises `ServingError`.
            settings: say how often to look.
            clock: seconds, monotonic.
        """
        self._look = look
        self._poll_wait_s = settings.poll_wait_s
        self._polls = Polls(clock, settings.quiet_s)
        self._servables: Sequence[MonitoredServable] | None = None
        self._looked: dict[MonitoredServable, _Looked] = {}

    @property
    def poll_wait_s(self) -> float:
        """See `Source`: until the next look is due."""
        return self._polls.next_s(self._looked.values(), self._poll_wait_s)

    def find(self, servables: Sequence[MonitoredServable]) -> Iterator[Found]:
        """See `Source.find`: of those that are due, and of others nothing."""
        if servables is not self._servables:
            before, wait_s = self._looked, self._poll_wait_s
            self._servables = servables
            self._looked = {
                each: before.get(each) or _Looked(each, self._look, wait_s) for each in servables
            }
        yield from self._polls.find(self._looked.values())


def again(stage: Stage, ask: Callable[[], T]) -> T:
    """What a request of a fetch answers, after a few tries where the store is busy or away."""
    for failures in range(1, _TRIES + 1):
        try:
            return ask()
        except ServingError as error:  # noqa: PERF203 - this is what the loop is for
            if failures == _TRIES or not is_transient(error):
                raise
            asked_s = error.retry_after_s if isinstance(error, StoreBusy) else 0.0
            stage.wait(_BACKOFF.wait_s(failures, asked_s))
    raise Unavailable("no try was made")
