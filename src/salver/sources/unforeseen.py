"""What a look at a model raises that nobody foresaw, as an error of ours."""

import logging

from salver.errors import Internal, ServingError

__all__ = ["Unforeseen"]

_logger = logging.getLogger(__name__)


class Unforeseen:
    """Logs each such error once, with where it was raised, and not at each look.

    Safe to use from any thread, for one thing to look at in one thread at a time.
    """

    def __init__(self) -> None:
        """Know of none."""
        self._told: dict[str, str] = {}

    def as_serving_error(self, what: str, error: Exception) -> ServingError:
        """The error of a look; one that was foreseen is returned as it is.

        Args:
            what: was looked at, such as a base path.
            error: as it was raised.
        """
        if isinstance(error, ServingError):
            return error
        kind = type(error).__name__
        if self._told.get(what) != (text := f"{kind}: {error}"):
            self._told[what] = text
            _logger.error("The look at %s has failed", what, exc_info=error)
        return Internal(f"{what} cannot be looked at: {kind}. The log says where")

    def forget(self, what: str) -> None:
        """A look went well: the next error is logged again."""
        if self._told:
            self._told.pop(what, None)
