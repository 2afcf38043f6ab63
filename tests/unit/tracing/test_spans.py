import itertools

import pytest

from salver.errors import Code
from salver.tracing.parent import Parent
from salver.tracing.request import Batch, RequestTrace
from salver.tracing.spans import Span, Work, spans_of, spans_of_work
from salver.vocabulary.servable import ServableId

TRACE, SPAN = 0xABC, 0xDEF
SECRET = "x" * 32
KEY = f"salver_shop_{SECRET}"


def rest(target: str = "/v1/models/m:predict", status: int = 200) -> RequestTrace:
    trace = RequestTrace()
    trace.begun_s, trace.ended_s = 1.0, 2.0
    trace.trace_id, trace.span_id = TRACE, SPAN
    trace.protocol, trace.method, trace.target, trace.status = "REST", "POST", target, status
    trace.is_failure = status >= 500
    return trace


def spans(trace: RequestTrace) -> list[Span]:
    ids = itertools.count(1)
    return spans_of(trace, 1_000_000_000_000, lambda: next(ids))


def test_a_request_is_the_span_of_a_server_with_its_stages_within() -> None:
    trace = rest()
    trace.ran = (ServableId("m", 7), 1.0, 1.25, 1.75)
    whole, *stages = spans(trace)
    assert whole == Span(
        "POST /v1/models/{model}:predict",
        TRACE,
        SPAN,
        0,
        1_001_000_000_000,
        1_002_000_000_000,
        is_server=True,
        attributes={
            "http.request.method": "POST",
            "url.path": "/v1/models/m:predict",
            "http.route": "/v1/models/{model}:predict",
            "http.response.status_code": 200,
            "salver.model.name": "m",
            "salver.model.version": 7,
        },
    )
    assert [each.name for each in stages] == ["read", "run", "write"]
    assert {(each.trace_id, each.parent_id) for each in stages} == {(TRACE, SPAN)}
    assert stages[1].attributes == {"salver.placement": "inline"}
    assert stages[-1].end_ns == whole.end_ns


def test_its_parent_is_the_span_of_the_client() -> None:
    trace = rest()
    trace.parent = Parent(TRACE, 5, is_sampled=True)
    trace.trace_state = "a=b"
    whole = spans(trace)[0]
    assert (whole.parent_id, whole.is_parent_remote, whole.trace_state) == (5, True, "a=b")


@pytest.mark.parametrize(
    ("target", "status", "name"),
    [
        ("/v1/models/a%20b/versions/3:x", 200, "/v1/models/{model}/versions/{version}:x"),
        ("/v1/models/m/labels/stable:predict", 400, "/v1/models/{model}/labels/{version}:predict"),
        ("/v2/models/m/infer", 200, "/v2/models/{model}/infer"),
        ("/v2/repository/models/m/load", 200, "/v2/repository/models/{model}/load"),
        ("/v2/models/m/" + "x" * 100, 200, "/v2/models/{model}"),
        ("/metrics", 200, "/metrics"),
        ("/wp-login.php", 404, None),
        ("/v1/models/m/secrets", 404, None),
        ("/v1/models/m/secrets", 400, "/v1/models/{model}"),
        ("/v1/models/m:predict", 401, "/v1/models/{model}:predict"),
        ("/v1/models/m:anything", 0, "/v1/models/{model}"),
        ("/" + "a" * 100, 200, None),
    ],
)  # fmt: skip
def test_names_are_few_whatever_clients_ask_for(target: str, status: int, name: str | None) -> None:
    assert spans(rest(target, status))[0].name == ("POST" if name is None else f"POST {name}")


def test_a_key_in_the_path_is_in_no_attribute() -> None:
    trace = rest(f"/v1/models/{KEY}:predict", 403)
    trace.named = KEY
    whole = spans(trace)[0]
    assert whole.attributes["salver.model.name"] == "salver_shop_…"
    assert whole.attributes["url.path"] == "/v1/models/salver_shop_…:predict"
    assert SECRET not in str(spans(trace))


def test_a_fault_of_the_server_is_an_error_and_one_of_the_client_is_none() -> None:
    assert spans(rest(status=503))[0].error == "Service Unavailable"
    assert spans(rest(status=599))[0].error == "599"
    assert spans(rest(status=404))[0].error is None


def test_a_call_of_grpc_is_named_by_its_method() -> None:
    trace = rest("/tensorflow.serving.PredictionService/Predict", Code.UNAVAILABLE)
    trace.protocol, trace.method, trace.is_failure, trace.messages = "GRPC", "", True, 3
    (whole,) = spans(trace)
    assert whole.name == "tensorflow.serving.PredictionService/Predict"
    assert whole.error == "UNAVAILABLE"
    assert whole.attributes == {
        "rpc.system": "grpc",
        "rpc.service": "tensorflow.serving.PredictionService",
        "rpc.method": "Predict",
        "rpc.grpc.status_code": 14,
        "error.type": "UNAVAILABLE",
        "salver.messages": 3,
    }


def test_why_one_is_kept_that_was_not_sampled_is_said() -> None:
    trace = rest()
    trace.reason = "slow"
    assert spans(trace)[0].attributes["salver.kept_because"] == "slow"


def test_a_batch_is_told_with_its_first_request_and_linked_to_the_others() -> None:
    batch = Batch(1.5, 2, 3, 4, 1.75, trace_id=TRACE, span_id=77, links=((TRACE, SPAN), (9, 8)))
    trace, other = rest(), rest()
    other.trace_id, other.span_id = 9, 8
    told = []
    for each in (trace, other):
        each.ran, each.taken_s = (ServableId("m", 7), 1.0, 1.25, 0.0), 1.5
        each.batches = (batch,)
        told.append({span.name: span for span in spans(each)})
    assert "batch" not in told[1]
    own = told[0]["batch"]
    assert (own.trace_id, own.span_id, own.parent_id, own.links) == (TRACE, 77, SPAN, ((9, 8),))
    assert own.end_ns - own.begin_ns == 250_000_000
    assert own.attributes["salver.batch.execution_rows"] == 4
    for by_name in told:
        assert by_name["run"].links == ((TRACE, 77),)
        assert by_name["run"].attributes["salver.placement"] == "batch"


def test_a_load_is_a_trace_of_its_own() -> None:
    work = Work("load", 1.0, 1.5, True, {"salver.model.name": "m"})
    (span,) = spans_of_work(work, 0, 5, lambda: 6)
    assert (span.name, span.trace_id, span.span_id, span.parent_id) == ("load", 5, 6, 0)
    assert span.end_ns - span.begin_ns == 500_000_000
    assert span.error == "the load failed"
