"""Spans, made of what was noted of a request, or of a load. Pure; in the thread that exports them.

Names and attributes are those of OpenTelemetry's semantic conventions where it has some, else they
begin with `salver.`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from salver.errors import Code
from salver.instruments.redaction import redacted
from salver.tracing.request import Batch, RequestTrace
from salver.tracing.stages import Stage, stages_of

__all__ = ["Span", "Work", "spans_of", "spans_of_work"]

Value = str | int | float | bool

_MODEL: Final = re.compile(
    r"(?P<before>/v[12]/(?:repository/)?models/|/admin/v1/models/)[^/:]+"
    r"(?P<version>/(?:versions|labels)/[^/:]+)?(?P<after>.*)"
)
_CALLS: Final = frozenset(
    (
        *(":predict", ":classify", ":regress", "/metadata", ":clear_quarantine"),
        *("/infer", "/generate", "/generate_stream", "/ready", "/config", "/stats"),
        *("/trace/setting", "/load", "/unload", "/batching", ":reload", ":load", ":unload"),
    )
)
"""What follows the name of a model. Of a request that was refused anything else is an invention."""

_LONGEST_ROUTE: Final = 64


@dataclass(frozen=True, slots=True)
class Span:
    """A span as it is exported.

    Attributes:
        parent_id: 0 for the first of its trace.
        is_server: whether it answers somebody else's call.
        begin_ns: since the epoch.
        error: what it failed with; None where it did not.
        links: (trace, span) of others.
    """

    name: str
    trace_id: int
    span_id: int
    parent_id: int
    begin_ns: int
    end_ns: int
    is_server: bool = False
    is_parent_remote: bool = False
    error: str | None = None
    attributes: Mapping[str, Value] = field(default_factory=dict)
    links: tuple[tuple[int, int], ...] = ()
    trace_state: str = ""


@dataclass(frozen=True, slots=True)
class Work:
    """What the server did of itself: a load, or a fetch.

    Attributes:
        name: `load` or `fetch`.
        begun_s: by `time.perf_counter`; so is `ended_s`.
        is_failure: whether it came to nothing.
    """

    name: str
    begun_s: float
    ended_s: float
    is_failure: bool
    attributes: Mapping[str, Value]


NewId = Callable[[], int]
"""Gives the id of a span: 64 bits, not 0."""


def spans_of(trace: RequestTrace, epoch_ns: int, new_id: NewId) -> list[Span]:
    """The span of a request, those of its stages, and of batches that are told with it.

    Args:
        trace: it has ended.
        epoch_ns: of `time.perf_counter` 0, in nanoseconds since the epoch.
        new_id: see there.
    """

    def at(moment_s: float) -> int:
        return epoch_ns + int(moment_s * 1e9)

    parent = trace.parent
    spans = [
        Span(
            _name(trace),
            trace.trace_id,
            trace.span_id,
            0 if parent is None else parent.span_id,
            at(trace.begun_s),
            at(trace.ended_s),
            is_server=True,
            is_parent_remote=parent is not None,
            error=_error(trace),
            attributes=_attributes(trace),
            trace_state=trace.trace_state,
        )
    ]
    for stage in stages_of(trace):
        is_run = stage.name == "run"
        batches = [each for each in trace.batches if each.span_id] if is_run else []
        spans.append(
            Span(
                stage.name,
                trace.trace_id,
                new_id(),
                trace.span_id,
                at(stage.begin_s),
                at(stage.end_s),
                attributes=_of_stage(trace, stage),
                links=tuple((each.trace_id, each.span_id) for each in batches),
                trace_state=trace.trace_state,
            )
        )
    # A batch is told once, with the first of its requests that is traced.
    own = (trace.trace_id, trace.span_id)
    spans += [_of_batch(trace, each, at) for each in trace.batches if own in each.links[:1]]
    return spans


def spans_of_work(work: Work, epoch_ns: int, trace_id: int, new_id: NewId) -> list[Span]:
    """A trace of its own."""
    begin_ns, end_ns = (epoch_ns + int(at_s * 1e9) for at_s in (work.begun_s, work.ended_s))
    error = f"the {work.name} failed" if work.is_failure else None
    made = Span(
        *(work.name, trace_id, new_id(), 0, begin_ns, end_ns),
        error=error,
        attributes=work.attributes,
    )
    return [made]


def _of_batch(trace: RequestTrace, batch: Batch, at: Callable[[float], int]) -> Span:
    return Span(
        "batch",
        batch.trace_id,
        batch.span_id,
        trace.span_id,
        at(batch.begun_s),
        at(max(batch.begun_s, batch.ended_s or trace.ended_s)),
        attributes={
            "salver.model.name": trace.model,
            "salver.batch.tasks": batch.tasks,
            "salver.batch.rows": batch.rows,
            "salver.batch.execution_rows": batch.execution_rows,
        },
        links=batch.links[1:],
        trace_state=trace.trace_state,
    )


def _name(trace: RequestTrace) -> str:
    if trace.protocol == "GRPC":
        return trace.target.removeprefix("/")
    route = _route(trace)
    return f"{trace.method} {route}" if route else trace.method


def _route(trace: RequestTrace) -> str:
    """The path without what clients choose; empty for a path that may be anybody's invention."""
    found = _MODEL.fullmatch(trace.target)
    if found is None:
        is_known = trace.status not in (404, 405) and len(trace.target) <= _LONGEST_ROUTE
        return trace.target if is_known and trace.status < 400 else ""
    version = found["version"]
    kept = "" if version is None else f"/{version.split('/')[1]}/{{version}}"
    is_answered = 0 < trace.status < 400 and len(found["after"]) <= _LONGEST_ROUTE
    after = found["after"] if is_answered or found["after"] in _CALLS else ""
    is_known = trace.status not in (404, 405) or bool(trace.model)
    return f"{found['before']}{{model}}{kept}{after}" if is_known else ""


def _error(trace: RequestTrace) -> str | None:
    if not trace.is_failure:
        return None
    if trace.protocol == "GRPC":
        return Code(trace.status).name
    try:
        return HTTPStatus(trace.status).phrase
    except ValueError:
        return str(trace.status)


def _attributes(trace: RequestTrace) -> dict[str, Value]:
    made: dict[str, Value] = {}
    if trace.protocol == "GRPC":
        service, _, method = trace.target.removeprefix("/").partition("/")
        made |= {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
        made["rpc.grpc.status_code"] = trace.status
    else:
        made |= {"http.request.method": trace.method, "url.path": redacted(trace.target)}
        if route := _route(trace):
            made["http.route"] = route
        if trace.status:
            made["http.response.status_code"] = trace.status
    if trace.is_failure:
        made["error.type"] = (
            Code(trace.status).name if trace.protocol == "GRPC" else str(trace.status)
        )
    if trace.model:
        made["salver.model.name"] = redacted(trace.model)
    if trace.version is not None:
        made["salver.model.version"] = trace.version
    if trace.messages >= 0:
        made["salver.messages"] = trace.messages
    if trace.reason:
        made["salver.kept_because"] = trace.reason
    return made


def _of_stage(trace: RequestTrace, stage: Stage) -> dict[str, Value]:
    if stage.name != "run":
        return {}
    if trace.batches:
        rows = sum(batch.rows for batch in trace.batches)
        return {"salver.placement": "batch", "salver.batch.rows": rows}
    if trace.ran is not None and trace.ran[3]:
        return {"salver.placement": "inline"}
    return {}
