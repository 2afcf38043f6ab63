"""What children print and log, into the server's log: under the model's name, and not too much.

The pipe is emptied at all times, so that no child waits for who reads. One that writes more than
its share of lines has the rest dropped, by the system and unread, and a line says how much.
"""

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from salver.children.lines import level_and_text

__all__ = ["Output"]

_log = logging.getLogger("salver.children")

_PIECE: Final = 1 << 16
_PIPE_ROOM: Final = 1 << 20
_LONGEST_LINE: Final = 4096
_BURST_LINES: Final = 500
_LINES_PER_S: Final = 50.0
_PAUSE_S: Final = 0.02  # between two looks at a child that writes too much
_KEPT_LINES: Final = 5


class Output:
    """The output of one child. Belongs to the loop.

    Attributes:
        last_lines: the latest, for who asks why the child has ended.
    """

    def __init__(
        self,
        descriptor: int,
        label: str,
        loop: asyncio.AbstractEventLoop,
        *,
        log: Callable[[int, str], None] | None = None,
    ) -> None:
        """Begin to read.

        Args:
            descriptor: the end of the pipe to be read, which does not block; stays the caller's.
            label: the model, in front of each line.
            loop: which one.
            log: takes (level, text); by default the server's log.
        """
        self.last_lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._descriptor = descriptor
        self._label = label
        self._loop = loop
        self._log = log or _to_log
        self._rest = b""
        self._is_cut = False  # whether the rest of a line is to be dropped
        self._credit = float(_BURST_LINES)
        self._seen_s = loop.time()
        self._dropped_lines = 0
        self._dropped_bytes = 0
        self._nothing = -1  # /dev/null, while it is needed
        self._timer: asyncio.TimerHandle | None = None
        loop.add_reader(descriptor, self._read)

    def close(self) -> None:
        """Read what is left, as far as there is room for it, and stop."""
        self._loop.remove_reader(self._descriptor)
        if self._timer is not None:
            self._timer.cancel()
        with suppress(OSError):
            for _ in range(_PIPE_ROOM // _PIECE):
                data = os.read(self._descriptor, _PIECE)
                if not data:
                    break
                self._take(data)
        if self._rest:
            self._line(self._rest)
            self._rest = b""
        self._tell_dropped()
        if self._nothing >= 0:
            os.close(self._nothing)
            self._nothing = -1

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, _PIECE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:  # it was closed
            self._loop.remove_reader(self._descriptor)
            return
        self._take(data)
        if self._credit < 1:
            self._loop.remove_reader(self._descriptor)
            self._timer = self._loop.call_later(_PAUSE_S, self._skip)

    def _take(self, data: bytes) -> None:
        self._refill()
        *lines, rest = data.split(b"\n")
        for line in lines:
            if self._is_cut:
                self._is_cut = False
            else:
                self._line(self._rest + line)
            self._rest = b""
        if not self._is_cut:
            self._rest += rest
            if len(self._rest) > _LONGEST_LINE:
                self._line(self._rest)
                self._rest, self._is_cut = b"", True

    def _line(self, line: bytes) -> None:
        if self._credit < 1:
            self._dropped_lines += 1
            return
        self._credit -= 1
        self._tell_dropped()
        level, text = level_and_text(line[:_LONGEST_LINE])
        self.last_lines.append(text)
        self._log(level, f"{self._label}: {text}")

    def _skip(self) -> None:
        """Drop what the pipe holds, unread; read again once there is credit."""
        self._timer = None
        self._refill()
        with suppress(OSError):
            if self._nothing < 0:
                self._nothing = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            dropped = os.splice(
                self._descriptor, self._nothing, _PIPE_ROOM, flags=os.SPLICE_F_NONBLOCK
            )
            if dropped:
                self._dropped_bytes += dropped
                self._rest, self._is_cut = b"", True
        if self._credit >= _LINES_PER_S / 2:
            self._loop.add_reader(self._descriptor, self._read)
        else:
            self._timer = self._loop.call_later(_PAUSE_S, self._skip)

    def _refill(self) -> None:
        now_s = self._loop.time()
        self._credit = min(_BURST_LINES, self._credit + (now_s - self._seen_s) * _LINES_PER_S)
        self._seen_s = now_s

    def _tell_dropped(self) -> None:
        lines, size = self._dropped_lines, self._dropped_bytes
        if lines or size:
            self._dropped_lines = self._dropped_bytes = 0
            more = f" and {size} bytes" if size else ""
            self._log(
                logging.WARNING, f"{self._label}: writes too much: {lines} lines{more} dropped"
            )


def _to_log(level: int, text: str) -> None:
    _log.log(level, "%s", text)
