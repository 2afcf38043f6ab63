"""Why a process has ended, in words, and what it did of the models at that time."""

from collections.abc import Collection
from typing import Final

from salver.instruments.ends import MemoryKills, end_of, is_fault
from salver.vocabulary.servable import ServableId

__all__ = ["MemoryKills", "cause_of_end", "is_fault", "short_cause", "while_running"]

_MOST_NAMED: Final = 4


def cause_of_end(code: int, loading: Collection[ServableId] = ()) -> str:
    """What the end of a process says.

    Args:
        code: as `subprocess` gives it: negative for a signal.
        loading: what it was loading.
    """
    text = end_of(code)
    return f"{text}, while it was loading {_listed(loading)}" if loading else text


def while_running(cause: str, running: Collection[ServableId]) -> str:
    """The same, with what ran at that moment, if anything did."""
    return f"{cause}, while it was running {_listed(running)}" if running else cause


def short_cause(code: int) -> str:
    """What the end of a process says, in a word."""
    return cause_of_end(code).partition(" (")[0]


def _listed(ids: Collection[ServableId]) -> str:
    named = sorted(ids)[:_MOST_NAMED]
    more = f" and {len(ids) - len(named)} more" if len(ids) > len(named) else ""
    return f"{', '.join(map(str, named))}{more}"
