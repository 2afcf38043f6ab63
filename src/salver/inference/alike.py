"""Messages that differ from an earlier one in the elements of their tensor alone.

A client asks one model for tensors of one shape, and of such messages everything up to the elements
is the same, byte by byte. What the earlier one meant is remembered under these bytes, so that the
next need not be parsed.
"""

from typing import Any, Final, Generic, Protocol, TypeVar

from salver.inference.servable import SignatureCall
from salver.vocabulary.requests import Array, ServableRequest

__all__ = ["MOST_BYTES", "AlikeMessages", "AlikeRequest"]

_MOST: Final = 1024
# Remembering takes 2 µs, which is lost on requests that do not come again before they are
# forgotten. So when there is no place, all are forgotten only after so many that found none.
_MOST_REFUSED: Final = 16 * _MOST
MOST_BYTES: Final = 512
"""Before the elements; longer beginnings would let strangers fill the memory."""


class _Known(Protocol):
    size: int


K = TypeVar("K", bound=_Known)


class AlikeMessages(Generic[K]):
    """Remembers what a number of messages mean, each of which ends with its elements.

    What it remembers has the `size` of the message. Belongs to the loop.
    """

    __slots__ = ("_begins", "_known", "_refused")

    def __init__(self) -> None:
        self._begins: dict[int, int] = {}  # size of a message → where its elements may begin
        self._known: dict[bytes, K] = {}  # what stands before the elements → what it means
        self._refused = 0  # messages without a place since all were forgotten

    def find(self, data: bytes) -> K | None:
        """What is known of a message before it is parsed; None where that is nothing."""
        size = len(data)
        known = self._known.get(data[: self._begins.get(size, 0)])
        # Of another size it is cut off, or has something behind the elements.
        return known if known is not None and known.size == size else None

    def has_place(self, data: bytes, begin: int) -> bool:
        """Whether a message may be remembered now, all others being forgotten if need be.

        Args:
            data: the message.
            begin: where its elements begin, which end it.
        """
        if begin > MOST_BYTES:
            return False
        if self._begins.get(len(data), begin) == begin and (
            len(self._known) < _MOST or data[:begin] in self._known
        ):
            return True
        self._refused += 1
        if self._refused < _MOST_REFUSED:
            return False
        self._refused = 0
        self._known.clear()
        self._begins.clear()
        return True

    def keep(self, data: bytes, begin: int, known: K) -> None:
        """Remember a message that has a place."""
        self._begins[len(data)] = begin
        self._known[data[:begin]] = known


class AlikeRequest:
    """What requests of one size that begin with the same bytes have in common.

    What these bytes do not settle, such as which version is the newest, is asked anew each time.

    Attributes:
        request: which servable they want.
        version: that answered the first.
        name: of the signature that is run.
        signature: that of the version. It stands for all that was checked of the request with it.
        size: of the request.
        begin: where the elements begin; from there they fill it.
        shape: of the tensor.
        dtype: of its elements.
        output_shape: of the tensor that answered the first.
        output_dtype: of its elements.
        head: what the answer begins with.
        tail: and what else of it is not the output's elements.
    """

    __slots__ = (
        "begin",
        "dtype",
        "head",
        "name",
        "output_dtype",
        "output_shape",
        "request",
        "shape",
        "signature",
        "size",
        "tail",
        "version",
    )

    def __init__(
        self,
        request: ServableRequest,
        version: int,
        call: SignatureCall,
        size: int,
        fed: Array,
        output: Array,
        around: tuple[bytes, bytes],
    ) -> None:
        """Of the first.

        Args:
            request: see there; so are version and size.
            version: see there.
            call: what was run.
            size: see there.
            fed: its elements.
            output: what the model gave.
            around: head and tail.
        """
        self.request = request
        self.version = version
        self.name = call.name
        self.signature = call.signature
        self.size = size
        self.begin = size - fed.nbytes
        self.shape: tuple[int, ...] = fed.shape
        self.dtype: Any = fed.dtype
        self.output_shape: tuple[int, ...] = output.shape
        self.output_dtype: Any = output.dtype
        self.head, self.tail = around
