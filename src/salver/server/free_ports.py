"""What to do about a port that cannot be had."""

import errno
import socket
from collections.abc import Collection
from typing import Final

from salver.transport.listeners import open_listeners

__all__ = ["free_port_near", "port_hint"]

_TRIED: Final = 100
_LAST: Final = 65535
_FIRST_UNPRIVILEGED: Final = 1024


def port_hint(
    flag: str,
    host: str,
    port: int,
    error: OSError | OverflowError | UnicodeError,
    others: Collection[int] = (),
) -> str | None:
    """Advice for an error of `bind`; None where there is none.

    Args:
        flag: that chooses the port, such as `rest_api_port`.
        host: to listen on.
        port: that cannot be had.
        error: why.
        others: ports that the server needs for something else.
    """
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        free = free_port_near(host, port, others)
        return None if free is None else f"--{flag}={free} takes another port, which is free now."
    if number == errno.EACCES and port < _FIRST_UNPRIVILEGED:
        return f"Ports below {_FIRST_UNPRIVILEGED} need privileges: --{flag}=N takes another."
    if number == errno.EADDRNOTAVAIL or isinstance(error, (socket.gaierror, UnicodeError)):
        return f"This machine has no address {host!r}: see --host."
    return None


def free_port_near(host: str, port: int, others: Collection[int] = ()) -> int | None:
    """The next port that can be bound now; None where none of the next hundred can."""
    for candidate in range(port + 1, min(port + _TRIED, _LAST) + 1):
        if candidate in others:
            continue
        try:
            listeners = open_listeners(host, candidate)
        except OSError:
            continue
        for each in listeners:
            each.close()
        return candidate
    return None
