"""`SignatureDef`: how TensorFlow, and TensorFlow Serving's API, say what a model takes and gives.

Source: `tensorflow/core/protobuf/meta_graph.proto`, `get_model_metadata.proto`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from google.protobuf import text_format

from salver._pb import message_class
from salver.codecs.protobuf.room import Room
from salver.codecs.protobuf.tensor_proto import decode_tensor, encode_tensor
from salver.errors import ServingError
from salver.vocabulary.model import ModelInfo, TensorNames
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import Signature, TensorSpec
from salver.vocabulary.tensorflow_types import base_dtype, number_of

__all__ = [
    "definition_text",
    "definitions_of",
    "signature_definitions",
    "signatures_of",
    "tensor_names_of",
]

_MAP: Final = "tensorflow.serving.SignatureDefMap"
_NO_NAMES: Final[Mapping[str, TensorNames]] = MappingProxyType({})


# -- reading ---------------------------------------------------------------------------------------


def signatures_of(definitions: Mapping[str, Any]) -> dict[str, Signature]:
    """What `SignatureDef`s say, sorted by name; inputs and outputs likewise."""
    return {name: _signature(definitions[name]) for name in sorted(definitions)}


def tensor_names_of(definitions: Mapping[str, Any]) -> dict[str, TensorNames]:
    """What the graph calls the inputs and outputs of each signature; empty for a sparse one."""
    return {
        name: TensorNames(_names(definitions[name].inputs), _names(definitions[name].outputs))
        for name in sorted(definitions)
    }


def _names(infos: Mapping[str, Any]) -> dict[str, str]:
    return {alias: infos[alias].name for alias in sorted(infos)}


def _signature(definition: Any) -> Signature:
    return Signature(
        inputs={alias: _spec(definition.inputs[alias]) for alias in sorted(definition.inputs)},
        outputs={alias: _spec(definition.outputs[alias]) for alias in sorted(definition.outputs)},
        method_name=definition.method_name,
        defaults={alias: _default(tensor) for alias, tensor in definition.defaults.items()},
    )


def _spec(info: Any) -> TensorSpec:
    shape = info.tensor_shape
    return TensorSpec(
        base_dtype(info.dtype),
        None if shape.unknown_rank else tuple(dim.size for dim in shape.dim),
        is_dense=bool(info.name),
    )


def _default(tensor: Any) -> Array | None:
    """The value of an input that a request leaves out; None where the message is no tensor."""
    data: bytes = tensor.SerializeToString()
    try:
        return decode_tensor(data, Room(len(data)))
    except ServingError:
        return None


# -- writing ---------------------------------------------------------------------------------------


def definitions_of(info: ModelInfo) -> bytes:
    """A serialized `tensorflow.serving.SignatureDefMap`: the model's own, or one made for it."""
    if info.definitions is not None:
        return info.definitions
    made = message_class(_MAP)()
    for name, definition in signature_definitions(info.signatures).items():
        made.signature_def[name].CopyFrom(definition)
    serialized: bytes = made.SerializeToString(deterministic=True)
    return serialized


def definition_text(info: ModelInfo, signature_name: str) -> str:
    """One `SignatureDef` in text form."""
    definitions = message_class(_MAP).FromString(definitions_of(info))
    return text_format.MessageToString(definitions.signature_def[signature_name])


def signature_definitions(
    signatures: Mapping[str, Signature], names: Mapping[str, TensorNames] = _NO_NAMES
) -> dict[str, Any]:
    """Signature name → `SignatureDef`.

    Args:
        signatures: what they say.
        names: what the tensors are called; those of other signatures as their aliases.
    """
    made = {}
    for name, signature in signatures.items():
        definition = made[name] = message_class("tensorflow.SignatureDef")()
        definition.method_name = signature.method_name
        of = names.get(name) or TensorNames({}, {})
        _describe(definition.inputs, signature.inputs, of.inputs)
        _describe(definition.outputs, signature.outputs, of.outputs)
        for alias, default in signature.defaults.items():
            data = b"" if default is None else encode_tensor(default, as_content=False)
            definition.defaults[alias].ParseFromString(data)
    return made


def _describe(
    infos: Mapping[str, Any], specs: Mapping[str, TensorSpec], names: Mapping[str, str]
) -> None:
    for alias, spec in specs.items():
        info = infos[alias]
        info.name = names.get(alias, alias)
        info.dtype = number_of(spec.dtype)
        if spec.shape is None:
            info.tensor_shape.unknown_rank = True
            continue
        info.tensor_shape.SetInParent()
        for size in spec.shape:
            info.tensor_shape.dim.add(size=size)
