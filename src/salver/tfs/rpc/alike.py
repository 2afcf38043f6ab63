"""Predict requests that differ from an earlier one in the elements of their tensor alone.

A client asks one model for tensors of one shape, and of such messages everything up to the elements
is the same, byte by byte. What the earlier one meant, and how its answer was framed, is remembered
under these bytes, so that the next need not be parsed. What they do not settle, such as which
version is the newest, is asked anew each time.
"""

from salver.codecs.protobuf.model_spec import ModelSpec
from salver.codecs.protobuf.predict_message import PredictMessage, around_output
from salver.codecs.protobuf.tensor_proto import has_raw_elements
from salver.inference.alike import AlikeMessages, AlikeRequest
from salver.inference.servable import SignatureCall
from salver.vocabulary.requests import Array, ServableRequest

__all__ = ["Alike", "AlikeRequests"]


class Alike(AlikeRequest):
    """The same of Predict.

    Attributes:
        spec: what the request says of the model.
    """

    __slots__ = ("spec",)

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
        request = ServableRequest(spec.name, spec.version, spec.label)
        super().__init__(request, version, call, size, fed, output, around)
        self.spec = spec


class AlikeRequests(AlikeMessages[Alike]):
    """Remembers a number of them. Belongs to the loop."""

    __slots__ = ("_as_content",)

    def __init__(self, *, as_content: bool) -> None:
        """Remember nothing yet.

        Args:
            as_content: see `encode_tensor`; of all answers.
        """
        super().__init__()
        self._as_content = as_content

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
        if spec is None or message.inputs_end != size or not self.has_place(data, begin):
            return
        if not has_raw_elements(tensor, fed):
            return
        answered = ModelSpec(spec.name, version, None, call.name)
        around = around_output(answered, call.output_names[0], output, as_content=self._as_content)
        if around is not None:
            self.keep(data, begin, Alike(spec, version, call, size, fed, output, around))
