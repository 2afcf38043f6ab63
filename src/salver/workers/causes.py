"""Why a process has ended, in words."""

import signal
from collections.abc import Collection

from salver.servable import ServableId

__all__ = ["cause_of_end"]

_MOST_NAMED = 4


def cause_of_end(code: int, loading: Collection[ServableId] = ()) -> str:
    """What the end of a process says.

    Args:
        code: as `subprocess` gives it: negative for a signal.
        loading: what it was loading.
    """
    text = _signal_text(-code) if code < 0 else f"exit status {code}"
    if not loading:
        return text
    named = sorted(loading)[:_MOST_NAMED]
    more = f" and {len(loading) - len(named)} more" if len(loading) > len(named) else ""
    return f"{text}, while it was loading {', '.join(map(str, named))}{more}"


def _signal_text(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return f"{name} (out of memory?)" if number == signal.SIGKILL else name
