"""The signatures of a TFLite file, and which tensors their names stand for.

In this order: those in the file's metadata, as TensorFlow Serving reads them; those in the table
that today's converters write; else one that is made of the inputs and outputs.

Source of the rules and texts: TensorFlow Serving, `servables/tensorflow/tflite_session.cc`.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import DecodeError

from salver._pb import message_class
from salver.backends.tflite.model_file import ModelFile, TableSignature, Tensor
from salver.codecs.protobuf.signature_def import signatures_of, tensor_names_of
from salver.errors import AlreadyExists, Internal, InvalidArgument
from salver.vocabulary.model import TensorNames
from salver.vocabulary.signature import DEFAULT_SIGNATURE, PREDICT_METHOD_NAME, Signature
from salver.vocabulary.tensorflow_types import number_of

__all__ = ["Place", "Places", "Signatures", "read_signatures"]

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor is."""

    subgraph: int
    tensor: Tensor


Places = Mapping[str, Place]
"""Name → tensor, of all inputs or of all outputs. One whose name an earlier subgraph has too is
called `name@2` after the number of its own."""


@dataclass(frozen=True, slots=True)
class Signatures:
    """What can be asked of a TFLite file.

    Attributes:
        inputs: what can be fed.
        outputs: what can be fetched.
        signatures: name → signature, sorted.
        names: what their inputs and outputs are called; these stand in the two above.
        definitions: the same as a serialized `tensorflow.serving.SignatureDefMap`.
    """

    inputs: Places
    outputs: Places
    signatures: Mapping[str, Signature]
    names: Mapping[str, TensorNames]
    definitions: bytes

    def input(self, name: str) -> Place:
        """What is fed under a name, also with `:0` behind it.

        Raises:
            Internal: there is no such input.
        """
        return self.inputs[_known(self.inputs, name, f"Missing input TFLite tensor: {name}")]

    def output(self, name: str) -> Place:
        """What is fetched under a name, also with `:0` behind it.

        Raises:
            Internal: there is no such output.
        """
        for candidate in (name, _legacy(name)):
            if candidate in self.outputs:
                return self.outputs[candidate]
        raise Internal(f"Missing output TFLite tensor: {name}: Unknown tensor '{name}'.")


def read_signatures(file: ModelFile) -> Signatures:
    """Find the signatures of a file.

    Raises:
        AlreadyExists: two inputs, or two outputs, have one name.
        Internal: a signature names a tensor that there is not.
        InvalidArgument: a signature cannot be read.
    """
    inputs = _names("Input", [subgraph.inputs for subgraph in file.subgraphs])
    outputs = _names("Output", [subgraph.outputs for subgraph in file.subgraphs])
    if file.signature_defs:
        found = _of_metadata(file.signature_defs, inputs, outputs)
    elif file.table_signatures:
        found = _of_table(file.table_signatures, inputs, outputs)
    else:
        _log.warning("No signature def found in TFLite model. Generating one.")
        found = _made(inputs, outputs)
    return Signatures(
        inputs,
        outputs,
        signatures_of(found.signature_def),
        tensor_names_of(found.signature_def),
        found.SerializeToString(deterministic=True),
    )


def _names(kind: str, subgraphs: list[tuple[Tensor, ...]]) -> Places:
    names: dict[str, Place] = {}
    for number, tensors in enumerate(subgraphs):
        own: dict[str, Place] = {}
        for tensor in tensors:
            place = own.setdefault(tensor.name, Place(number, tensor))
            if place.tensor.index != tensor.index:
                raise AlreadyExists(f"{kind} tensor name: {tensor.name} has multiple indices")
        for name, place in own.items():
            names[f"{name}@{number}" if name in names else name] = place
    return names


def _of_metadata(definitions: Mapping[str, bytes], inputs: Places, outputs: Places) -> Any:
    found = message_class("tensorflow.serving.SignatureDefMap")()
    for name, serialized in definitions.items():
        definition = found.signature_def[name]
        try:
            definition.ParseFromString(serialized)
        except DecodeError as error:
            raise InvalidArgument(
                "Invalid SignatureDefs found in TfLite model: Cannot parse signature def"
            ) from error
        for kind, infos, tensors in (
            ("input", definition.inputs, inputs),
            ("output", definition.outputs, outputs),
        ):
            for alias in sorted(infos):
                context = f"Signature {kind} {alias} references an unknown tensor"
                infos[alias].name = _known(tensors, infos[alias].name, context)
    return found


def _of_table(signatures: tuple[TableSignature, ...], inputs: Places, outputs: Places) -> Any:
    found = message_class("tensorflow.serving.SignatureDefMap")()
    for signature in signatures:
        definition = found.signature_def[signature.name]
        definition.method_name = PREDICT_METHOD_NAME
        for kind, infos, indices, tensors in (
            ("input", definition.inputs, signature.inputs, inputs),
            ("output", definition.outputs, signature.outputs, outputs),
        ):
            name_of = {
                place.tensor.index: name
                for name, place in tensors.items()
                if place.subgraph == signature.subgraph
            }
            for alias, index in indices.items():
                if index not in name_of:
                    raise Internal(
                        f"Unknown tensor '{index}'.\n\t"
                        f"Signature {kind} {alias} references an unknown tensor"
                    )
                _describe(infos[alias], name_of[index], tensors[name_of[index]].tensor)
    return found


def _made(inputs: Places, outputs: Places) -> Any:
    found = message_class("tensorflow.serving.SignatureDefMap")()
    definition = found.signature_def[DEFAULT_SIGNATURE]
    definition.method_name = PREDICT_METHOD_NAME
    for infos, tensors in ((definition.inputs, inputs), (definition.outputs, outputs)):
        for name, place in _of_primary(tensors):
            _describe(infos[_legacy(name)], name, place.tensor)
    return found


def _of_primary(tensors: Places) -> Iterator[tuple[str, Place]]:
    return ((name, place) for name, place in tensors.items() if place.subgraph == 0)


def _describe(info: Any, name: str, tensor: Tensor) -> None:
    info.name = name
    info.dtype = number_of(tensor.dtype)
    info.tensor_shape.SetInParent()
    for size in tensor.shape:
        info.tensor_shape.dim.add(size=size)


def _known(tensors: Places, name: str, context: str) -> str:
    """The name under which a tensor is known: itself, or without what follows a colon."""
    for candidate in (name, _legacy(name)):
        if candidate in tensors:
            return candidate
    raise Internal(f"Unknown tensor '{name}'.\n\t{context}")


def _legacy(name: str) -> str:
    """Early converters took the `:0` off the names of TensorFlow's tensors."""
    return name.partition(":")[0]
