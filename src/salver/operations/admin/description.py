"""What the routes of administration answer, as OpenAPI describes it."""

from typing import Any, Final

from salver.openapi.description import ApiDescription, Method, Operation
from salver.openapi.parts import errors, json_answer, json_body, parameter, ref

__all__ = ["describe"]

_TAG: Final = "Administration"
_PORTS: Final = "Answered on the gRPC port by HTTP/1.1; on the REST port only where gRPC has none."
_ETAG: Final = {"ETag": {"schema": {"type": "string"}}}
_NUMBER: Final = {"type": "integer", "minimum": 0}
_TEXT: Final = {"type": "string"}
_VALIDATE: Final = parameter(
    "validate", "Only find out whether it could be done.", {"type": "boolean"}, at="query"
)
_IF_MATCH: Final = {
    **parameter(
        "If-Match",
        "The ETag of the model or of the configuration, as it was read; `*` for any.",
        at="header",
    ),
    "required": False,
}
_IF_NONE_MATCH: Final = {
    **parameter("If-None-Match", "`*`: the model is to be new.", at="header"),
    "required": False,
}
_NAME: Final = parameter("name", "Name of a model.")
_LABEL: Final = parameter("label", "A label.")


def describe() -> ApiDescription:
    """The calls under `/admin/v1/`."""
    model = "/admin/v1/models/{name}"
    return ApiDescription(
        operations=(
            _reading("/admin/v1/config", "get_config", "The present configuration", "AdminConfig"),
            _changing("put", "/admin/v1/config", "put_config", "Have these models, and no others",
                      body=_config_body()),
            _reading(model, "get_model", "One model of it", "AdminModel", _NAME),
            _changing("put", model, "put_model", "Add a model, or have it like this", _NAME,
                      _IF_NONE_MATCH, body=json_body(_fields("A `ModelConfig`."))),
            _changing("delete", model, "delete_model", "Remove a model", _NAME),
            _changing("put", f"{model}/labels/{{label}}", "put_label", "Move a label to a version",
                      _NAME, _LABEL, body=json_body(_version_body())),
            _changing("delete", f"{model}/labels/{{label}}", "delete_label", "Remove a label",
                      _NAME, _LABEL),
            _changing("put", f"{model}/batching", "put_batching",
                      "Change how requests are merged, without a new load", _NAME,
                      body=json_body(_fields("`BatchingParameters`, but for the threads."))),
            _changing("delete", f"{model}/batching", "delete_batching",
                      "Merge requests as the server says", _NAME),
            *(_acting(model, action, summary) for action, summary in _ACTIONS.items()),
            _reading("/admin/v1/config/revisions", "get_revisions", "The configurations there were",
                     "AdminRevisions",
                     parameter("revision", "This one, with its models.", _NUMBER, at="query")),
            _reading("/admin/v1/audit", "get_audit", "Who changed what", "AdminAudit",
                     parameter("limit", "So many at most.", _NUMBER, at="query")),
        ),
        schemas=_schemas(),
        tags=({"name": _TAG, "description": "Changes what is served, and tells of it."},),
    )  # fmt: skip


_ACTIONS: Final = {
    "reload": "Load the versions of a model again",
    "load": "Load a model that was unloaded, and wait for it",
    "unload": "Unload a model, and wait for that",
    "clear_quarantine": "Serve a model again that ended its process",
}


def _operation(
    method: Method, path: str, id: str, summary: str, responses: dict[str, Any], **more: Any
) -> Operation:
    about = {
        "operationId": id,
        "summary": summary,
        "description": _PORTS,
        "tags": [_TAG],
        **more,
        "responses": responses,
    }
    return Operation(method=method, path=path, about=about)


def _reading(path: str, id: str, summary: str, schema: str, *parameters: Any) -> Operation:
    has_tag = schema in ("AdminConfig", "AdminModel")
    answers: dict[str, Any] = {
        "200": json_answer("It is so.", ref(schema), **({"headers": _ETAG} if has_tag else {})),
        **errors(404, 405),
    }
    if has_tag:
        answers["304"] = {"description": "It is as `If-None-Match` says."}
    return _operation("get", path, id, summary, answers, parameters=list(parameters))


def _changing(
    method: Method, path: str, id: str, summary: str, *parameters: Any, body: Any = None
) -> Operation:
    more = {} if body is None else {"requestBody": body}
    answers = {
        "200": json_answer("What has changed, or would.", ref("AdminChanged"), headers=_ETAG),
        **errors(404, 405, 412),
    }
    return _operation(
        method, path, id, summary, answers,
        parameters=[*parameters, _VALIDATE, _IF_MATCH], **more,
    )  # fmt: skip


def _acting(model: str, action: str, summary: str) -> Operation:
    id = action if action == "clear_quarantine" else f"{action}_model"
    answers = {
        "200": json_answer("It is done.", ref("AdminActed")),
        **errors(404, 405, 429, 500),
    }
    return _operation("post", f"{model}:{action}", id, summary, answers, parameters=[_NAME])


def _fields(description: str) -> dict[str, Any]:
    return {"type": "object", "description": description}


def _version_body() -> dict[str, Any]:
    return {"type": "object", "required": ["version"], "properties": {"version": _NUMBER}}


def _config_body() -> dict[str, Any]:
    models = {"type": "array", "items": _fields("A `ModelConfig`.")}
    return json_body(
        {
            "type": "object",
            "description": "As a model config file in JSON.",
            "properties": {"schema": {"const": 1}, "models": models},
        }
    )


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


def _list(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _schemas() -> dict[str, Any]:
    version = _object(version=_NUMBER, state=_TEXT)
    version["properties"] |= {"error_code": _TEXT, "error_message": _TEXT, "note": _TEXT}
    setting = _object(name=_TEXT, value={}, source=_TEXT)
    difference = _object(model=_TEXT, field=_TEXT, before={}, after={})
    config = _object(
        etag=_TEXT,
        config=_fields("As a model config file in JSON; what PUT takes."),
        is_changed={"type": "boolean"},
        flags=_list(ref("AdminSetting")),
        models=_list(_object(name=_TEXT, etag=_TEXT, settings=_list(ref("AdminSetting")))),
        unloaded=_list(_TEXT),
        persistence=_TEXT,
    )
    config["properties"] |= {"model_config_file": _TEXT, "model_config_file_problem": _TEXT}
    acted = _object(
        name=_TEXT, action=_TEXT, versions=_list(ref("AdminVersion")), persistence=_TEXT
    )
    acted["properties"]["cleared_versions"] = _list(_NUMBER)
    revisions = {
        "anyOf": [
            _object(revisions=_list(ref("AdminEntry"))),
            {"allOf": [ref("AdminEntry"), _object(config=_fields("The models."))]},
        ]
    }
    return {
        "AdminVersion": version,
        "AdminSetting": setting,
        "AdminDifference": difference,
        "AdminConfig": config,
        "AdminModel": _object(
            name=_TEXT,
            etag=_TEXT,
            config=_fields("A `ModelConfig`; what PUT takes."),
            settings=_list(ref("AdminSetting")),
            is_unloaded={"type": "boolean"},
            versions=_list(ref("AdminVersion")),
            labels={"type": "object", "additionalProperties": _NUMBER},
            persistence=_TEXT,
        ),
        "AdminChanged": _object(
            is_dry_run={"type": "boolean"},
            etag=_TEXT,
            config_etag=_TEXT,
            changes=_list(ref("AdminDifference")),
            more_changes=_NUMBER,
            loads_again=_list(_TEXT),
            persistence=_TEXT,
        ),
        "AdminActed": acted,
        "AdminEntry": _object(
            number=_NUMBER,
            time=_TEXT,
            principal=_TEXT,
            principal_kind=_TEXT,
            peer=_TEXT,
            via=_TEXT,
            action=_TEXT,
            model=_TEXT,
            outcome=_TEXT,
            message=_TEXT,
            etag=_TEXT,
            revision=_NUMBER,
            changes=_list(ref("AdminDifference")),
            more_changes=_NUMBER,
        ),
        "AdminRevisions": revisions,
        "AdminAudit": _object(entries=_list(ref("AdminEntry"))),
    }
