"""The Open Inference Protocol, of the parts of a server."""

from functools import partial

from salver.oip.facts import ServedFacts
from salver.oip.labels import ModelLabels
from salver.oip.rest.api import CORS, RestApi
from salver.oip.rest.generate import GenerateCalls
from salver.oip.rest.infer import InferCalls
from salver.oip.rest.models import ModelCalls
from salver.oip.rpc.counted import failure_counters, named_servable
from salver.oip.rpc.service import FILTERED, SERVICE, VERBS, inference_methods
from salver.oip.rpc.stream import MODEL_STREAM_INFER, ModelStream
from salver.oip.serving import OipServing
from salver.openapi.description import ApiDescription
from salver.protocols.api import Api, ApiParts
from salver.protocols.labels import parse_labels_flag
from salver.protocols.methods import Stream
from salver.protocols.version_files import base_path_of

__all__ = ["make_api"]


def make_api(parts: ApiParts) -> Api | None:
    """Its routes and its services; None where the flags turn it off.

    Raises:
        InvalidArgument: `--labels_file` makes no sense.
    """
    options = parts.configuration.options
    if not options.enable_open_inference_protocol:
        return None
    serving = OipServing(parts.models)
    labels = ModelLabels(
        parse_labels_flag(options.labels_file), partial(base_path_of, parts.models)
    )
    inference = parts.inference(serving)
    rest = RestApi(
        serving,
        InferCalls(inference, parts.in_pool, labels),
        parts.metrics.outcomes,
        parts.unready,
    )
    generate = GenerateCalls(inference, rest.failed, labels)
    calls = parts.inference(serving, is_deadline=True)
    facts = ServedFacts(parts, serving)
    methods = inference_methods(serving, calls, parts.unready, facts, labels)
    failed = failure_counters(SERVICE, parts.metrics.outcomes)
    stream = ModelStream(calls, labels, failed[f"{SERVICE}/ModelInfer"], parts.forwarder)
    return Api(
        routes=tuple(rest.routes(*ModelCalls(facts, parts.in_pool).routes(), *generate.routes())),
        methods={**methods, MODEL_STREAM_INFER: Stream(stream, has_guarded_messages=True)},
        verbs=VERBS,
        filtered=FILTERED,
        call_failed=failed,
        servable_of=named_servable,
        headers=CORS if options.rest_api_enable_cors_support else (),
        rest_failed=rest.failed,
        refresh=labels.forget,
        describe=_describe,
    )


def _describe() -> ApiDescription:
    from salver.oip.rest.description import describe  # for those who ask for the document

    return describe()
