"""Predict, Classify and Regress over REST: body → inputs → run → body."""

from collections.abc import Callable, Coroutine
from time import perf_counter
from typing import Any, Final, Literal

from salver.codecs.json_document import NotQuick, parse_document
from salver.codecs.json_plain import number_array, number_rows
from salver.codecs.json_response import (
    encode_classify,
    encode_number_rows,
    encode_predict,
    encode_regress,
)
from salver.errors import InvalidArgument, ServingError
from salver.hints import explain, signatures_hint
from salver.inference.examples import (
    check_classify_signature,
    check_regress_signature,
    classify_result,
    example_tensor,
    regress_result,
    unknown_signature,
)
from salver.inference.logged import NO_LOGS, CallLogs, Examples, Tensors, log_of_bodies
from salver.inference.predict import check_predict_signature
from salver.inference.running import LARGE_BYTES, Prepared, Running
from salver.inference.servable import SignatureCall
from salver.inference.serving import Handle, Serving
from salver.requests import Array, ServableRequest
from salver.rest.version_header import version_headers
from salver.signature import DEFAULT_SIGNATURE
from salver.threads import InPool
from salver.transport.messages import HttpResponse

__all__ = ["InferenceCalls"]

IsWanted = Callable[[], bool]
_PREDICT: Final = ("predict", "REST")
_PLAIN_BYTES: Final = 2000  # a longer body is better parsed by simdjson


class InferenceCalls:
    """Answers the three inference calls. Belongs to the loop."""

    def __init__(
        self,
        serving: Serving,
        *,
        in_pool: InPool,
        timeout_s: float | None,
        is_method_checked: bool = False,
        logs: CallLogs = NO_LOGS,
    ) -> None:
        """Make the calls.

        Args:
            serving: finds the servables.
            in_pool: runs a function in the run pool.
            timeout_s: how long one run of a model may take, None for ever
                (`--rest_api_timeout_in_ms`).
            is_method_checked: `--enable_signature_method_name_check`.
            logs: take the calls that are answered.
        """
        self._logs = logs
        self._serving = serving
        self._running = Running(in_pool)
        self._timeout_s = timeout_s
        self._is_method_checked = is_method_checked
        self._may_be_plain = not is_method_checked

    def predict(
        self, body: bytes, servable: ServableRequest
    ) -> HttpResponse | Coroutine[Any, Any, HttpResponse]:
        """POST …:predict.

        Raises:
            ServingError: also out of the awaitable.
        """
        begun_s = perf_counter()
        if len(body) < _PLAIN_BYTES and self._may_be_plain and not self._logs.loggers:
            rows = number_rows(body)
            if rows is not None:
                answer = self._predict_rows(rows, len(body), servable, begun_s)
                if answer is not None:
                    return answer
        if len(body) <= LARGE_BYTES:
            try:
                prepared = self._prepare_predict(body, servable, begun_s)
            except NotQuick:
                pass
            else:
                return self._running.small(prepared, self._timeout_s)
        return self._running.while_wanted(
            lambda is_wanted: self._prepare_predict(body, servable, begun_s, is_wanted),
            self._timeout_s,
            len(body),
        )

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
        begun_s = perf_counter()
        if len(body) <= LARGE_BYTES:
            try:
                prepared = self._prepare_examples(body, servable, begun_s, method)
            except NotQuick:
                pass
            else:
                return self._running.small(prepared, self._timeout_s)
        return self._running.while_wanted(
            lambda is_wanted: self._prepare_examples(body, servable, begun_s, method, is_wanted),
            self._timeout_s,
            len(body),
        )

    def _predict_rows(
        self, rows: list[Any], body_bytes: int, servable: ServableRequest, begun_s: float
    ) -> HttpResponse | Coroutine[Any, Any, HttpResponse] | None:
        """Answer what most requests are: rows of numbers for the one input of a model.

        It does what `_prepare_predict` and `Running.small` do for everything else, all in one go,
        which saves a quarter of a small request's time. None: they are to do it.
        """
        handle = self._serving.acquire(servable)
        try:
            call = handle.model.call(DEFAULT_SIGNATURE)
            array = None
            if call is not None and call.only_input is not None:
                array = number_array(rows, call.only_input, body_bytes)
        except ServingError:
            call = array = None  # there may be something to be said before
        except BaseException:
            handle.release()
            raise
        if call is None or array is None:
            handle.release()
            return None
        feeds = [array]
        run_begun = perf_counter()
        try:
            outputs = call.start(feeds, timeout_s=self._timeout_s, on_end=handle.release)
        except ServingError as error:
            error.version = handle.id.version
            explain(error, call.signature, feeds)
            raise
        meter = call.meters[_PREDICT]
        if type(outputs) is list and len(outputs) == 1 and outputs[0].nbytes <= LARGE_BYTES:
            run_s = perf_counter() - run_begun
            text = encode_number_rows(outputs[0])
            if text is not None:
                if meter is not None:
                    meter.succeeded(perf_counter() - begun_s, run_s)
                return HttpResponse(
                    200, text, "application/json", version_headers(handle.id.version)
                )
        encode = _encoder(call, handle.id.version, is_row=True)
        prepared = Prepared(handle, call.start, feeds, encode, meter, begun_s)
        return self._running.started(outputs, prepared, run_begun)

    def _prepare_predict(
        self,
        body: bytes,
        servable: ServableRequest,
        begun_s: float,
        is_wanted: IsWanted | None = None,
    ) -> Prepared[HttpResponse]:
        """Decode, and find what runs.

        Args:
            body: the request's.
            servable: as the path names it.
            begun_s: when it came, for the metrics.
            is_wanted: whether anybody still waits; None in the loop, where what is not quick to
                decode raises `NotQuick`.
        """
        document = parse_document(body, only_quickly=is_wanted is None, is_wanted=is_wanted)
        name = document.signature_name or DEFAULT_SIGNATURE
        handle = self._serving.acquire(servable)
        try:
            signatures = handle.model.signatures
            signature = signatures.get(name)
            if signature is None:
                raise InvalidArgument(  # noqa: TRY301 - the handle must be let go
                    f'Serving signature name: "{name}" not found in signature def',
                    hint=signatures_hint(signatures),
                )
            inputs = document.predict_inputs(document.signature_name, signature)
            if self._is_method_checked:
                check_predict_signature(signature)
            call = handle.model.call(name)
            assert call is not None  # the signature is there
        except BaseException as error:
            _let_go(handle, error)
            raise
        names = call.output_names
        encode = _encoder(call, handle.id.version, is_row=inputs.is_row)
        log = None
        if self._logs.loggers:
            log = log_of_bodies(
                self._logs,
                "predict",
                servable,
                handle.id.version,
                document.signature_name,
                body,
                lambda outputs: Tensors(
                    dict(zip(signature.inputs, inputs.arrays, strict=True)),
                    dict(zip(names, outputs, strict=True)),
                ),
            )
        return Prepared(
            handle, call.start, inputs.arrays, encode, call.meters[_PREDICT], begun_s, log
        )

    def _prepare_examples(
        self,
        body: bytes,
        servable: ServableRequest,
        begun_s: float,
        method: Literal["classify", "regress"],
        is_wanted: IsWanted | None = None,
    ) -> Prepared[HttpResponse]:
        document = parse_document(body, only_quickly=is_wanted is None, is_wanted=is_wanted)
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
        except BaseException as error:
            _let_go(handle, error)
            raise
        names, count = call.output_names, len(examples)
        headers = version_headers(handle.id.version)

        def encode(outputs: list[Array]) -> HttpResponse:
            named = dict(zip(names, outputs, strict=True))
            if method == "classify":
                text = encode_classify(classify_result(named, count))
            else:
                text = encode_regress(regress_result(named, count))
            return HttpResponse(200, text, "application/json", headers)

        log = None
        if self._logs.loggers:
            log = log_of_bodies(
                self._logs,
                method,
                servable,
                handle.id.version,
                document.signature_name,
                body,
                lambda outputs: Examples(examples, dict(zip(names, outputs, strict=True))),
            )
        meter = call.meters[method, "REST"]
        return Prepared(handle, call.start, feeds, encode, meter, begun_s, log)


def _encoder(
    call: SignatureCall, version: int, *, is_row: bool
) -> Callable[[list[Array]], HttpResponse]:
    names, headers = call.output_names, version_headers(version)

    def encode(outputs: list[Array]) -> HttpResponse:
        text = encode_predict(list(zip(names, outputs, strict=True)), is_row)
        return HttpResponse(200, text, "application/json", headers)

    return encode


def _let_go(handle: Handle, error: BaseException) -> None:
    if isinstance(error, ServingError):
        error.version = handle.id.version
    handle.release()
