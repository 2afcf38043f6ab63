"""The routes of a cloud's contract: whether the server is ready, and predictions.

What is posted is a call of TensorFlow Serving's REST API, or a form of one that `forms` rewrites.
"""

import os
import re
from collections.abc import Callable, Coroutine
from typing import Any, Final

from salver.config.cloud import SAGEMAKER, Contract, read_contract
from salver.config.options import schedulable_cpus
from salver.errors import InvalidArgument, NotFound, ServingError
from salver.inference.later import Later
from salver.inference.serving import Serving
from salver.instruments.threads import InPool
from salver.metrics.outcomes import Outcomes
from salver.protocols.api import Api, ApiParts, RestRoute
from salver.protocols.rest_errors import error_page
from salver.tfs.cloud.forms import (
    JSON,
    UnknownForm,
    attributes_of,
    is_call,
    media_type,
    sagemaker_body,
    vertex_body,
    wanted_type,
)
from salver.tfs.rest.api import failed_response
from salver.tfs.rest.calls import InferenceCalls
from salver.transport.messages import HttpRequest, HttpResponse
from salver.vocabulary.access import Verb
from salver.vocabulary.requests import ServableRequest

__all__ = ["CloudApi", "make_api"]

Answer = HttpResponse | Coroutine[Any, Any, HttpResponse]
_Call = Callable[[bytes, ServableRequest, float | None], Answer]

_QUERY: Final = r"(?:\?.*)?"
_GET: Final = ("GET", "HEAD")
_GREATEST_VERSION: Final = 2**63 - 1
_MOST_DIGITS: Final = len(str(_GREATEST_VERSION))
_LARGEST_MB: Final = 100  # that SageMaker's batch transform ever sends
_SHORT_BYTES: Final = 1 << 14  # that are rewritten in the loop


def make_api(parts: ApiParts) -> Api | None:
    """The routes of the contract that the flags ask for."""
    options = parts.configuration.options
    contract = read_contract(options.cloud_contract, os.environ)
    if contract is None:
        return None
    calls = InferenceCalls(
        parts.models,
        in_pool=parts.in_pool,
        timeout_s=None,
        is_method_checked=options.enable_signature_method_name_check,
        logs=parts.logs,
        tracer=parts.tracer,
    )
    return CloudApi(
        contract,
        parts.models,
        calls,
        parts.metrics.outcomes,
        in_pool=parts.in_pool,
        unready=parts.unready,
        max_request_bytes=options.max_request_bytes,
    ).api()


class CloudApi:
    """Answers what a cloud asks for. Belongs to the loop."""

    def __init__(
        self,
        contract: Contract,
        serving: Serving,
        calls: InferenceCalls,
        outcomes: Outcomes,
        *,
        in_pool: InPool,
        unready: Callable[[], str | None],
        max_request_bytes: int,
    ) -> None:
        """Make it.

        Args:
            contract: says by which paths, and which model is meant where none is named.
            serving: knows the models.
            calls: answer the calls.
            outcomes: counts what fails.
            in_pool: runs what takes long for the loop.
            unready: why this server should get no traffic now, or None.
            max_request_bytes: the largest body.
        """
        self._contract = contract
        self._serving = serving
        self._outcomes = outcomes
        self._in_pool = in_pool
        self._unready = unready
        self._largest_mb = max(1, min(_LARGEST_MB, max_request_bytes >> 20))
        self._calls: dict[str, _Call] = {
            "predict": calls.predict,
            "classify": calls.classify,
            "regress": calls.regress,
        }
        self._is_sagemaker = contract.name == SAGEMAKER

    def api(self) -> Api:
        """Its table."""
        health, predict = self._contract.health_route, self._contract.predict_route
        answer = self._invoke if self._is_sagemaker else self._predict
        routes = [
            RestRoute(
                re.escape(health) + _QUERY,
                self._health,
                _GET,
                verb=Verb.HEALTH,
                is_filtered=True,
            ),
            RestRoute(
                re.escape(predict) + _QUERY,
                answer,
                ("POST",),
                verb=Verb.PREDICT,
                named_by=self._named_model,
            ),
        ]
        if self._is_sagemaker:
            path = f"/execution-parameters{_QUERY}"
            routes.append(
                RestRoute(
                    path,
                    self._execution_parameters,
                    _GET,
                    verb=Verb.METADATA,
                    is_filtered=True,
                )
            )
        return Api(routes=tuple(routes), rest_failed=self._failed)

    # -- what is asked for -----------------------------------------------------------------------

    def _health(self, _request: HttpRequest) -> HttpResponse:
        problem = self._unready()
        if problem is not None:
            return error_page(503, problem)
        return HttpResponse(200, b"", None, (("Cache-Control", "no-store"),))

    def _execution_parameters(self, _request: HttpRequest) -> HttpResponse:
        """What SageMaker's batch transform asks before it begins."""
        text = (
            f'{{"MaxConcurrentTransforms":{schedulable_cpus()},"BatchStrategy":"MULTI_RECORD",'
            f'"MaxPayloadInMB":{self._largest_mb}}}'
        )
        return HttpResponse(200, text.encode())

    def _predict(self, request: HttpRequest) -> Answer:
        """Vertex AI."""
        call, body = self._calls["predict"], request.body
        return self._rewritten(request, call, lambda: vertex_body(body))

    def _invoke(self, request: HttpRequest) -> Answer:
        """SageMaker."""
        method = _attributes(request).get("tfs-method", "predict")
        call = self._calls.get(method)
        if call is None:
            raise InvalidArgument(f"tfs-method={method} is none of {', '.join(self._calls)}")
        kind, body = media_type(request.header(b"content-type")), request.body
        if kind == JSON and is_call(body):
            answer = call(body, self._servable(request), request.timeout_s)
        else:
            answer = self._rewritten(request, call, lambda: sagemaker_body(kind, body))
        wanted = wanted_type(request.header(b"accept"))
        return answer if wanted == JSON else _of_type(answer, wanted)

    # -- within ----------------------------------------------------------------------------------

    def _rewritten(self, request: HttpRequest, call: _Call, rewrite: Callable[[], bytes]) -> Answer:
        """The answer to what a body is rewritten to, in the pool where that is long."""
        if len(request.body) <= _SHORT_BYTES:
            return call(rewrite(), self._servable(request), request.timeout_s)
        return self._rewritten_in_pool(request, call, rewrite)

    async def _rewritten_in_pool(
        self, request: HttpRequest, call: _Call, rewrite: Callable[[], bytes]
    ) -> HttpResponse:
        body = await self._in_pool(rewrite, len(request.body))
        answer = call(body, self._servable(request), request.timeout_s)
        return answer if isinstance(answer, HttpResponse) else await answer

    def _named_model(self, request: HttpRequest) -> ServableRequest | None:
        """The model that a request means; None where there is none.

        What is wrong with its name is said by `_servable`, after every interceptor: who may not ask
        is told no more than that.
        """
        try:
            return self._model_of(request)
        except ServingError:
            return None

    def _servable(self, request: HttpRequest) -> ServableRequest:
        """The model that `_named_model` has found; raises as `_model_of` where there is none."""
        return self._model_of(request) if request.servable is None else request.servable

    def _model_of(self, request: HttpRequest) -> ServableRequest:
        """The model that a request means: by SageMaker's attributes, or else the default.

        Raises:
            InvalidArgument: the version is none.
            NotFound: there is no model.
        """
        attributes = _attributes(request) if self._is_sagemaker else {}
        name = attributes.get("tfs-model-name") or self._contract.default_model
        if not name:
            names = self._serving.model_names()
            if not names:
                raise NotFound("This server has no models")
            name = names[0]
        digits = attributes.get("tfs-model-version", "")
        if not digits:
            return ServableRequest(name)
        is_number = digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS
        if not is_number or int(digits) > _GREATEST_VERSION:
            raise InvalidArgument(f"tfs-model-version={digits} is no version")
        return ServableRequest(name, int(digits))

    def _failed(self, request: HttpRequest, error: BaseException) -> HttpResponse:
        name = "" if request.servable is None else request.servable.name
        response = failed_response(self._outcomes, name, error)
        if isinstance(error, UnknownForm):
            response.status = 415
        return response


def _attributes(request: HttpRequest) -> dict[str, str]:
    return attributes_of(request.header(b"x-amzn-sagemaker-custom-attributes"))


def _of_type(answer: Answer, kind: str) -> Answer:
    """The same answer with another media type."""
    if isinstance(answer, HttpResponse):
        answer.content_type = kind
        return answer
    return Later(_later_of_type(answer, kind), answer.close)


async def _later_of_type(answer: Coroutine[Any, Any, HttpResponse], kind: str) -> HttpResponse:
    response = await answer
    response.content_type = kind
    return response
