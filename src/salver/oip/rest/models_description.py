"""What REST tells of models, and does to them, as OpenAPI describes it."""

from collections.abc import Iterator
from typing import Any, Final

from salver.openapi.description import Object, Operation
from salver.openapi.parts import errors, json_answer, json_body, parameter, ref

__all__ = ["MODELS_SCHEMAS", "models_operations"]

_TEXT: Final = {"type": "string"}
_NAME: Final = parameter("name", "Name of a model.")
_STATES: Final = ["READY", "LOADING", "UNLOADING", "UNAVAILABLE"]

_LOG_SETTINGS: Final = {
    "log_info": {"type": "boolean"},
    "log_warning": {"type": "boolean"},
    "log_error": {"type": "boolean"},
    "log_verbose_level": {"type": "integer", "minimum": 0},
    "log_format": _TEXT,
    "log_file": _TEXT,
}

MODELS_SCHEMAS: Final[dict[str, Object]] = {
    "ModelList": {
        "type": "object",
        "required": ["models"],
        "properties": {"models": {"type": "array", "items": _TEXT}},
    },
    "RepositoryIndex": {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": _TEXT,
                "version": _TEXT,
                "state": {"type": "string", "enum": _STATES},
                "reason": _TEXT,
            },
        },
    },
    "ModelStatistics": {
        "type": "object",
        "required": ["model_stats"],
        "properties": {
            "model_stats": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name", "version", "inference_count", "inference_stats"],
                    "properties": {
                        "name": _TEXT,
                        "version": _TEXT,
                        "inference_count": {"type": "integer", "minimum": 0},
                        "execution_count": {"type": "integer", "minimum": 0},
                        "inference_stats": {"type": "object"},
                        "batch_stats": {"type": "array", "items": {"type": "object"}},
                    },
                },
            }
        },
    },
    "ModelConfiguration": {
        "type": "object",
        "required": ["name", "platform", "backend", "max_batch_size", "input", "output"],
        "properties": {
            "name": _TEXT,
            "platform": _TEXT,
            "backend": _TEXT,
            "max_batch_size": {"type": "integer", "minimum": 0},
            "input": {"type": "array", "items": {"type": "object"}},
            "output": {"type": "array", "items": {"type": "object"}},
        },
    },
    "TraceSettings": {
        "type": "object",
        "required": ["trace_level"],
        "properties": {"trace_level": {"type": "array", "items": _TEXT}},
    },
    "LogSettings": {
        "type": "object",
        "required": ["log_info", "log_warning", "log_error"],
        "properties": _LOG_SETTINGS,
    },
}

_READY: Final = {
    "type": "object",
    "properties": {"ready": {"type": "boolean", "description": "Only those that answer."}},
}
_ACTS: Final = (
    ("load", "Load a model that the configuration names", "It answers requests."),
    ("unload", "Withdraw all versions of a model", "No request holds it any more."),
)


def models_operations(which: Any, about: Any) -> Iterator[Operation]:
    """On lists of models, their repository, statistics, configurations and settings.

    Args:
        which: see `description.WHICH`.
        about: see `description.about`.
    """

    def get(
        path: str, id: str, summary: str, parameters: Any, schema: str, *more: int
    ) -> Operation:
        answers = {"200": json_answer("What it says.", ref(schema)), **errors(*more)}
        return Operation(method="get", path=path, about=about(id, summary, parameters, answers))

    yield get("/v2/models", "models", "Names of the models", (), "ModelList")
    yield get("/v2/models/stats", "stats", "Statistics of all models", (), "ModelStatistics")
    for version, id, parameters, words in which:
        model = f"/v2/models/{{name}}{version}"
        summary = f"Statistics of {words}"
        yield get(f"{model}/stats", f"model_stats{id}", summary, parameters, "ModelStatistics", 404)
        schema, summary = "ModelConfiguration", f"Configuration of {words}"
        yield get(f"{model}/config", f"model_config{id}", summary, parameters, schema, 404, 501)
    yield _index(about)
    for act, summary, done in _ACTS:
        yield _control(about, act, summary, done)
    for path, id, parameters, what, schema in (
        ("/v2/trace/setting", "trace", (), "What is traced", "TraceSettings"),
        (
            *("/v2/models/{name}/trace/setting", "model_trace", (_NAME,)),
            *("What is traced of a model, as of all", "TraceSettings"),
        ),
    ):
        yield get(path, id, what, parameters, schema, *((404,) if parameters else ()))
        yield _set_trace(about, path, id, parameters)
    yield get("/v2/logging", "logging", "What is logged", (), "LogSettings")
    yield _set_logging(about)


def _index(about: Any) -> Operation:
    answers = {"200": json_answer("What it says.", ref("RepositoryIndex")), **errors()}
    return Operation(
        method="post",
        path="/v2/repository/index",
        about=about(
            *("repository_index", "Models and versions, with their states", (), answers),
            requestBody=json_body(_READY, is_required=False),
        ),
    )


def _set_trace(about: Any, path: str, id: str, parameters: Any) -> Operation:
    answers = {"200": json_answer("What is traced now.", ref("TraceSettings"))}
    return Operation(
        method="post",
        path=path,
        about=about(
            *(f"set_{id}", "Change what is traced", parameters),
            {**answers, **errors(400, *((404,) if parameters else ()), 501)},
            description="Refused where nothing is traced, without `--model_control_mode=explicit`, "
            "and of a single model. `trace_level` is `OFF` or `TIMESTAMPS`, `trace_rate` one of so "
            "many; null is as it was at the start. Until the server ends.",
            requestBody=json_body({"type": "object"}),
        ),
    )


def _set_logging(about: Any) -> Operation:
    answers = {"200": json_answer("What is logged now.", ref("LogSettings")), **errors(400, 501)}
    settings = {"type": "object", "properties": _LOG_SETTINGS}
    return Operation(
        method="post",
        path="/v2/logging",
        about=about(
            *("set_logging", "Change what is logged, of all models", (), answers),
            description="Refused without `--model_control_mode=explicit`. Until the server ends.",
            requestBody=json_body(settings),
        ),
    )


def _control(about: Any, act: str, summary: str, done: str) -> Operation:
    what = "Refused without `--model_control_mode=explicit`. It may bring nothing along."
    answers = {"200": {"description": done}, **errors(404, 409, 429, 500, 504)}
    return Operation(
        method="post",
        path=f"/v2/repository/models/{{name}}/{act}",
        about=about(f"repository_{act}", summary, (_NAME,), answers, description=what),
    )
