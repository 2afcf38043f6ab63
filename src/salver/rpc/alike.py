"""Predict requests that differ from an earlier one in the elements of their tensor alone.

A client asks one model for tensors of one shape, and of such messages everything up to the elements
is the same, byte by byte. What the earlier one meant, and how its answer was framed, is remembered
under these bytes, so that the next need not be parsed. What they do not settle, such as which
version is the newest, is asked anew each time.
"""

from typing import Any, Final

from salver.codecs.model_spec import ModelSpec
from salver.codecs.predict_message import PredictMessage, around_output
from salver.codecs.tensor_proto import has_raw_elements
from salver.inference.servable import SignatureCall
from salver.requests import Array, ServableRequest

__all__ = ["Alike", "AlikeRequests"]

_MOST: Final = 1024
# Remembering takes 2 µs, which is lost on requests that do not come again before they are
# forgotten. So when there is no place, all are forgotten only after so many that found none.
_PATIENCE: Final = 16 * _MOST
_MOST_BYTES: Final = 512  # before the elements; longer ones would let strangers fill the memory


class Alike:
    """What requests of one size that begin with the same bytes have in common.

    Attributes:
        spec: what the request says of the model.
        request: the same, for the serving map.
        version: that answered the first.
        name: of the signature that is run.
        signature: that of the version. It stands for all that was checked of the request with it.
        size: of the request.
        begin: where the elements begin; from there they fill it.
        shape: of the tensor.
        dtype: of its elements.
        output_shape: of the tensor that answered the first.
        output_dtype: of its elements.
        head: what the answer has before these.
        tail: and after them.
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
        "spec",
        "tail",
        "version",
    )

    def __init__(
        self,
        spec: ModelSpec,
        version: int,
        call: SignatureCall,
        size: int,
        fed: Array,
        output: Array,
        around: tuple[bytes, bytes],
    ) -> None:
        self.spec = spec
        self.request = ServableRequest(spec.name, spec.version, spec.label)
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


class AlikeRequests:
    """Remembers a number of them. Belongs to the loop."""

    __slots__ = ("_as_content", "_begins", "_known", "_refused")

    def __init__(self, *, as_content: bool) -> None:
        """Remember nothing yet.

        Args:
            as_content: see `encode_tensor`; of all answers.
        """
        self._as_content = as_content
        self._begins: dict[int, int] = {}  # size of a message → where its elements may begin
        self._known: dict[bytes, Alike] = {}  # what stands before the elements → what it means
        self._refused = 0  # requests without a place since all were forgotten

    def find(self, data: bytes) -> Alike | None:
        """What is known of a request before it is parsed; None where that is nothing."""
        size = len(data)
        known = self._known.get(data[: self._begins.get(size, 0)])
        # Of another size it is cut off, or has something behind the elements.
        return known if known is not None and known.size == size else None

    def remember(
        self,
        data: bytes,
        message: PredictMessage,
        call: SignatureCall,
        feeds: list[Array],
        version: int,
        outputs: list[Array],
    ) -> None:
        """Keep what was found out of a request that was answered, if it is of this kind.

        Args:
            data: the request.
            message: what was read there.
            call: what was run.
            feeds: what it was fed.
            version: of the model that answered.
            outputs: what it gave, one for each of its names.
        """
        if not (len(message.inputs) == len(feeds) == len(outputs) == 1) or call.quantized:
            return
        [tensor], [fed], [output] = message.inputs.values(), feeds, outputs
        spec, size = message.spec, len(data)
        begin = size - fed.nbytes
        if spec is None or message.inputs_end != size or begin > _MOST_BYTES:
            return
        if not self._has_place(data[:begin], size) or not has_raw_elements(tensor, fed):
            return
        answered = ModelSpec(spec.name, version, None, call.name)
        around = around_output(answered, call.output_names[0], output, as_content=self._as_content)
        if around is not None:
            self._begins[size] = begin
            self._known[data[:begin]] = Alike(spec, version, call, size, fed, output, around)

    def _has_place(self, head: bytes, size: int) -> bool:
        """Whether a request may be remembered now, all others being forgotten if need be."""
        if self._begins.get(size, len(head)) == len(head) and (
            len(self._known) < _MOST or head in self._known
        ):
            return True
        self._refused += 1
        if self._refused < _PATIENCE:
            return False
        self._refused = 0
        self._known.clear()
        self._begins.clear()
        return True
