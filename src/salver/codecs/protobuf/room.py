"""How much larger than itself the decoding of one message may make it.

A few bytes can ask for gigabytes: a tensor is filled up to its shape, and a context is repeated
for each example.
"""

from math import inf
from typing import Final

from salver.errors import InvalidArgument
from salver.vocabulary.requests import TakesLong

__all__ = ["MAX_CONTEXT_BYTES", "Room", "check_context"]

# What tensors may grow beyond the values they bring, all those of a message together, and beyond a
# multiple of the message. TensorFlow has no limit: it takes, and fills, whatever memory there is
# for a shape of a few bytes. This much is a batch of 27 images of 224×224×3 floats written as a
# single value, which is how load generators write them; it is filled in a few milliseconds, and a
# thousand such requests do not end the server.
_PADDING_BYTES: Final = 1 << 24
_PADDING_FACTOR: Final = 4  # whoever sends much may get more: then it is not cheap to ask for

# What the copies of a context may take beyond the message: 10 kB of what a thousand candidates
# have in common are 10 MB.
MAX_CONTEXT_BYTES: Final = 1 << 26


class Room:
    """What is left to one message while it is decoded.

    A slot class, because one is made for each request.
    """

    __slots__ = ("_made_bytes", "_padding_bytes")

    def __init__(self, message_bytes: int, *, made_bytes: float = inf) -> None:
        """Make room for a message.

        Args:
            message_bytes: its size.
            made_bytes: how much may be made of it, but for views of the message itself, before
                that takes too long where it is decoded.
        """
        self._made_bytes = made_bytes
        self._padding_bytes = _PADDING_BYTES + _PADDING_FACTOR * message_bytes

    def make(self, n_bytes: int) -> None:
        """Before so much is made.

        Raises:
            TakesLong: it is too much to be made here.
        """
        self._made_bytes -= n_bytes
        if self._made_bytes < 0:
            raise TakesLong

    def pad(self, n_values: int, n_bytes: int) -> None:
        """Before values that a tensor lacks are filled in.

        Raises:
            InvalidArgument: that would be too much.
            TakesLong: see `make`.
        """
        self._padding_bytes -= n_bytes
        if self._padding_bytes < 0:
            raise InvalidArgument(
                f"A tensor lacks {n_values} of its values, more than are filled in: send them all"
            )
        self.make(n_bytes)


def check_context(context_bytes: int, n_examples: int, message_bytes: int) -> None:
    """Before a context is put before each example.

    Raises:
        InvalidArgument: the copies would take too much memory.
    """
    if context_bytes * n_examples > MAX_CONTEXT_BYTES + message_bytes:
        raise InvalidArgument(
            f"A context of {context_bytes} bytes for {n_examples} examples would take more than "
            f"{MAX_CONTEXT_BYTES >> 20} MiB: send fewer examples at a time"
        )
