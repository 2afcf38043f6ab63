"""The Open Inference Protocol over REST as OpenAPI describes it, and what each model takes."""

from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from salver.oip.rest.generate_description import GENERATE_SCHEMAS, generate_operations
from salver.oip.rest.infer_schemas import (
    SCHEMAS,
    infer_bodies,
    is_sendable,
    schema_name,
    schemas_of,
)
from salver.oip.rest.models import OTHER_REPOSITORIES, SHARED_MEMORY
from salver.oip.rest.models_description import MODELS_SCHEMAS, models_operations
from salver.oip.rest.routes import ANY
from salver.openapi.description import ApiDescription, Object, Operation, ServedModel
from salver.openapi.parts import any_of, errors, json_answer, json_body, parameter, ref

__all__ = ["TAG", "WHICH", "about", "describe"]

TAG: Final = "Open Inference Protocol"
_NAME: Final = parameter("name", "Name of a model.")
_VERSION: Final = parameter("version", "Number of a version, or a label.")
WHICH: Final = (
    ("", "", (_NAME,), "the newest version"),
    ("/versions/{version}", "_version", (_NAME, _VERSION), "one version"),
)
"""What may stand behind the name of a model, in a path: what its operations are called, its
parameters, in words."""

_HEADERS: Final = {
    "salver-model-version": {
        "description": "Number of the version that answered.",
        "schema": {"type": "integer"},
    }
}
_HEADER_LENGTH: Final = "Inference-Header-Content-Length"
_LENGTH: Final = {
    "name": _HEADER_LENGTH,
    "in": "header",
    "required": False,
    "description": "Bytes of the JSON, where tensors follow it as raw bytes; 0: the body is the "
    "one input.",
    "schema": {"type": "integer", "minimum": 0},
}
_BINARY: Final[dict[str, Object]] = {"application/octet-stream": {"schema": {}}}
_NAMED: Final = {"type": "string"}
_TENSORS: Final = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["name", "datatype", "shape"],
        "properties": {
            "name": _NAMED,
            "datatype": _NAMED,
            "shape": {"type": "array", "items": {"type": "integer", "minimum": -1}},
        },
    },
}
_SCHEMAS: Final[dict[str, Object]] = {
    "ServerMetadata": {
        "type": "object",
        "required": ["name", "version", "extensions"],
        "properties": {
            "name": _NAMED,
            "version": _NAMED,
            "extensions": {"type": "array", "items": _NAMED},
        },
    },
    "ModelDescription": {
        "type": "object",
        "required": ["name", "versions", "platform", "inputs", "outputs"],
        "properties": {
            "name": _NAMED,
            "versions": {"type": "array", "items": _NAMED},
            "platform": _NAMED,
            "inputs": _TENSORS,
            "outputs": _TENSORS,
        },
    },
    "ServerLive": {
        "type": "object",
        "required": ["live"],
        "properties": {"live": {"type": "boolean"}},
    },
    "ServerReady": {
        "type": "object",
        "required": ["ready"],
        "properties": {"ready": {"type": "boolean"}, "error": _NAMED},
    },
    "ModelReady": {
        "type": "object",
        "required": ["name", "ready"],
        "properties": {"name": _NAMED, "ready": {"type": "boolean"}, "error": _NAMED},
    },
}


def describe() -> ApiDescription:
    """All of it."""
    return ApiDescription(
        operations=(
            *_infers(),
            *generate_operations(WHICH, about),
            *_models(),
            *models_operations(WHICH, about),
            *_server(),
        ),
        schemas={**SCHEMAS, **GENERATE_SCHEMAS, **MODELS_SCHEMAS, **_SCHEMAS},
        schemas_of=schemas_of,
        tags=(
            {
                "name": TAG,
                "description": "KServe's protocol of version 2, with Triton's extensions.",
            },
        ),
        unlisted={
            ANY: "refuses what is no call; answers CORS preflights",
            SHARED_MEMORY: "there is none: its status is empty, to register any is refused",
            OTHER_REPOSITORIES: "refused: there is one repository, without a name",
        },
    )


def about(
    id: str, summary: str, parameters: tuple[Object, ...], responses: Object, **more: Any
) -> dict[str, Any]:
    """An operation of the protocol."""
    return {
        "operationId": f"v2_{id}",
        "summary": summary,
        "tags": [TAG],
        **({"parameters": list(parameters)} if parameters else {}),
        **more,
        "responses": responses,
    }


# -- of the server ---------------------------------------------------------------------------------


def _server() -> Iterator[Operation]:
    metadata = json_answer("What it says.", ref("ServerMetadata"))
    yield Operation(
        method="get",
        path="/v2",
        about=about("server", "What the server says of itself", (), {"200": metadata, **errors()}),
    )
    live = json_answer("It lives.", ref("ServerLive"))
    yield Operation(
        method="get",
        path="/v2/health/live",
        about=about("live", "Whether the server lives", (), {"200": live, **errors()}),
    )
    ready = {
        "200": json_answer("It should.", ref("ServerReady")),
        **errors(),
        "503": json_answer("It should not; `error` says why.", ref("ServerReady")),
    }
    yield Operation(
        method="get",
        path="/v2/health/ready",
        about=about("ready", "Whether it should get traffic", (), ready),
    )


# -- of a model ------------------------------------------------------------------------------------


def _models() -> Iterator[Operation]:
    for which, id, parameters, words in WHICH:
        metadata = json_answer("What it says.", ref("ModelDescription"), headers=_HEADERS)
        yield Operation(
            method="get",
            path=f"/v2/models/{{name}}{which}",
            about=about(
                f"model{id}",
                f"Inputs and outputs of {words}",
                parameters,
                {"200": metadata, **errors(404, 500, 501)},
            ),
        )
        unready = json_answer("It does not; `error` says why.", ref("ModelReady"))
        yield Operation(
            method="get",
            path=f"/v2/models/{{name}}{which}/ready",
            about=about(
                f"model_ready{id}",
                f"Whether {words} answers",
                parameters,
                {
                    "200": json_answer("It does.", ref("ModelReady")),
                    **errors(),
                    **dict.fromkeys(("400", "404", "503"), unready),
                },
            ),
        )


def _infers() -> Iterator[Operation]:
    for which, id, parameters, words in WHICH:
        yield Operation(
            method="post",
            path=f"/v2/models/{{name}}{which}/infer",
            about=_infer(id, f"Ask {words}", parameters, ref("Infer"), ()),
            of_model=partial(_infer_of_model, id),
        )


def _infer_of_model(id: str, model: ServedModel) -> Object | None:
    names = [name for name, of in model.signatures.items() if is_sendable(of)]
    if not names:
        return None
    body = any_of([ref(schema_name(model, name)) for name in names])
    made = _infer(id, f"Ask {model.title}", (), body, infer_bodies(model))
    description = model.about.description
    return {**made, "description": description} if description else made


def _infer(
    id: str, summary: str, parameters: tuple[Object, ...], body: Object, examples: Any
) -> dict[str, Any]:
    answer = json_answer("What the model answers.", ref("Inferred"), headers=_HEADERS)
    request = json_body(body, examples)
    answer["content"] |= _BINARY
    request["content"] |= _BINARY
    return about(
        f"infer{id}",
        summary,
        (*parameters, _LENGTH),
        {"200": answer, **errors(404, 500, 501)},
        requestBody=request,
    )
