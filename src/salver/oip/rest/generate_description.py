"""Triton's generate extension as OpenAPI describes it: bodies whose members are inputs."""

from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from salver.openapi.description import Object, Operation, ServedModel
from salver.openapi.parts import ERROR, errors, json_answer, json_body, ref
from salver.openapi.tensors import element_schema
from salver.vocabulary.signature import DEFAULT_SIGNATURE

__all__ = ["GENERATE_SCHEMAS", "generate_operations"]

_EVENTS: Final = "text/event-stream"
_CALLS: Final = (
    ("generate", "Ask {} for one answer, by names of inputs"),
    ("generate_stream", "Ask {} for answers one by one, as server-sent events"),
)
_STATUSES: Final = (404, 500, 501)

GENERATE_SCHEMAS: Final[dict[str, Object]] = {
    "Generate": {
        "type": "object",
        "description": "A member for each input: a value, or a list of values. What is no input "
        "is a parameter, as are the members of `parameters`.",
    },
    "Generated": {
        "type": "object",
        "required": ["model_name", "model_version"],
        "properties": {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
        },
        "description": "A member for each output.",
    },
}


def generate_operations(which: Any, about: Any) -> Iterator[Operation]:
    """On `…/generate` and `…/generate_stream`.

    Args:
        which: see `description.WHICH`.
        about: see `description.about`.
    """
    for call, summary in _CALLS:
        for path, id, parameters, words in which:
            make = partial(_about, about, call, f"{call}{id}")
            yield Operation(
                method="post",
                path=f"/v2/models/{{name}}{path}/{call}",
                about=make(summary.format(words), parameters, ref("Generate")),
                of_model=partial(_of_model, make, summary),
            )


def _of_model(make: Any, summary: str, model: ServedModel) -> Object | None:
    if DEFAULT_SIGNATURE not in model.signatures:
        return None
    signature, said = model.signatures[DEFAULT_SIGNATURE], model.said(DEFAULT_SIGNATURE)
    members = {}
    for alias, spec in signature.inputs.items():
        element = element_schema(spec.dtype, said.inputs.get(alias), has_bytes=False)
        members[alias] = {"anyOf": [element, {"type": "array", "items": element, "minItems": 1}]}
    required = [alias for alias in members if alias not in signature.optional]
    body = {"type": "object", "required": required, "properties": members}
    made: Object = make(summary.format(model.title), (), body)
    return made


def _about(
    about: Any, call: str, id: str, summary: str, parameters: Any, body: Object
) -> dict[str, Any]:
    responses: dict[str, Any] = {"200": json_answer("The answer.", ref("Generated"))}
    responses |= errors(*_STATUSES)
    if call == "generate_stream":
        for status in responses:
            what = "The answers." if status == "200" else "As the first event, or as JSON."
            content: dict[str, Any] = {_EVENTS: {"schema": {"description": "An event for each."}}}
            if status != "200":
                content |= {"application/json": {"schema": ref(ERROR)}}
            responses[status] = {"description": what, "content": content}
    made: dict[str, Any] = about(id, summary, parameters, responses, requestBody=json_body(body))
    return made
