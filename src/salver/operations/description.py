"""What this room answers over REST, as OpenAPI describes it."""

from collections.abc import Sequence
from typing import Any, Final

from salver.instruments.log_level import LEVELS
from salver.openapi.description import ApiDescription, Operation
from salver.openapi.parts import errors, json_answer, json_body, parameter, ref, text_answer

__all__ = [
    "describe_administration",
    "describe_document",
    "describe_health",
    "describe_log_level",
    "describe_metrics",
    "describe_slow_requests",
]

_ADMINISTRATIVE: Final = (
    "Answered on the gRPC port by HTTP/1.1; on the REST port only where gRPC has none."
)
_HEALTH: Final = {"name": "Health", "description": "For those who start and watch servers."}
_SERVER: Final = {"name": "Server", "description": "Of the server itself."}


def _get(id: str, summary: str, tag: str, responses: Any, **more: Any) -> dict[str, Any]:
    return {
        "operationId": id,
        "summary": summary,
        "tags": [tag],
        **more,
        "responses": {**responses, **errors()},
    }


def describe_health() -> ApiDescription:
    """The routes under `/healthz/`."""
    ok = json_answer("It is so.", ref("Health"))
    unready = json_answer("It is not; `reason` says why.", ref("Health"))
    ready = _get("ready", "Whether it should get traffic", "Health", {"200": ok})
    ready["responses"]["503"] = unready
    return ApiDescription(
        operations=(
            Operation(
                method="get",
                path="/healthz/live",
                about=_get("live", "Whether the server lives", "Health", {"200": ok}),
            ),
            Operation(method="get", path="/healthz/ready", about=ready),
        ),
        schemas={
            "Health": {
                "type": "object",
                "required": ["status"],
                "properties": {
                    "status": {"enum": ["ok", "unavailable"]},
                    "reason": {"type": "string"},
                },
            }
        },
        tags=(_HEALTH,),
    )


def describe_metrics(paths: Sequence[str]) -> ApiDescription:
    """The page of metrics under each of its paths."""
    page = text_answer("Counters and histograms in Prometheus' text format.")
    return ApiDescription(
        operations=[
            Operation(
                method="get",
                path=path,
                about=_get(
                    "metrics" if at == 0 else f"metrics_{at + 1}",
                    "Counters and histograms for Prometheus",
                    "Server",
                    {"200": page},
                ),
            )
            for at, path in enumerate(paths)
        ]
    )


def describe_administration() -> ApiDescription:
    """The calls under `/admin/v1/`."""
    cleared = {
        "type": "object",
        "required": ["name", "cleared_versions"],
        "properties": {
            "name": {"type": "string"},
            "cleared_versions": {"type": "array", "items": {"type": "integer"}},
        },
    }
    about = {
        "operationId": "clear_quarantine",
        "summary": "Serve a model again that ended its process",
        "description": _ADMINISTRATIVE,
        "tags": ["Server"],
        "parameters": [parameter("name", "Name of a model.")],
        "responses": {
            "200": json_answer("The versions that are brought back.", cleared),
            **errors(404, 405),
        },
    }
    return ApiDescription(
        operations=(
            Operation(method="post", path="/admin/v1/models/{name}:clear_quarantine", about=about),
        )
    )


def describe_log_level() -> ApiDescription:
    """Reading and setting the level of the log."""
    level = {
        "type": "object",
        "required": ["level"],
        "properties": {"level": {"enum": list(LEVELS)}},
    }
    answer = {"200": json_answer("What is logged from this level up.", ref("LogLevel"))}
    setting = {
        "description": f"Until the server ends. {_ADMINISTRATIVE}",
        "requestBody": json_body(ref("LogLevel"), [("more", {"level": "debug"})]),
    }
    get = _get("log_level", "The level of the log", "Server", answer, description=_ADMINISTRATIVE)
    put = _get("set_log_level", "Set the level of the log", "Server", answer, **setting)
    put["responses"].update(errors(400))
    return ApiDescription(
        operations=(
            Operation(method="get", path="/admin/v1/log_level", about=get),
            Operation(method="put", path="/admin/v1/log_level", about=put),
        ),
        schemas={"LogLevel": level},
    )


def describe_slow_requests() -> ApiDescription:
    """What is told of slow requests."""
    seconds = {"type": "number", "minimum": 0}
    stage = {
        "type": "object",
        "required": ["name", "seconds"],
        "properties": {
            "name": {"enum": ["wait", "load", "read", "queue", "run", "write"]},
            "seconds": seconds,
        },
    }
    number = {"type": "integer"}
    batch = {
        "type": "object",
        "properties": {"tasks": number, "rows": number, "execution_rows": number},
    }
    text = {"type": "string"}
    request = {
        "type": "object",
        "required": ["time", "protocol", "target", "status", "seconds", "stages"],
        "properties": {
            "time": {"type": "string", "format": "date-time"},
            "protocol": {"enum": ["REST", "GRPC"]},
            "method": text,
            "target": text,
            "status": {"type": "integer", "description": "Of HTTP, or gRPC's code."},
            "seconds": seconds,
            "model": text,
            "version": {"type": ["integer", "null"]},
            "stages": {"type": "array", "items": stage},
            "batches": {"type": "array", "items": batch},
            "trace_id": text,
        },
    }
    told = {
        "type": "object",
        "required": ["slow_request_ms", "requests"],
        "properties": {
            "slow_request_ms": {"type": "integer", "description": "0: none is slow."},
            "requests": {"type": "array", "items": request},
        },
    }
    answer = {"200": json_answer("The newest first.", ref("SlowRequests"))}
    about = _get("slow_requests", "The last slow requests, with their stages", "Server", answer)
    return ApiDescription(
        operations=(Operation(method="get", path="/admin/v1/slow_requests", about=about),),
        schemas={"SlowRequests": told},
    )


def describe_document() -> ApiDescription:
    """The document of this all."""
    document = {
        "type": "object",
        "required": ["openapi", "info", "paths"],
        "properties": {
            "openapi": {"type": "string"},
            "info": {"type": "object"},
            "paths": {"type": "object"},
        },
    }
    about = _get(
        "openapi",
        "This document",
        "Server",
        {
            "200": json_answer(
                "OpenAPI 3.1.",
                document,
                headers={"ETag": {"schema": {"type": "string"}}},
            ),
            "304": {"description": "It is as `If-None-Match` says."},
        },
        parameters=[
            parameter("model", "Describe this model alone.", at="query"),
        ],
    )
    about["responses"].update(errors(404))
    return ApiDescription(
        operations=(Operation(method="get", path="/openapi.json", about=about),), tags=(_SERVER,)
    )
