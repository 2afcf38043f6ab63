"""What predict takes and gives of each model, as JSON Schema, and bodies to try it with."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from salver.openapi.bodies import Rows, example_rows, is_short
from salver.openapi.description import Object, ServedModel
from salver.openapi.document import schema_key
from salver.openapi.parts import any_of
from salver.openapi.tensors import has_rows, input_schema, output_schema, row_of
from salver.vocabulary.signature import DEFAULT_SIGNATURE, Signature, TensorSpec

__all__ = ["predict_bodies", "schema_name", "schemas_of"]

_ROWS = "Rows, one or more."


def schema_name(model: ServedModel, signature: str, what: str) -> str:
    """The name of a schema: what a signature takes (`predict`) or gives (`predicted`)."""
    return f"{model.key}.{schema_key(signature)}.{what}"


def schemas_of(model: ServedModel) -> dict[str, Object]:
    """What each signature of a version takes and gives."""
    schemas: dict[str, Object] = {}
    for name, signature in model.signatures.items():
        schemas[schema_name(model, name, "predict")] = _predict_schema(model, name, signature)
        schemas[schema_name(model, name, "predicted")] = _predicted_schema(model, name, signature)
    return schemas


def _predict_schema(model: ServedModel, name: str, signature: Signature) -> dict[str, Any]:
    said = model.said(name)
    forms = []

    def given(alias: str, spec: TensorSpec) -> dict[str, Any]:
        return input_schema(spec, said.inputs.get(alias))

    if _goes_by_rows(signature):
        rows = _tensors(signature, signature.inputs, lambda a, s: given(a, row_of(s)))
        if len(signature.inputs) > 1:
            rows["additionalProperties"] = False  # of columns further ones are ignored
        instances = {"type": "array", "minItems": 1, "items": rows, "description": _ROWS}
        forms.append(_form("instances", instances, name, "Rows"))
    columns = _tensors(signature, signature.inputs, given)
    forms.append(_form("inputs", columns, name, "Columns"))
    head = {"title": said.title or f"{model.title}, {name}"}
    if said.description:
        head["description"] = said.description
    return {**head, **any_of(forms)}


def _predicted_schema(model: ServedModel, name: str, signature: Signature) -> dict[str, Any]:
    said = model.said(name).outputs
    forms: list[dict[str, Any]] = []

    def given(alias: str, spec: TensorSpec) -> dict[str, Any]:
        return output_schema(spec, said.get(alias))

    if _goes_by_rows(signature):
        row = _tensors(signature, signature.outputs, lambda a, s: given(a, row_of(s)))
        forms.append(_answer("predictions", {"type": "array", "items": row}))
    forms.append(_answer("outputs", _tensors(signature, signature.outputs, given)))
    return any_of(forms)


def _tensors(
    signature: Signature,
    specs: Mapping[str, TensorSpec],
    schema_of: Callable[[str, TensorSpec], dict[str, Any]],
) -> dict[str, Any]:
    """The one tensor by itself, or several as an object."""
    made = {alias: schema_of(alias, spec) for alias, spec in specs.items()}
    if len(made) == 1:
        return next(iter(made.values()))
    required = [alias for alias in made if alias not in signature.optional]
    return {"type": "object", "required": required, "properties": made}


def _goes_by_rows(signature: Signature) -> bool:
    """Whether requests can have rows, and answers too."""
    tensors = (*signature.inputs.values(), *signature.outputs.values())
    return bool(signature.inputs) and all(map(has_rows, tensors))


def _form(key: str, value: Object, signature: str, title: str) -> dict[str, Any]:
    is_default = signature == DEFAULT_SIGNATURE
    return {
        "title": title,
        "type": "object",
        "required": [key] if is_default else ["signature_name", key],
        "properties": {"signature_name": {"const": signature}, key: value},
        "not": {"required": ["inputs" if key == "instances" else "instances"]},
    }


def _answer(key: str, value: Object) -> dict[str, Any]:
    return {"type": "object", "required": [key], "properties": {key: value}}


def predict_bodies(model: ServedModel) -> Iterator[tuple[str, Any]]:
    """Titles and bodies to try a version with."""
    for name, signature in model.signatures.items():
        head = {} if name == DEFAULT_SIGNATURE else {"signature_name": name}
        at_head = "" if name == DEFAULT_SIGNATURE else f"{name}: "
        for title, rows in example_rows(model, name):
            body = {**head, **_body(signature, rows)}
            if is_short(body):
                yield f"{at_head}{title}", body


def _body(signature: Signature, rows: Rows) -> dict[str, Any]:
    is_single = len(signature.inputs) == 1
    lengths = {len(each) for each in rows.values()}
    if _goes_by_rows(signature) and len(lengths) == 1:
        (first, *_) = rows.values()
        if is_single:
            return {"instances": first}
        columns = rows.items()
        return {"instances": [{a: of[at] for a, of in columns} for at in range(len(first))]}
    specs = signature.inputs
    whole = {alias: each if specs[alias].shape != () else each[0] for alias, each in rows.items()}
    return {"inputs": next(iter(whole.values())) if is_single else whole}
