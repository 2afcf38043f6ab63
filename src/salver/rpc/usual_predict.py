"""Predict as most calls are: a small request for all outputs of a signature.

What `Prepared` and `Running` do for everything else is done here in one go, which saves a fifth of
such a call's time; and what an earlier request has told is not parsed again, see `rpc.alike`.
"""

from collections.abc import Callable, Coroutine, Sequence
from functools import lru_cache, partial
from time import perf_counter
from typing import Any

import numpy as np

from salver.codecs.model_spec import ModelSpec
from salver.codecs.predict_message import (
    PredictMessage,
    decode_predict_request,
    encode_predict_response,
)
from salver.codecs.room import Room, TakesLong
from salver.codecs.tensor_proto import decode_tensor
from salver.errors import ServingError, Unknown
from salver.hints import explain
from salver.inference.predict import (
    check_predict_signature,
    predict_feeds,
    unknown_serving_signature,
)
from salver.inference.running import LARGE_BYTES, Prepared, Running
from salver.inference.servable import SignatureCall
from salver.inference.serving import Handle, Serving
from salver.requests import Array
from salver.rpc.alike import Alike, AlikeRequests
from salver.rpc.calls import given_spec, servable_request
from salver.signature import DEFAULT_SIGNATURE

__all__ = ["Answer", "UsualPredict", "answered_spec", "encoder", "take_request"]

Answer = bytes | Coroutine[Any, Any, bytes]


class UsualPredict:
    """Answers such calls. Belongs to the loop."""

    def __init__(
        self, serving: Serving, running: Running, *, as_content: bool, entrance: str
    ) -> None:
        """Answer from these.

        Args:
            serving: finds the servables.
            running: takes over the runs that are not over at once.
            as_content: `--enable_serialization_as_tensor_content`.
            entrance: what metrics call this way in.
        """
        self._serving = serving
        self._running = running
        self._as_content = as_content
        self._meter_key = ("predict", entrance)
        self._alike = AlikeRequests(as_content=as_content)

    def answer(self, data: bytes, timeout_s: float | None) -> Answer | None:
        """Answer a request of at most `LARGE_BYTES`.

        Args:
            data: the request.
            timeout_s: how long the run may take; None: for ever.

        Returns:
            None where this is another kind of call; nothing is held then.

        Raises:
            ServingError: also out of the coroutine.
        """
        begun_s = perf_counter()
        alike = self._alike.find(data)
        if alike is not None:
            answer = self._answer_alike(alike, data, timeout_s, begun_s)
            if answer is not None:
                return answer
        message = decode_predict_request(data)
        if message.output_filter:
            return None
        try:
            handle, call, feeds = take_request(
                self._serving, message, Room(len(data), made_bytes=LARGE_BYTES)
            )
        except TakesLong:
            return None
        version = handle.id.version
        run_begun = perf_counter()
        try:
            outputs = call.start(feeds, timeout_s=timeout_s, on_end=handle.release)
            encode = self._encoder(given_spec(message.spec), version, call)
            meter = call.meters[self._meter_key]
            if type(outputs) is list and len(outputs) == 1 and _is_small(outputs[0]):
                run_s = perf_counter() - run_begun
                answer = encode(outputs)
                if meter is not None:
                    meter.succeeded(perf_counter() - begun_s, run_s)
                self._alike.remember(data, message, call, feeds, version, outputs)
                return answer
        except ServingError as error:
            error.version = version
            explain(error, call.signature, feeds)
            raise
        prepared = Prepared(handle, call.start, feeds, encode, meter, begun_s)
        return self._running.started(outputs, prepared, run_begun)

    def _answer_alike(
        self, alike: Alike, data: bytes, timeout_s: float | None, begun_s: float
    ) -> Answer | None:
        """Answer a request of which all but the elements of its tensor is known.

        That saves more than a quarter of the call's time. None: another version answers now, so it
        is to be parsed.
        """
        feeds = [np.ndarray(alike.shape, alike.dtype, data, alike.begin)]
        handle = self._serving.acquire(alike.request)
        try:
            call = handle.model.call(alike.name)
        except BaseException as error:
            _let_go(handle, error)
            raise
        version = alike.version
        if call is None or call.signature is not alike.signature or handle.id.version != version:
            handle.release()
            return None
        run_begun = perf_counter()
        try:
            outputs = call.start(feeds, timeout_s=timeout_s, on_end=handle.release)
            meter = call.meters[self._meter_key]
            if type(outputs) is list and len(outputs) == 1:
                run_s = perf_counter() - run_begun
                output = outputs[0]
                if output.dtype is alike.output_dtype and output.shape == alike.output_shape:
                    answer = b"".join((alike.head, output.tobytes(), alike.tail))
                    if meter is not None:
                        meter.succeeded(perf_counter() - begun_s, run_s)
                    return answer
        except ServingError as error:
            error.version = version
            explain(error, call.signature, feeds)
            raise
        encode = self._encoder(alike.spec, version, call)
        prepared = Prepared(handle, call.start, feeds, encode, meter, begun_s)
        return self._running.started(outputs, prepared, run_begun)

    def _encoder(
        self, spec: ModelSpec, version: int, call: SignatureCall
    ) -> Callable[[list[Array]], bytes]:
        return encoder(spec, version, call, call.output_names, as_content=self._as_content)


def take_request(
    serving: Serving, message: PredictMessage, room: Room, *, is_method_checked: bool = False
) -> tuple[Handle, SignatureCall, list[Array]]:
    """The version that a request wants, its signature, and what is fed to it.

    Args:
        serving: finds the version.
        message: the request.
        room: for the arrays that are made of it.
        is_method_checked: `--enable_signature_method_name_check`.

    Raises:
        ServingError: nothing is held then.
        TakesLong: nor then.
    """
    spec = given_spec(message.spec)
    handle = serving.acquire(servable_request(spec))
    try:
        name = spec.signature_name or DEFAULT_SIGNATURE
        call = handle.model.call(name)
        if call is None:
            raise unknown_serving_signature(name, handle.model.signatures)  # noqa: TRY301
        if is_method_checked:
            check_predict_signature(call.signature)
        decode = partial(decode_tensor, room=room)
        return handle, call, predict_feeds(call.signature, message.inputs, decode)
    except BaseException as error:
        _let_go(handle, error)
        raise


def encoder(
    spec: ModelSpec,
    version: int,
    call: SignatureCall,
    fetches: Sequence[str],
    *,
    as_content: bool,
) -> Callable[[list[Array]], bytes]:
    """What makes a response of the outputs `fetches`; it raises Unknown if they are not those."""
    answered = answered_spec(spec.name, version, spec.signature_name)
    quantized = call.quantized

    def encode(outputs: list[Array]) -> bytes:
        if len(outputs) != len(fetches):
            raise Unknown("Predict internal error")
        named = list(zip(fetches, outputs, strict=True))
        return encode_predict_response(answered, named, as_content=as_content, quantized=quantized)

    return encode


@lru_cache(maxsize=1024)
def answered_spec(name: str, version: int, signature_name: str) -> ModelSpec:
    """What a response says of who answered: never a label."""
    return ModelSpec(name, version, None, signature_name or DEFAULT_SIGNATURE)


def _let_go(handle: Handle, error: BaseException) -> None:
    """Release a version that a request failed at before its run."""
    handle.release()
    if isinstance(error, ServingError):
        error.version = handle.id.version


def _is_small(array: Array) -> bool:
    return array.nbytes <= LARGE_BYTES and array.dtype.kind != "O"  # strings are not in the array
