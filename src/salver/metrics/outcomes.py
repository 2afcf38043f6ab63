"""What came of requests, as the APIs see it: failures, and successes without a model run.

Belongs to the loop. Clients choose the names they ask for, so names that no configuration has
cannot be remembered without bound: past a number of them, and where they could spoil the page, they
count under the empty name, as requests do whose name cannot be read. So do those without the
credentials that the server asks for.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from salver.errors import Code
from salver.instruments.redaction import redacted
from salver.metrics.buckets import L33
from salver.metrics.meters import Protocol
from salver.metrics.text import Distribution

__all__ = ["MOST_STRANGERS", "FailureKey", "OutcomeReadings", "Outcomes"]

MOST_STRANGERS: Final = 1000
LONGEST_NAME: Final = 256  # characters of a name that no configuration has

FailureKey = tuple[str, "int | None", Code, str, Protocol]
"""Model, version, code, entrypoint, protocol."""


@dataclass(frozen=True, slots=True)
class OutcomeReadings:
    """What has been counted by some moment.

    Attributes:
        failures: by model, version, code, entrypoint and protocol.
        answers: model → latencies of its successes, by `L33` in microseconds.
    """

    failures: dict[FailureKey, int]
    answers: dict[str, Distribution]


class Outcomes:
    """Counts what the meters do not. Used on the loop only, but for `forget`."""

    def __init__(self, is_configured: Callable[[str], bool] = lambda _name: False) -> None:
        """Start at nothing.

        Args:
            is_configured: whether a model of this name is served, or is to be.
        """
        self._is_configured = is_configured
        self._failures: dict[FailureKey, int] = {}
        self._answers: dict[str, tuple[list[int], list[float]]] = {}
        self._strangers: set[str] = set()
        self._leaving: deque[tuple[str, int]] = deque()

    def failed(
        self,
        model: str,
        code: Code,
        *,
        entrypoint: str,
        version: int | None = None,
        protocol: Protocol = "tfs",
    ) -> None:
        """A request has failed.

        Args:
            model: as the client named it; empty where it could not be read.
            code: what with.
            entrypoint: `REST` or `GRPC`.
            version: that was found for it, if one was.
            protocol: whose API it came by; the reference's counters have those of `tfs` alone.
        """
        key = (model, version, code, entrypoint, protocol)
        count = self._failures.get(key)
        if count is None:
            self._fold()
            name = self._known(model, is_of_stranger=code is Code.UNAUTHENTICATED)
            key = (name, version, code, entrypoint, protocol)
            count = self._failures.get(key, 0)
        self._failures[key] = count + 1

    def answered(self, model: str, seconds: float) -> None:
        """A REST request that runs no model has succeeded: a status, metadata, a preflight."""
        micros = seconds * 1e6
        cell = self._answers.get(model)
        if cell is None:
            model = self._known(model)
            cell = self._answers.setdefault(model, ([0] * (len(L33) + 1), [0.0]))
        cell[0][bisect_right(L33, micros)] += 1
        cell[1][0] += micros

    def forget(self, model: str, version: int) -> None:
        """List a version no more: its failures count as those of no version. From any thread."""
        self._leaving.append((model, version))

    def read(self) -> OutcomeReadings:
        """What has been counted by now."""
        self._fold()
        return OutcomeReadings(
            dict(self._failures),
            {
                model: Distribution(tuple(counts), total)
                for model, (counts, (total,)) in self._answers.items()
            },
        )

    def _fold(self) -> None:
        while self._leaving:
            leaving = self._leaving.popleft()
            for key in [key for key in self._failures if key[:2] == leaving]:
                rest = (key[0], None, *key[2:])
                self._failures[rest] = self._failures.get(rest, 0) + self._failures.pop(key)

    def _known(self, model: str, *, is_of_stranger: bool = False) -> str:
        """The name to count under."""
        if not model or model in self._strangers or self._is_configured(model):
            return model
        model = "" if is_of_stranger else redacted(model)
        if model in self._strangers or not model:
            return model
        is_full = len(self._strangers) >= MOST_STRANGERS
        if is_full or len(model) > LONGEST_NAME or not model.isprintable():
            return ""
        self._strangers.add(model)
        return model
