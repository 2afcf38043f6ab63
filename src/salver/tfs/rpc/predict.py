"""Predict over gRPC: its two codecs.

Most requests differ from an earlier one in the elements of their tensor alone; what the earlier one
has told is not parsed again, see `rpc.alike`. The other codec reads any request.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np

from salver.codecs.protobuf.model_spec import ModelSpec
from salver.codecs.protobuf.predict_message import (
    PredictMessage,
    decode_predict_request,
    encode_predict_response,
)
from salver.codecs.protobuf.tensor_proto import decode_tensor
from salver.errors import Unknown
from salver.inference.call import Codec, IsActive
from salver.inference.predict import (
    check_predict_signature,
    predict_feeds,
    predict_fetches,
    unknown_serving_signature,
)
from salver.inference.servable import SignatureCall
from salver.inference.serving import Handle
from salver.instruments.threads import LARGE_BYTES
from salver.tfs.rpc.alike import Alike, AlikeRequests
from salver.tfs.rpc.calls import MessageRequest, given_spec, room_for, servable_request
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import DEFAULT_SIGNATURE

__all__ = ["PredictCodecs", "answered_spec"]


class PredictCodecs:
    """The codecs of one entrypoint, and what they remember. Reads in the loop or in the pool.

    Attributes:
        all: quickest first.
    """

    def __init__(self, *, is_method_checked: bool, as_content: bool, entrypoint: str) -> None:
        """Remember nothing yet.

        Args:
            is_method_checked: `--enable_signature_method_name_check`.
            as_content: `--enable_serialization_as_tensor_content`.
            entrypoint: what metrics call this way in.
        """
        self.is_method_checked = is_method_checked
        self.as_content = as_content
        self.meter_key = ("predict", entrypoint)
        self.alike = AlikeRequests(as_content=as_content)
        self.all: tuple[Codec[bytes], ...] = (self._known, self._parsed)

    def _known(
        self, data: bytes, _context: Any, is_active: IsActive | None
    ) -> "_KnownPredict | None":
        if is_active is not None:  # what is remembered belongs to the loop
            return None
        known = self.alike.find(data)
        return None if known is None else _KnownPredict(self, known, data)

    def _parsed(self, data: bytes, _context: Any, _is_active: IsActive | None) -> "_Predict":
        message = decode_predict_request(data)
        return _Predict(self, message, data)


class _Predict(MessageRequest):
    """Any request."""

    __slots__ = ("_call", "_codecs", "_fetches", "_is_usual", "_message")

    method = "predict"
    _call: SignatureCall
    _fetches: Sequence[str]

    def __init__(self, codecs: PredictCodecs, message: PredictMessage, data: bytes) -> None:
        spec = given_spec(message.spec)
        super().__init__(servable_request(spec), spec, data)
        self._codecs = codecs
        self._message = message

    def decode(self, handle: Handle, is_active: IsActive | None) -> bool:
        """See `InferenceRequest`."""
        message, codecs = self._message, self._codecs
        name = self.spec.signature_name or DEFAULT_SIGNATURE
        call = handle.model.call(name)
        if call is None:
            raise unknown_serving_signature(name, handle.model.signatures)
        if codecs.is_method_checked:
            check_predict_signature(call.signature)
        decode = partial(decode_tensor, room=room_for(self.data, is_active))
        feeds = predict_feeds(call.signature, message.inputs, decode, call.names.feeds)
        self._call = call
        self._fetches = call.output_names
        self.runs(handle, call, feeds, codecs.meter_key)
        if message.output_filter:
            self._fetches = predict_fetches(call.signature, message.output_filter)
            if len(self._fetches) != len(call.output_names):
                self.start = handle.model.part(name, self._fetches).start
        self._is_usual = not message.output_filter
        return True

    def encode(self, outputs: list[Array]) -> bytes:
        """See `InferenceRequest`."""
        answer = self.encode_large(outputs, _nothing)
        if self._is_usual and len(outputs) == 1 and _is_small(outputs[0]):
            self._codecs.alike.remember(
                self.data,
                self._message,
                self._call,
                self.feeds,
                self.handle.id.version,
                outputs,
            )
        return answer

    def encode_large(self, outputs: list[Array], check: Callable[[], None]) -> bytes:
        """See `InferenceRequest`. Remembers nothing: that belongs to the loop."""
        return encode_outputs(
            self.spec,
            self.handle.id.version,
            self._call,
            self._fetches,
            outputs,
            as_content=self._codecs.as_content,
        )


class _KnownPredict(MessageRequest):
    """One of which all but the elements of its tensor is known.

    That saves more than a quarter of the call's time.
    """

    __slots__ = ("_call", "_codecs", "_known")

    method = "predict"
    _call: SignatureCall

    def __init__(self, codecs: PredictCodecs, known: Alike, data: bytes) -> None:
        self.servable = known.request
        self.spec = known.spec
        self.data = data
        self._codecs = codecs
        self._known = known

    def decode(self, handle: Handle, is_active: IsActive | None) -> bool:
        """See `InferenceRequest`. False: another version answers now, so it is to be parsed."""
        known = self._known
        if handle.id.version != known.version:
            return False
        call = handle.model.call(known.name)
        if call is None or call.signature is not known.signature:
            return False
        self._call = call
        self.handle = handle
        self.start = call.start
        self.feeds = [np.ndarray(known.shape, known.dtype, self.data, known.begin)]
        self.meter = call.meters[self._codecs.meter_key]
        return True

    def encode(self, outputs: list[Array]) -> bytes:
        """See `InferenceRequest`."""
        known = self._known
        if len(outputs) == 1:
            output = outputs[0]
            if output.dtype is known.output_dtype and output.shape == known.output_shape:
                return b"".join((known.head, output.tobytes(), known.tail))
        call = self._call
        return encode_outputs(
            self.spec,
            known.version,
            call,
            call.output_names,
            outputs,
            as_content=self._codecs.as_content,
        )


def encode_outputs(
    spec: ModelSpec,
    version: int,
    call: SignatureCall,
    fetches: Sequence[str],
    outputs: list[Array],
    *,
    as_content: bool,
) -> bytes:
    """The response to a request for `fetches`.

    Raises:
        Unknown: the outputs are not those.
    """
    if len(outputs) != len(fetches):
        raise Unknown("Predict internal error")
    return encode_predict_response(
        answered_spec(spec.name, version, spec.signature_name),
        list(zip(fetches, outputs, strict=True)),
        as_content=as_content,
        quantized=call.quantized,
    )


@lru_cache(maxsize=1024)
def answered_spec(name: str, version: int, signature_name: str) -> ModelSpec:
    """What a response says of who answered: never a label."""
    return ModelSpec(name, version, None, signature_name or DEFAULT_SIGNATURE)


def _nothing() -> None: ...


def _is_small(array: Array) -> bool:
    return array.nbytes <= LARGE_BYTES and array.dtype.kind != "O"  # strings are not in the array
