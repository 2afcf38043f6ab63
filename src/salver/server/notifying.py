"""What a service manager is told of the server: systemd's `sd_notify`, without its library.

A message is one datagram to the socket that `NOTIFY_SOCKET` names. Nothing here waits: a service
manager that does not read holds up no request, and what could not be sent is sent at the next tick.

Source: systemd, `sd_notify(3)` and `sd_watchdog_enabled(3)`.
"""

import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, MutableMapping
from typing import Final

from salver.config.options import ServerOptions

__all__ = ["VARIABLES", "Notifier", "serving_status", "stop_seconds"]

_log = logging.getLogger(__name__)

VARIABLES: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""Of the environment: meant for this process, and for none that it starts."""

_TICK_S: Final = 1.0
_EXTENSION_S: Final = 30.0  # within which a start that goes on has to say so again
_AGAIN_S: Final = 5.0
_MOST_UNSENT: Final = 16
_LONGEST_STATUS: Final = 500  # characters
_END_S: Final = 15.0  # of a stop, beside its drain: models, logs, workers
_WATCHDOG: Final = "WATCHDOG=1"


class Notifier:
    """Tells the service manager, where there is one. Safe to use from any thread.

    Attributes:
        tick_s: the longest time between two calls of `tick`.
    """

    def __init__(
        self,
        address: str = "",
        *,
        watchdog_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Tell nothing yet.

        Args:
            address: the path of a socket, or `@` and an abstract name; empty for nobody to tell.
            watchdog_s: after so long without a tick the service manager ends this process.
            clock: seconds; the system's monotonic one.
        """
        self.tick_s = _TICK_S if watchdog_s is None else min(_TICK_S, watchdog_s / 4)
        self._watchdog_s = watchdog_s
        self._clock = clock
        self._next_alive_s = self._next_extension_s = clock()
        self._is_starting = True
        self._lock = threading.Lock()  # guards what follows
        self._unsent: deque[str] = deque(maxlen=_MOST_UNSENT)
        self._socket: socket.socket | None = None
        if address[:1] not in ("/", "@"):
            if address:
                _log.warning("The service manager is not told: NOTIFY_SOCKET is %r", address)
            return
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)

    @classmethod
    def of(cls, environment: MutableMapping[str, str]) -> "Notifier":
        """The one that an environment asks for; takes the variables out of it."""
        address, micros, pid = (environment.pop(name, "") for name in VARIABLES)
        is_watched = micros.isdecimal() and int(micros) > 0 and pid in ("", str(os.getpid()))
        return cls(address, watchdog_s=int(micros) / 1e6 if is_watched else None)

    @property
    def is_active(self) -> bool:
        """Whether there is anybody to tell."""
        return self._socket is not None

    def ready(self, status: str) -> None:
        """The server has started, or has reloaded; `status` is shown to people."""
        self._is_starting = False
        self._tell("READY=1", _status(status))

    def status(self, text: str) -> None:
        """What is shown to people."""
        self._tell(_status(text))

    def reloading(self) -> None:
        """The server reads its configuration anew; `ready` ends it."""
        now_micros = int(self._clock() * 1e6)
        self._tell("RELOADING=1", f"MONOTONIC_USEC={now_micros}", _status("Reloading"))

    def stopping(self, within_s: float) -> None:
        """The server drains, and ends within so many seconds."""
        self._is_starting = False
        self._tell("STOPPING=1", f"EXTEND_TIMEOUT_USEC={int(within_s * 1e6)}", _status("Draining"))

    def tick(self) -> None:
        """The server is alive. To be called each `tick_s`, by what must never stand still."""
        if self._socket is None:
            return
        now_s = self._clock()
        self._tell()
        if self._is_starting and now_s >= self._next_extension_s:
            self._next_extension_s = now_s + _AGAIN_S
            self._tell(f"EXTEND_TIMEOUT_USEC={int(_EXTENSION_S * 1e6)}")
        if self._watchdog_s is not None and now_s >= self._next_alive_s:
            self._next_alive_s = now_s + self._watchdog_s / 2
            self._tell(_WATCHDOG)

    def close(self) -> None:
        """Tell nothing any more."""
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    def _tell(self, *lines: str) -> None:
        """Send what is unsent, and then a message of these lines, if there are any."""
        message = "\n".join(lines)
        with self._lock:
            if message and not (message == _WATCHDOG and _WATCHDOG in self._unsent):
                self._unsent.append(message)
            while self._unsent and self._socket is not None:
                try:
                    self._socket.sendto(self._unsent[0].encode(), self._address)
                except OSError:  # its queue is full, or it is away for the moment
                    return
                self._unsent.popleft()


def serving_status(models: Collection[str], rest_url: str, grpc_addresses: Iterable[str]) -> str:
    """What people are shown of a server that serves."""
    where = ", ".join(filter(None, (rest_url, *grpc_addresses)))
    return f"Serving {len(models)} model{'s' * (len(models) != 1)} on {where}"


def stop_seconds(options: ServerOptions) -> float:
    """The longest time in which a server that is told to stop ends."""
    return options.drain_delay_seconds + options.drain_timeout_seconds + _END_S


def _status(text: str) -> str:
    return f"STATUS={' '.join(text.split())[:_LONGEST_STATUS]}"
