"""Predict, Classify and Regress over REST: body → inputs → run → body.

A small body is decoded, and a short run made, without leaving the loop; then `start` returns the
response itself and no task is made. A large one is decoded and encoded in the run pool.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal, TypeVar

from salver.codecs.json_document import parse_document
from salver.codecs.json_response import encode_classify, encode_predict, encode_regress
from salver.errors import InvalidArgument
from salver.inference.examples import (
    check_classify_signature,
    check_regress_signature,
    classify_result,
    example_tensor,
    regress_result,
    unknown_signature,
)
from salver.inference.predict import check_predict_signature
from salver.inference.servable import SignatureCall
from salver.requests import Array, ServableRequest
from salver.rest.later import Later
from salver.rest.serving import Handle, Serving
from salver.signature import DEFAULT_SIGNATURE
from salver.transport.messages import HttpResponse

__all__ = ["InferenceCalls", "version_headers"]

VERSION_HEADER: Final = "salver-model-version"
LARGE_BYTES: Final = 1 << 16  # decoding this much JSON takes about as long as a change of threads

R = TypeVar("R")
InPool = Callable[[Callable[[], Any]], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A decoded request, holding its version; whoever has it must run it or release it."""

    handle: Handle
    call: SignatureCall
    feeds: list[Array]
    encode: Callable[[list[Array]], bytes]


class InferenceCalls:
    """Answers the three inference calls. Belongs to the loop."""

    def __init__(
        self,
        serving: Serving,
        *,
        in_pool: InPool,
        timeout_s: float | None,
        is_method_checked: bool = False,
    ) -> None:
        """Make the calls.

        Args:
            serving: finds the servables.
            in_pool: runs a function in the run pool.
            timeout_s: how long one run of a model may take, None for ever
                (`--rest_api_timeout_in_ms`).
            is_method_checked: `--enable_signature_method_name_check`.
        """
        self._serving = serving
        self._in_pool = in_pool
        self._timeout_s = timeout_s
        self._is_method_checked = is_method_checked

    def predict(
        self, body: bytes, servable: ServableRequest
    ) -> HttpResponse | Coroutine[Any, Any, HttpResponse]:
        """POST …:predict.

        Raises:
            ServingError: also out of the awaitable.
        """
        if len(body) > LARGE_BYTES:
            return self._in_pool_and_run(lambda: self._prepare_predict(body, servable))
        return self._run(self._prepare_predict(body, servable))

    def classify(
        self, body: bytes, servable: ServableRequest
    ) -> HttpResponse | Coroutine[Any, Any, HttpResponse]:
        """POST …:classify; raises as `predict`."""
        return self._with_examples(body, servable, "classify")

    def regress(
        self, body: bytes, servable: ServableRequest
    ) -> HttpResponse | Coroutine[Any, Any, HttpResponse]:
        """POST …:regress; raises as `predict`."""
        return self._with_examples(body, servable, "regress")

    def _with_examples(
        self, body: bytes, servable: ServableRequest, method: Literal["classify", "regress"]
    ) -> HttpResponse | Coroutine[Any, Any, HttpResponse]:
        if len(body) > LARGE_BYTES:
            return self._in_pool_and_run(lambda: self._prepare_examples(body, servable, method))
        return self._run(self._prepare_examples(body, servable, method))

    def _prepare_predict(self, body: bytes, servable: ServableRequest) -> _Prepared:
        document = parse_document(body)
        name = document.signature_name or DEFAULT_SIGNATURE
        handle = self._serving.acquire(servable)
        try:
            signatures = handle.model.signatures
            signature = signatures.get(name)
            if signature is None:
                raise InvalidArgument(  # noqa: TRY301 - the handle must be let go
                    f'Serving signature name: "{name}" not found in signature def',
                    hint=f"The model has the signatures: {', '.join(signatures)}",
                )
            inputs = document.predict_inputs(document.signature_name, signature)
            if self._is_method_checked:
                check_predict_signature(signature)
            call = handle.model.call(name)
            assert call is not None  # the signature is there
        except BaseException:
            handle.release()
            raise
        names, is_row = call.output_names, inputs.is_row
        return _Prepared(
            handle,
            call,
            inputs.arrays,
            lambda outputs: encode_predict(list(zip(names, outputs, strict=True)), is_row),
        )

    def _prepare_examples(
        self, body: bytes, servable: ServableRequest, method: Literal["classify", "regress"]
    ) -> _Prepared:
        document = parse_document(body)
        examples = document.examples(method)
        name = document.signature_name or DEFAULT_SIGNATURE
        handle = self._serving.acquire(servable)
        try:
            servable_model = handle.model
            signature = servable_model.signatures.get(name)
            if signature is None:
                raise unknown_signature(name, list(servable_model.signatures))  # noqa: TRY301
            check = check_classify_signature if method == "classify" else check_regress_signature
            check(
                name,
                signature,
                servable_model.model.signature_def_map,
                is_method_checked=self._is_method_checked,
            )
            call = servable_model.call(name)
            assert call is not None  # the signature is there
            feeds = [example_tensor(examples)]
        except BaseException:
            handle.release()
            raise
        names, count = call.output_names, len(examples)

        def encode(outputs: list[Array]) -> bytes:
            named = dict(zip(names, outputs, strict=True))
            if method == "classify":
                return encode_classify(classify_result(named, count))
            return encode_regress(regress_result(named, count))

        return _Prepared(handle, call, feeds, encode)

    def _run(self, prepared: _Prepared) -> HttpResponse | Coroutine[Any, Any, HttpResponse]:
        handle = prepared.handle
        outputs = prepared.call.start(
            prepared.feeds, timeout_s=self._timeout_s, on_end=handle.release
        )
        if isinstance(outputs, asyncio.Future):
            return Later(self._finish(outputs, prepared), outputs.cancel)
        if _are_large(outputs):
            return self._encode_in_pool(outputs, prepared)
        return _response(prepared.encode(outputs), handle)

    async def _in_pool_and_run(self, prepare: Callable[[], _Prepared]) -> HttpResponse:
        # A client that leaves cancels this, but not a thread that is at work on its request: then
        # that thread, or whoever is the last to know, lets the version go.
        ready: list[_Prepared] = []
        is_left = False

        def prepare_or_release() -> None:
            ready.append(prepare())
            if is_left:
                release()

        def release() -> None:
            with suppress(IndexError):  # taken by the other side
                ready.pop().handle.release()

        try:
            await self._in_pool(prepare_or_release)
        except BaseException:
            is_left = True
            release()
            raise
        response = self._run(ready.pop())
        return response if isinstance(response, HttpResponse) else await response

    async def _finish(
        self, future: "asyncio.Future[list[Array]]", prepared: _Prepared
    ) -> HttpResponse:
        outputs = await future
        if _are_large(outputs):
            return await self._encode_in_pool(outputs, prepared)
        return _response(prepared.encode(outputs), prepared.handle)

    async def _encode_in_pool(self, outputs: list[Array], prepared: _Prepared) -> HttpResponse:
        body = await self._in_pool(lambda: prepared.encode(outputs))
        return _response(body, prepared.handle)


def _are_large(outputs: list[Array]) -> bool:
    size = 0
    for array in outputs:
        size += array.nbytes
    return size > LARGE_BYTES


def _response(body: bytes, handle: Handle) -> HttpResponse:
    return HttpResponse(200, body, "application/json", version_headers(handle.id.version))


@lru_cache(maxsize=1024)
def version_headers(version: int) -> tuple[tuple[str, str], ...]:
    """The header fields that say which version answered."""
    return ((VERSION_HEADER, str(version)),)
