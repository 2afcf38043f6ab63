"""Whose turn it is to accept, where several processes listen on one socket.

A connection stays with the process that accepts it, so each should hold as many as the others.
They tell each other how many they hold in memory that they share, one number each, and who holds
more than another lets it go first. Not for long: the other may be busy, or hang.
"""

import os
from collections.abc import Sequence
from mmap import mmap
from typing import Final

from salver.instruments.machine import make_shared_memory

__all__ = ["Turns", "make_board", "open_board", "take_off"]

_ABSENT: Final = -1
_BYTES: Final = 4
_LEAD: Final = 16  # a sixteenth more than the least is as many


class Turns:
    """One process's view of what all hold, for one kind of connections."""

    def __init__(self, board: "memoryview[int]", own: int, all: Sequence[int]) -> None:
        """Hold nothing.

        Args:
            board: see `open_board`.
            own: where this process writes.
            all: where the processes write that listen there, this one too.
        """
        self._board = board
        self._own = own
        self._others = [place for place in all if place != own]
        board[own] = 0

    def is_ours(self, held: int) -> bool:
        """Whether nobody holds clearly less.

        Args:
            held: connections, by this process.
        """
        board = self._board
        board[self._own] = held
        least = held - held // _LEAD
        return not any(_ABSENT < board[place] < least for place in self._others)


def make_board(num_places: int) -> int:
    """Memory to be shared by its descriptor, without anybody."""
    board = make_shared_memory("salver-turns")
    os.write(board, _ABSENT.to_bytes(_BYTES, "little", signed=True) * num_places)
    return board


def open_board(descriptor: int) -> "memoryview[int]":
    """The numbers, of which each is written by one process and read by all."""
    return memoryview(mmap(descriptor, os.fstat(descriptor).st_size)).cast("i")


def take_off(board: "memoryview[int]", place: int) -> None:
    """Nobody accepts there any more."""
    board[place] = _ABSENT
