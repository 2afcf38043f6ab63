"""TensorFlow Serving's API, REST and gRPC, of the parts of a server."""

from dataclasses import replace
from typing import Final

from salver.protocols.api import Api, ApiParts
from salver.tfs.rest.api import ServingApi
from salver.tfs.rest.calls import InferenceCalls
from salver.tfs.rpc.counted import failure_counters, named_servable
from salver.tfs.rpc.models import ModelService
from salver.tfs.rpc.prediction import PredictionService
from salver.tfs.rpc.session import SessionService
from salver.vocabulary.access import Verb

__all__ = ["VERBS", "make_api"]

_PREDICTION: Final = "/tensorflow.serving.PredictionService"

VERBS: Final = {
    f"{_PREDICTION}/Predict": Verb.PREDICT,
    f"{_PREDICTION}/Classify": Verb.PREDICT,
    f"{_PREDICTION}/Regress": Verb.PREDICT,
    f"{_PREDICTION}/MultiInference": Verb.PREDICT,
    f"{_PREDICTION}/GetModelMetadata": Verb.METADATA,
    "/tensorflow.serving.ModelService/GetModelStatus": Verb.METADATA,
}
"""What the methods of gRPC do; the others administer the server."""


def make_api(parts: ApiParts) -> Api:
    """Its routes and its services, with the SessionService where the flags ask for it."""
    options, metrics = parts.configuration.options, parts.metrics
    is_method_checked = options.enable_signature_method_name_check
    as_content = options.enable_serialization_as_tensor_content
    calls = InferenceCalls(
        parts.models,
        in_pool=parts.in_pool,
        timeout_s=None,
        is_method_checked=is_method_checked,
        logs=parts.logs,
        tracer=parts.tracer,
    )
    rest = ServingApi(
        parts.models,
        calls,
        metrics.outcomes,
        is_cors_enabled=options.rest_api_enable_cors_support,
        is_shown=parts.is_shown,
        forwarder=parts.forwarder,
    )
    prediction = PredictionService(
        parts.models,
        in_pool=parts.in_pool,
        is_method_checked=is_method_checked,
        as_content=as_content,
        logs=parts.logs,
        count_examples=metrics.examples_seen,
        tracer=parts.tracer,
    )
    methods = {
        **prediction.methods(),
        **ModelService(
            parts.models,
            parts.models.apply,
            parts.in_control,
            totals=metrics.totals,
        ).methods(),
    }
    if options.enable_session_service:
        sessions = SessionService(
            parts.models,
            in_pool=parts.in_pool,
            as_content=as_content,
            logs=parts.logs,
            tracer=parts.tracer,
        )
        methods.update(sessions.methods())
    return replace(
        rest.api(),
        methods=methods,
        administrative=(
            "/tensorflow.serving.ModelService/HandleReloadConfigRequest",
            "/tensorflow.serving.SessionService/",
        ),
        verbs=VERBS,
        call_failed=failure_counters(metrics.outcomes),
        servable_of=named_servable,
        alike=prediction.alike,
    )
