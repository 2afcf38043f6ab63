"""What infer takes and gives of each model, as JSON Schema, and bodies to try it with."""

from collections.abc import Iterator
from typing import Any, Final

from salver.about.document import InputAbout
from salver.codecs.oip.dtypes import DATATYPES, datatype_name
from salver.openapi.bodies import Rows, example_rows, is_short
from salver.openapi.description import Object, ServedModel
from salver.openapi.document import schema_key
from salver.openapi.parts import any_of, ref
from salver.openapi.tensors import element_schema, input_schema, shape_text
from salver.vocabulary.signature import DEFAULT_SIGNATURE, Signature, TensorSpec

__all__ = ["SCHEMAS", "infer_bodies", "is_sendable", "schema_name", "schemas_of"]

_NAME: Final = {"type": "string"}
_SHAPE: Final = {"type": "array", "items": {"type": "integer", "minimum": 0}}
_DATATYPE: Final = {"enum": list(DATATYPES)}
_DATA: Final = {"type": "array", "items": {}, "description": "Elements in row-major order."}
_PARAMETERS: Final = {
    "type": "object",
    "properties": {
        "signature_name": {"type": "string", "description": "Which signature is meant."},
        "timeout": {
            "type": "integer",
            "minimum": 0,
            "maximum": 2**63 - 1,
            "description": "How long the run may take, in microseconds.",
        },
        "priority": {"type": "integer", "minimum": 0, "maximum": 2**63 - 1},
        "binary_data_output": {
            "type": "boolean",
            "description": "Whether outputs come back as raw bytes behind the JSON.",
        },
    },
}
_REQUESTED: Final = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": _NAME,
        "parameters": {
            "type": "object",
            "properties": {
                "binary_data": {"type": "boolean"},
                "classification": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": 2**31 - 1,
                    "description": "So many classes in place of the tensor: score:index:label.",
                },
            },
        },
    },
}
_TENSOR: Final = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {"name": _NAME, "datatype": _DATATYPE, "shape": _SHAPE, "data": _DATA},
}

SCHEMAS: Final[dict[str, Object]] = {
    "InferParameters": _PARAMETERS,
    "InferOutputs": {"type": "array", "items": _REQUESTED, "description": "Those wanted."},
    "Infer": {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string", "description": "Comes back with the answer."},
            "inputs": {"type": "array", "minItems": 1, "items": _TENSOR},
            "outputs": ref("InferOutputs"),
            "parameters": ref("InferParameters"),
        },
    },
    "Inferred": {
        "type": "object",
        "required": ["model_name", "model_version", "outputs"],
        "properties": {
            "model_name": _NAME,
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "outputs": {"type": "array", "items": _TENSOR},
        },
    },
}
"""Bodies of infer, whatever the model."""


def schema_name(model: ServedModel, signature: str) -> str:
    """The name of the schema of what a signature takes."""
    return f"{model.key}.{schema_key(signature)}.infer"


def is_sendable(signature: Signature) -> bool:
    """Whether the protocol has names for all that a signature takes."""
    return all(datatype_name(spec.dtype) in DATATYPES for spec in signature.inputs.values())


def schemas_of(model: ServedModel) -> dict[str, Object]:
    """What each signature of a version takes."""
    return {
        schema_name(model, name): _schema(model, name, signature)
        for name, signature in model.signatures.items()
        if is_sendable(signature)
    }


def _schema(model: ServedModel, name: str, signature: Signature) -> dict[str, Any]:
    said = model.said(name)
    tensors = [_given(a, s, said.inputs.get(a)) for a, s in signature.inputs.items()]
    outputs = {"name": {"enum": list(signature.outputs)}}
    parameters: Object = ref("InferParameters")
    required = ["inputs"]
    if name != DEFAULT_SIGNATURE:
        named = {
            "type": "object",
            "required": ["signature_name"],
            "properties": {"signature_name": {"const": name}},
        }
        parameters = {"allOf": [ref("InferParameters"), named]}
        required.append("parameters")
    schema: dict[str, Any] = {
        "title": said.title or f"{model.title}, {name}",
        "type": "object",
        "required": required,
        "properties": {
            "id": {"type": "string"},
            "inputs": {
                "type": "array",
                "minItems": len(tensors) - len(signature.optional),
                "maxItems": len(tensors),
                "items": any_of(tensors) if tensors else {},
            },
            "outputs": {
                "allOf": [ref("InferOutputs"), {"type": "array", "items": {"properties": outputs}}]
            },
            "parameters": parameters,
        },
    }
    return {**schema, "description": said.description} if said.description else schema


def _given(name: str, spec: TensorSpec, about: InputAbout | None) -> dict[str, Any]:
    flat = {"type": "array", "items": element_schema(spec.dtype, about, has_bytes=False)}
    nested = input_schema(spec, about, has_bytes=False)
    is_flat = spec.shape is None or len(spec.shape) < 2
    title = about.title if about is not None and about.title else name
    return {
        "title": title,
        "description": nested["description"],
        "type": "object",
        "required": ["name", "datatype", "shape", "data"],
        "properties": {
            "name": {"const": name},
            "datatype": {"const": datatype_name(spec.dtype)},
            "shape": _shape_of(spec),
            "data": flat if is_flat else {"anyOf": [{**flat, "title": "flat"}, nested]},
        },
    }


def _shape_of(spec: TensorSpec) -> dict[str, Any]:
    if spec.shape is None:
        return _SHAPE
    sizes = [{"const": n} if n >= 0 else {"type": "integer", "minimum": 1} for n in spec.shape]
    return {
        "type": "array",
        "description": shape_text(spec),
        "prefixItems": sizes,
        "items": False,
        "minItems": len(sizes),
    }


# -- bodies to try ---------------------------------------------------------------------------------


def infer_bodies(model: ServedModel) -> Iterator[tuple[str, Any]]:
    """Titles and bodies to try a version with."""
    for name, signature in model.signatures.items():
        if not is_sendable(signature):
            continue
        head = "" if name == DEFAULT_SIGNATURE else f"{name}: "
        for title, rows in example_rows(model, name):
            body = _body(name, signature, rows)
            if body is not None and is_short(body):
                yield f"{head}{title}", body


def _body(name: str, signature: Signature, rows: Rows) -> dict[str, Any] | None:
    inputs = []
    for alias, each in rows.items():
        spec = signature.inputs[alias]
        value = each[0] if spec.shape == () else each
        flat = list(_flat(value))
        if any(isinstance(element, dict) for element in flat):
            return None  # bytes that are no text go behind the JSON
        inputs.append(
            {
                "name": alias,
                "shape": _sizes(value),
                "datatype": datatype_name(spec.dtype),
                "data": flat,
            }
        )
    body: dict[str, Any] = {"inputs": inputs}
    if name != DEFAULT_SIGNATURE:
        body["parameters"] = {"signature_name": name}
    return body


def _sizes(value: Any) -> list[int]:
    sizes = []
    while isinstance(value, list):
        sizes.append(len(value))
        value = value[0] if value else None
    return sizes


def _flat(value: Any) -> Iterator[Any]:
    if not isinstance(value, list):
        yield value
        return
    for each in value:
        yield from _flat(each)
