"""Bodies of the calls, as JSON Schema, whatever the model."""

from typing import Final

from salver.openapi.description import Object
from salver.openapi.parts import BYTES, ref
from salver.vocabulary.signature import DEFAULT_SIGNATURE

__all__ = ["SCHEMAS"]

_SIGNATURE_NAME: Final = {
    "type": "string",
    "description": f"The signature to call; `{DEFAULT_SIGNATURE}` by default.",
}
_VALUES: Final = [{"type": "number"}, {"type": "string"}, {"type": "boolean"}, ref(BYTES)]
_EXAMPLE: Final = {
    "type": "object",
    "description": "A tf.Example: features by name, each a value or a list of values of one kind.",
    "additionalProperties": {"anyOf": [*_VALUES, {"type": "array", "items": {"anyOf": _VALUES}}]},
}
_STATUS: Final = {
    "type": "object",
    "required": ["version", "state", "status"],
    "properties": {
        "version": {"type": "string", "pattern": "^[0-9]+$"},
        "state": {"enum": ["START", "LOADING", "AVAILABLE", "UNLOADING", "END"]},
        "status": {
            "type": "object",
            "required": ["error_code", "error_message"],
            "properties": {"error_code": {"type": "string"}, "error_message": {"type": "string"}},
        },
        "in_memory": {
            "type": "boolean",
            "description": "Of models that are loaded when a request needs them.",
        },
        "hint": {"type": "string"},
    },
}
_LABELS: Final = {"type": "object", "additionalProperties": {"type": "integer"}}
_STATUSES: Final = {"type": "array", "items": ref("VersionStatus")}

SCHEMAS: Final[dict[str, Object]] = {
    "VersionStatus": _STATUS,
    "ModelStatus": {
        "type": "object",
        "required": ["model_version_status"],
        "properties": {"model_version_status": _STATUSES},
    },
    "Models": {
        "type": "object",
        "required": ["models"],
        "properties": {
            "models": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name", "model_version_status", "version_labels"],
                    "properties": {
                        "name": {"type": "string"},
                        "model_version_status": _STATUSES,
                        "version_labels": _LABELS,
                        "error": {"type": "string"},
                    },
                },
            },
            "elsewhere": {
                "type": "array",
                "description": "Models that other servers of the map have, and this one has not. "
                "With an empty `model_version_status` the map does not say which versions.",
                "items": {
                    "type": "object",
                    "required": ["name", "nodes", "model_version_status", "version_labels"],
                    "properties": {
                        "name": {"type": "string"},
                        "nodes": {"type": "array", "items": {"type": "string"}},
                        "model_version_status": _STATUSES,
                        "version_labels": _LABELS,
                    },
                },
            },
        },
    },
    "ModelMetadata": {
        "type": "object",
        "required": ["model_spec", "metadata"],
        "properties": {
            "model_spec": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "signature_name": {"type": "string"},
                    "version": {"type": "string"},
                },
            },
            "metadata": {
                "type": "object",
                "description": "`signature_def` of `signature_def`: name → inputs and outputs.",
                "required": ["signature_def"],
                "properties": {"signature_def": {"type": "object"}},
            },
        },
    },
    "Predict": {
        "description": "Rows or columns.",
        "anyOf": [
            {
                "title": "Rows",
                "type": "object",
                "required": ["instances"],
                "properties": {
                    "signature_name": _SIGNATURE_NAME,
                    "instances": {
                        "type": "array",
                        "minItems": 1,
                        "description": "A row each: the value of the one input, or an object of "
                        "input → value.",
                        "items": {},
                    },
                },
            },
            {
                "title": "Columns",
                "type": "object",
                "required": ["inputs"],
                "properties": {
                    "signature_name": _SIGNATURE_NAME,
                    "inputs": {
                        "description": "The tensor of the one input, or an object of "
                        "input → tensor."
                    },
                },
            },
        ],
    },
    "Predicted": {
        "description": "In the form of the request.",
        "anyOf": [
            {
                "title": "Rows",
                "type": "object",
                "required": ["predictions"],
                "properties": {"predictions": {"type": "array", "items": {}}},
            },
            {
                "title": "Columns",
                "type": "object",
                "required": ["outputs"],
                "properties": {"outputs": {}},
            },
        ],
    },
    "Examples": {
        "type": "object",
        "required": ["examples"],
        "properties": {
            "signature_name": _SIGNATURE_NAME,
            "context": {**_EXAMPLE, "description": "Features that every example has."},
            "examples": {"type": "array", "minItems": 1, "items": _EXAMPLE},
        },
    },
    "classify_results": {
        "type": "object",
        "required": ["results"],
        "properties": {
            "results": {
                "type": "array",
                "items": {
                    "type": "array",
                    "description": "The classes of one example: label and score.",
                    "items": {
                        "type": "array",
                        "items": {"type": ["string", "number"]},
                        "minItems": 2,
                        "maxItems": 2,
                    },
                },
            }
        },
    },
    "regress_results": {
        "type": "object",
        "required": ["results"],
        "properties": {"results": {"type": "array", "items": {"type": "number"}}},
    },
}
