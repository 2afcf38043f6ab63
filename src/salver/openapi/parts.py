"""Pieces that the operations of several APIs share."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from salver.openapi.description import Object

__all__ = [
    "BYTES",
    "ERROR",
    "MOST_EXAMPLE_CHARACTERS",
    "any_of",
    "errors",
    "json_answer",
    "json_body",
    "parameter",
    "ref",
    "shared_components",
    "text_answer",
]

ERROR: Final = "Error"
BYTES: Final = "Bytes"
MOST_EXAMPLE_CHARACTERS: Final = 16_000  # of one body; MNIST's 784 numbers take 4,000
_JSON: Final = "application/json"

_MEANINGS: Final[Mapping[int, str]] = {
    400: "What was sent cannot be used; `error` says why.",
    403: "Called by a name that is not this server's, or from a foreign page.",
    404: "No such model, version or label answers.",
    405: "Another method is wanted.",
    408: "The request did not arrive in time.",
    409: "It is in the way of something that is going on.",
    412: "It has been changed since it was read, or is there already.",
    413: "The body is longer than `--max_request_bytes`, or inflates to too much.",
    429: "There is no memory or no place in a queue for this request.",
    500: "The model, or the server, failed.",
    501: "This is not served here.",
    503: "Not now: the model is loading or quarantined, or the server is full or draining.",
    504: "The model took longer than the time limit.",
}
_OF_ANY_REQUEST: Final = (400, 403, 408, 413, 503)


def ref(name: str) -> dict[str, Any]:
    """A reference to a schema."""
    return {"$ref": f"#/components/schemas/{name}"}


def any_of(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    """What one of some schemas describes."""
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def shared_components() -> dict[str, Any]:
    """What `errors`, `ref(ERROR)` and `ref(BYTES)` refer to."""
    return {
        "schemas": {
            ERROR: {
                "type": "object",
                "description": "Why a request failed.",
                "required": ["error"],
                "properties": {
                    "error": {"type": "string", "description": "For programs and people."},
                    "hint": {
                        "type": "string",
                        "description": "For people, where it helps; its words may change.",
                    },
                },
            },
            BYTES: {
                "type": "object",
                "description": "Bytes that are no text.",
                "required": ["b64"],
                "properties": {"b64": {"type": "string", "contentEncoding": "base64"}},
                "maxProperties": 1,
            },
        },
        "responses": {
            f"Error{status}": {
                "description": meaning,
                "content": {_JSON: {"schema": ref(ERROR)}},
            }
            for status, meaning in _MEANINGS.items()
        },
    }


def errors(*statuses: int) -> dict[str, Any]:
    """The answers with these statuses, and with those that any request may get."""
    return {
        str(status): {"$ref": f"#/components/responses/Error{status}"}
        for status in sorted({*statuses, *_OF_ANY_REQUEST})
    }


def json_answer(description: str, schema: Object, **more: Any) -> dict[str, Any]:
    """An answer in JSON; `more` stands beside its content."""
    return {"description": description, "content": {_JSON: {"schema": schema}}, **more}


def text_answer(description: str) -> dict[str, Any]:
    """An answer in plain text."""
    return {"description": description, "content": {"text/plain": {"schema": {"type": "string"}}}}


def json_body(
    schema: Object, examples: Iterable[tuple[str, Any]] = (), *, is_required: bool = True
) -> dict[str, Any]:
    """A request's body in JSON.

    Args:
        schema: of the body.
        examples: titles and bodies; titles may be the same.
        is_required: whether a request without a body is none.
    """
    content: dict[str, Any] = {"schema": schema}
    shown = {
        str(at): {"summary": title, "value": body} for at, (title, body) in enumerate(examples)
    }
    if shown:
        content["examples"] = shown
    return {"required": is_required, "content": {_JSON: content}}


def parameter(
    name: str, description: str, schema: Object | None = None, *, at: str = "path"
) -> dict[str, Any]:
    """A part of a path that is to be filled in, or a part of the query."""
    return {
        "name": name,
        "in": at,
        "required": at == "path",
        "description": description,
        "schema": {"type": "string", "minLength": 1} if schema is None else schema,
    }
