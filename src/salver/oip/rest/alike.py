"""JSON bodies that differ from an earlier one in the numbers of their tensor alone.

A client asks one model for tensors of one shape. Of such bodies everything before the numbers is
the same, byte by byte, and everything behind them, and what that meant need not be parsed again.
An id in front is looked at apart, as it is another each time. Only a body with one input is
remembered, whose elements are its `data`; what stands in their place next time has to be a list of
numbers, whole. So it can mean nothing else.
"""

import random
from math import prod
from typing import Any, Final

import numpy as np
import orjson

from salver.codecs.json.plain import plain_array
from salver.codecs.oip.json_request import read_infer_request
from salver.errors import ServingError
from salver.inference.servable import SignatureCall
from salver.oip.asked import Asked, RequestedOutput
from salver.oip.parameters import NO_PARAMETERS
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.requests import Array, TakesLong
from salver.vocabulary.servable import ServableId
from salver.vocabulary.signature import Signature

__all__ = ["Alike", "AlikeBodies", "without_id"]

_KEY: Final = b'"data":'
_NUMBERS_AND_LISTS: Final = b"0123456789+-.eE, \t\r\n[]"
_ID: Final = b'{"id":"'
_LONGEST_ID: Final = 128
_MOST: Final = 1024
# See `tfs.rpc.alike`: when there is no place, all are forgotten only after so many found none.
_MOST_REFUSED: Final = 16 * _MOST
_MOST_BYTES: Final = 512  # around the numbers; longer ones would let strangers fill the memory
_MOST_CHECKED: Final = 64  # versions for which one kind of body is known to be right
_TYPES: Final = frozenset({DataType.FLOAT32, DataType.FLOAT64, DataType.INT32, DataType.INT64})


class Alike:
    """What bodies have in common that begin and end with the same bytes.

    Attributes:
        tail: what stands behind the numbers.
        dtype: of the tensor.
        shape: of it.
        size: how many elements it has; -1 where such bodies are not to be known after all.
        checked: model → version → what it was found to mean there: the name of the signature, and
            the signature itself, which stands for all that was checked with it.
    """

    __slots__ = ("checked", "dtype", "shape", "size", "tail")

    def __init__(self, tail: bytes, dtype: DataType, shape: tuple[int, ...], size: int) -> None:
        self.tail = tail
        self.dtype = dtype
        self.shape = shape
        self.size = size
        self.checked: dict[str, dict[int, tuple[str, Signature]]] = {}

    def check(self, id: ServableId, call: SignatureCall) -> None:
        """Note that a version has answered such a body by this call."""
        if sum(map(len, self.checked.values())) >= _MOST_CHECKED:
            self.checked.clear()
        self.checked.setdefault(id.name, {})[id.version] = (call.name, call.signature)


class AlikeBodies:
    """Remembers a number of them. Belongs to the loop."""

    __slots__ = ("_known", "_refused")

    def __init__(self) -> None:
        """Remember nothing yet."""
        self._known: dict[bytes, Alike] = {}  # what stands before the numbers → what it means
        self._refused = 0  # bodies without a place since all were forgotten

    def find(self, body: bytes) -> tuple[Alike, Array, str] | None:
        """What is known of a body, its tensor and its id; None where that is nothing."""
        id = ""
        if body.startswith(_ID):
            id, body = without_id(body)
        at = body.find(_KEY, 0, _MOST_BYTES) + len(_KEY)
        known = self._known.get(body[:at])
        if known is None or not body.endswith(known.tail):
            return None
        numbers = body[at : len(body) - len(known.tail)]
        if numbers.translate(None, _NUMBERS_AND_LISTS):
            return None
        try:
            value: Any = orjson.loads(numbers)
        except ValueError:
            return None
        if type(value) is not list:
            return None
        array = plain_array(value, known.dtype, len(body))
        if array is None or array.size != known.size:
            return None
        return known, array if array.shape == known.shape else array.reshape(known.shape), id

    def remember(self, body: bytes, asked: Asked, id: ServableId, call: SignatureCall) -> None:
        """Keep what was found out of a body that was answered, if it is of this kind.

        Args:
            body: of the request.
            asked: what was read there.
            id: of the version that answered.
            call: what was run; of one output.
        """
        if len(call.output_names) != 1:
            return
        id_text, body = without_id(body)
        if asked.id != id_text or asked.parameters != NO_PARAMETERS:
            return
        if asked.outputs and [*asked.outputs] != [RequestedOutput(*call.output_names)]:
            return  # the answer is another than without them
        if len(call.signature.inputs) != 1 or len(asked.inputs) != 1 or call.quantized:
            return
        (spec,) = call.signature.inputs.values()
        at = body.find(_KEY, 0, _MOST_BYTES) + len(_KEY)
        end = body.rfind(b"]", at, body.find(b"}", at)) + 1
        head, tail = body[:at], body[end:]
        if spec.dtype not in _TYPES or end <= at or len(head) + len(tail) > _MOST_BYTES:
            return
        known = self._known.get(head)
        if known is None or known.tail != tail:
            if known is None and not self._has_place():
                return
            shape = asked.inputs[0].shape
            size = prod(shape) if _is_all_of_it(head, tail, shape) else -1
            known = self._known[head] = Alike(tail, spec.dtype, shape, size)
        if known.size >= 0:
            known.check(id, call)

    def _has_place(self) -> bool:
        """Whether another body may be remembered now, all others being forgotten if need be."""
        if len(self._known) < _MOST:
            return True
        self._refused += 1
        if self._refused < _MOST_REFUSED:
            return False
        self._refused = 0
        self._known.clear()
        return True


def without_id(body: bytes) -> tuple[str, bytes]:
    """The id that a body begins with, and the body without it; an empty one where it has none.

    Only one in plain ASCII is seen; `{"id":"a","inputs":…}` becomes `{"inputs":…}`.
    """
    if not body.startswith(_ID):
        return "", body
    end = body.find(b'"', len(_ID), len(_ID) + _LONGEST_ID)
    id = body[len(_ID) : end]
    if end < 0 or body[end + 1 : end + 2] != b"," or not id.isascii():
        return "", body
    text = id.decode()
    if "\\" in text or not text.isprintable():
        return "", body
    return text, b"{" + body[end + 2 :]


def _is_all_of_it(head: bytes, tail: bytes, shape: tuple[int, ...]) -> bool:
    """Whether the list between these is the elements of the input, and nothing else.

    A list of a number that was never sent is read there: it has to come back as the input.
    """
    mark = random.SystemRandom().getrandbits(23)
    numbers = b",".join([b"%d" % mark] * prod(shape))
    try:
        found = read_infer_request(b"%b[%b]%b" % (head, numbers, tail))
    except (ServingError, TakesLong):
        return False
    array = found.inputs[0].array
    return array is not None and bool(np.all(array == mark))
