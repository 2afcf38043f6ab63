"""Predict, Classify and Regress over REST: body → inputs, outputs → body."""

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, Literal

from salver.codecs.json.document import SMALL_BODY_BYTES, Document
from salver.codecs.json.plain import plain_array, plain_value
from salver.codecs.json.response import (
    encode_classify,
    encode_numbers,
    encode_predict,
    encode_predict_in_parts,
    encode_regress,
)
from salver.errors import InvalidArgument, ServingError
from salver.inference.call import Codec, InferenceRequest, IsActive
from salver.inference.examples import classify_result, examples_call, regress_result
from salver.inference.logged import (
    NO_LOGS,
    Bodies,
    CallLogs,
    Examples,
    LoggedCall,
    Method,
    Tensors,
)
from salver.inference.predict import check_predict_signature
from salver.inference.servable import SignatureCall
from salver.inference.serving import Handle, Serving
from salver.inference.traced import make_inference
from salver.instruments.threads import InPool
from salver.protocols.version_header import version_headers
from salver.tracing.tracer import Tracer
from salver.transport.messages import HttpResponse, LargeResponse
from salver.vocabulary.hints import signatures_hint
from salver.vocabulary.requests import Array, ServableRequest
from salver.vocabulary.signature import DEFAULT_SIGNATURE

__all__ = ["InferenceCalls"]

Answer = HttpResponse | Coroutine[Any, Any, HttpResponse]

_PREDICT: Final = ("predict", "REST")


class InferenceCalls:
    """Answers the three inference calls. Belongs to the loop.

    Attributes:
        predict_codecs: what reads the bodies of Predict.
    """

    def __init__(
        self,
        serving: Serving,
        *,
        in_pool: InPool,
        timeout_s: float | None,
        is_method_checked: bool = False,
        logs: CallLogs = NO_LOGS,
        tracer: Tracer | None = None,
    ) -> None:
        """Make the calls.

        Args:
            serving: finds the servables.
            in_pool: runs a function in the run pool.
            timeout_s: how long one run of a model may take whose request does not say; None for
                ever.
            is_method_checked: `--enable_signature_method_name_check`.
            logs: take the calls that are answered.
            tracer: takes notes of them; None where nobody does.
        """
        self._timeout_s = timeout_s
        self._is_method_checked = is_method_checked
        self._answer = make_inference(serving, in_pool, logs, tracer=tracer).answer
        self.predict_codecs: tuple[Codec[HttpResponse], ...] = (self._plain, self._document)
        if is_method_checked:
            self.predict_codecs = (self._document,)
        self._classify = (partial(self._examples, "classify"),)
        self._regress = (partial(self._examples, "regress"),)

    def predict(
        self, body: bytes, servable: ServableRequest, timeout_s: float | None = None
    ) -> Answer:
        """POST …:predict.

        Raises:
            ServingError: also out of the coroutine.
        """
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        return self._answer(self.predict_codecs, body, servable, limit_s)

    def classify(
        self, body: bytes, servable: ServableRequest, timeout_s: float | None = None
    ) -> Answer:
        """POST …:classify; raises as `predict`."""
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        return self._answer(self._classify, body, servable, limit_s)

    def regress(
        self, body: bytes, servable: ServableRequest, timeout_s: float | None = None
    ) -> Answer:
        """POST …:regress; raises as `predict`."""
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        return self._answer(self._regress, body, servable, limit_s)

    # -- codecs: each reads a body, in the loop or in the pool -----------------------------------

    @staticmethod
    def _plain(
        body: bytes, servable: ServableRequest, _is_active: IsActive | None
    ) -> "_Plain | None":
        plain = plain_value(body) if len(body) < SMALL_BODY_BYTES else None
        return None if plain is None else _Plain(servable, body, *plain)

    def _document(
        self, body: bytes, servable: ServableRequest, is_active: IsActive | None
    ) -> "_Inputs":
        document = Document(body, only_quickly=is_active is None, is_active=is_active)
        return _Inputs(servable, body, document, is_method_checked=self._is_method_checked)

    def _examples(
        self,
        method: Literal["classify", "regress"],
        body: bytes,
        servable: ServableRequest,
        is_active: IsActive | None,
    ) -> "_OfExamples":
        document = Document(body, only_quickly=is_active is None, is_active=is_active)
        return _OfExamples(
            method, servable, body, document, is_method_checked=self._is_method_checked
        )


class _JsonRequest(InferenceRequest[HttpResponse]):
    """What a body asks for.

    Attributes:
        body: the request's.
        call: of the signature it wants, from `decode` on.
    """

    __slots__ = ("body", "call")

    call: SignatureCall
    method: Method
    signature_name = ""

    def __init__(self, servable: ServableRequest, body: bytes) -> None:
        self.servable = servable
        self.body = body

    def respond(self, text: bytes) -> HttpResponse:
        """A body with the version that answered."""
        return HttpResponse(200, text, "application/json", version_headers(self.handle.id.version))

    def logged(
        self, outputs: list[Array], answer: HttpResponse, *, wants_bodies: bool
    ) -> LoggedCall:
        """See `InferenceRequest`."""
        content: Bodies | Tensors | Examples
        if wants_bodies:
            content = Bodies(self.body, answer.whole())
        else:
            content = self.content(dict(zip(self.call.output_names, outputs, strict=True)))
        version = self.handle.id.version
        return LoggedCall(self.method, self.servable, version, self.signature_name, content)

    def content(self, outputs: dict[str, Array]) -> Tensors | Examples:
        """What was asked and answered, as arrays."""
        return Tensors(dict(zip(self.call.signature.inputs, self.feeds, strict=True)), outputs)


class _Predict(_JsonRequest):
    """Predict. `is_row`: the request has rows, and so has the answer."""

    __slots__ = ("is_row",)

    is_row: bool
    method = "predict"

    def encode(self, outputs: list[Array]) -> HttpResponse:
        """See `InferenceRequest`."""
        text = encode_numbers(outputs[0], self.is_row) if len(outputs) == 1 else None
        if text is None:
            text = encode_predict(self._named(outputs), self.is_row)
        return HttpResponse(200, text, "application/json", version_headers(self.handle.id.version))

    def encode_large(self, outputs: list[Array], check: Callable[[], None]) -> HttpResponse:
        """See `InferenceRequest`."""
        parts = encode_predict_in_parts(self._named(outputs), self.is_row, check)
        if len(parts) == 1:
            return self.respond(parts[0])
        headers = version_headers(self.handle.id.version)
        return LargeResponse(200, parts, "application/json", headers)

    def _named(self, outputs: list[Array]) -> list[tuple[str, Array]]:
        return list(zip(self.call.output_names, outputs, strict=True))


class _Plain(_Predict):
    """What most requests are: numbers for the one input of a model."""

    __slots__ = ("_value",)

    def __init__(self, servable: ServableRequest, body: bytes, value: Any, is_row: bool) -> None:
        self.servable = servable
        self.body = body
        self.is_row = is_row
        self._value = value

    def decode(self, handle: Handle, is_active: IsActive | None) -> bool:
        """See `InferenceRequest`."""
        try:
            call = handle.model.call(DEFAULT_SIGNATURE)
        except ServingError:
            return False  # there may be something to be said before
        if call is None or call.only_input is None:
            return False
        array = plain_array(self._value, call.only_input, len(self.body))
        if array is None:
            return False
        self.call = call
        self.handle = handle
        self.start = call.start
        self.feeds = [array]
        self.meter = call.meters[_PREDICT]
        return True


class _Inputs(_Predict):
    """Any predict request."""

    __slots__ = ("_document", "_is_method_checked", "signature_name")

    def __init__(
        self,
        servable: ServableRequest,
        body: bytes,
        document: Document,
        *,
        is_method_checked: bool,
    ) -> None:
        self.servable = servable
        self.body = body
        self._document: Document | None = document
        self.signature_name = document.signature_name
        self._is_method_checked = is_method_checked

    def decode(self, handle: Handle, is_active: IsActive | None) -> bool:
        """See `InferenceRequest`."""
        model = handle.model
        name = self.signature_name or DEFAULT_SIGNATURE
        signature = model.signatures.get(name)
        if signature is None:
            raise InvalidArgument(
                f'Serving signature name: "{name}" not found in signature def',
                hint=signatures_hint(model.signatures),
            )
        assert self._document is not None
        arrays, self.is_row = self._document.predict_inputs(self.signature_name, signature)
        self._document = None  # which is many times as large
        if self._is_method_checked:
            check_predict_signature(signature)
        call = model.call(name)
        assert call is not None  # the signature is there
        self.call = call
        self.runs(handle, call, arrays, _PREDICT)
        return True


class _OfExamples(_JsonRequest):
    """Classify or Regress."""

    __slots__ = ("_examples", "_is_method_checked", "method", "signature_name")

    method: Literal["classify", "regress"]

    def __init__(
        self,
        method: Literal["classify", "regress"],
        servable: ServableRequest,
        body: bytes,
        document: Document,
        *,
        is_method_checked: bool,
    ) -> None:
        super().__init__(servable, body)
        self.method = method
        self._examples = document.examples(method)
        self.signature_name = document.signature_name
        self._is_method_checked = is_method_checked

    def decode(self, handle: Handle, is_active: IsActive | None) -> bool:
        """See `InferenceRequest`."""
        self.call, feeds = examples_call(
            handle.model,
            self.method,
            self.signature_name,
            self._examples,
            is_method_checked=self._is_method_checked,
        )
        self.runs(handle, self.call, feeds, (self.method, "REST"))
        return True

    def encode(self, outputs: list[Array]) -> HttpResponse:
        """See `InferenceRequest`."""
        named = dict(zip(self.call.output_names, outputs, strict=True))
        count = len(self._examples)
        if self.method == "classify":
            return self.respond(encode_classify(classify_result(named, count)))
        return self.respond(encode_regress(regress_result(named, count)))

    def content(self, outputs: dict[str, Array]) -> Examples:
        """See `_JsonRequest`."""
        return Examples(self._examples, outputs)
