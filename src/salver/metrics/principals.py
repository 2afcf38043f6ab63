"""Requests by who has sent them.

Counted on the loop, read by any thread. Names of principals come from files and from tokens, and so
do those of models from requests: past a number of them, and where nothing of that name is
configured, they count under the empty name.
"""

from collections.abc import Callable
from typing import Final

from salver.errors import Code
from salver.metrics.catalogue import BY_NAME
from salver.metrics.text import Cell, Family
from salver.vocabulary.admission import Tally

__all__ = ["MOST_PRINCIPALS", "PrincipalRequests"]

MOST_PRINCIPALS: Final = 1000
_MOST_CELLS: Final = 20_000
_LONGEST_NAME: Final = 256  # characters

_Key = tuple[str, str, Code]


class PrincipalRequests:
    """The cells of `salver_principal_requests_total`."""

    def __init__(self, is_configured: Callable[[str], bool] = lambda _name: False) -> None:
        """Start at nothing.

        Args:
            is_configured: whether a model of this name is served, or is to be.
        """
        self._is_configured = is_configured
        self._counts: dict[_Key, int] = {}
        self._tallies: dict[tuple[str, str], Tally] = {}
        self._principals: set[str] = set()

    def __call__(self, principal: str, model: str, code: Code) -> None:
        """A request is over.

        Args:
            principal: its name.
            model: as the request names it; empty where it names none.
            code: what came of it.
        """
        key = (principal, model, code)
        count = self._counts.get(key)
        if count is None:
            key = self._bounded(*key)
            count = self._counts.get(key, 0)
        self._counts[key] = count + 1

    def tally(self, principal: str, model: str) -> Tally | None:
        """What counts good answers sooner than a call; None where names are too many, or unknown.

        Args:
            principal: its name.
            model: likewise.
        """
        tally = self._tallies.get((principal, model))
        if tally is None:
            key = (principal, model, Code.OK)
            if key not in self._counts and self._bounded(*key) != key:
                return None
            self._counts.setdefault(key, 0)  # it takes a place
            tally = self._tallies[principal, model] = Tally()
        return tally

    def family(self) -> Family:
        """What has been counted by now. From any thread."""
        tallies = self._tallies.copy()  # of each there is a count already
        counts = self._counts.copy()
        for (principal, model), tally in tallies.items():
            counts[principal, model, Code.OK] += tally.answered
        cells: list[Cell] = [
            ((principal, model, code.name), n)
            for (principal, model, code), n in counts.items()
            if n
        ]
        return Family(BY_NAME["salver_principal_requests_total"], cells)

    def _bounded(self, principal: str, model: str, code: Code) -> _Key:
        if len(self._counts) >= _MOST_CELLS:
            return "", "", code
        if model and not self._is_configured(model):
            model = ""
        if principal not in self._principals:
            is_full = len(self._principals) >= MOST_PRINCIPALS
            if is_full or len(principal) > _LONGEST_NAME or not principal.isprintable():
                return "", model, code
            self._principals.add(principal)
        return principal, model, code
