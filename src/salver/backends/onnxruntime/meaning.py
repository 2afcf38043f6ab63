"""What can be asked of an ONNX model: its signatures, and how each is answered.

`serving_default` takes the inputs of the graph and gives its outputs, by their names. A ZipMap,
which makes a list of maps out of a matrix of probabilities for programs in Python, gives that
matrix. A sequence of tensors of one shape is given as one tensor. A graph with a classifier whose
labels stand in the file has the signature `classify` too, one with a regressor `regress`: both
take `tf.Example`s, whose features are the inputs of the graph.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from salver.backends.onnxruntime.model_file import ModelFile, Span
from salver.backends.onnxruntime.nodes import CLASSIFIERS, REGRESSORS, ZIP_MAP
from salver.backends.onnxruntime.value_types import Value
from salver.errors import InvalidArgument, Unimplemented
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.signature import (
    CLASSIFY_INPUTS,
    CLASSIFY_METHOD_NAME,
    CLASSIFY_OUTPUT_CLASSES,
    CLASSIFY_OUTPUT_SCORES,
    DEFAULT_SIGNATURE,
    REGRESS_INPUTS,
    REGRESS_METHOD_NAME,
    REGRESS_OUTPUTS,
    Signature,
    TensorSpec,
)

__all__ = ["CLASSIFY", "REGRESS", "Meaning", "ZipMap", "meaning_of"]

CLASSIFY: Final = "classify"
REGRESS: Final = "regress"
_FEATURES: Final = frozenset(
    {DataType.FLOAT32, DataType.FLOAT64, DataType.INT32, DataType.INT64, DataType.STRING}
)


@dataclass(frozen=True, slots=True)
class ZipMap:
    """A node to be replaced by one that gives its matrix.

    Attributes:
        node: where it stands in the file.
        declared: where its output is declared.
        input: name of the matrix.
        output: as the signature has it.
    """

    node: Span
    declared: Span
    input: str
    output: Value


@dataclass(frozen=True, slots=True)
class Meaning:
    """What can be asked of a model.

    Attributes:
        inputs: in the order of the signature.
        outputs: likewise; tensors, or sequences of tensors.
        zip_maps: what is to be changed in the file before it is loaded.
        labels: of the classes; empty where there are none.
        answer: the output that `classify` or `regress` gives; None where there is neither.
        signatures: name → signature.
    """

    inputs: Sequence[Value]
    outputs: Sequence[Value]
    zip_maps: Sequence[ZipMap]
    labels: Sequence[bytes]
    answer: Value | None
    signatures: Mapping[str, Signature]


def meaning_of(file: ModelFile) -> Meaning:
    """Find what can be asked of a file.

    Raises:
        Unimplemented: an input or output is no tensor, or of elements that nothing here holds.
        InvalidArgument: one has no type.
    """
    zip_maps = _zip_maps(file)
    replaced = {each.output.name: each.output for each in zip_maps}
    inputs = sorted((_fed(file, each) for each in file.inputs), key=_name)
    outputs = sorted(
        (replaced.get(each.name) or _given(file, each) for each in file.outputs), key=_name
    )
    signatures = {
        DEFAULT_SIGNATURE: Signature(
            {each.name: TensorSpec(each.dtype, each.shape) for each in inputs},
            {each.name: _given_spec(each) for each in outputs},
        )
    }
    labels, answer = _classified(file, outputs, zip_maps)
    if answer is None:
        answer = _regressed(file, outputs)
    if answer is not None and _can_take_examples(inputs):
        name = CLASSIFY if labels else REGRESS
        signatures[name] = _of_classes(len(labels)) if labels else _REGRESS_SIGNATURE
    else:
        answer = None
    return Meaning(inputs, outputs, zip_maps, labels, answer, signatures)


def _name(value: Value) -> str:
    return value.name


def _fed(file: ModelFile, value: Value) -> Value:
    if value.kind != "tensor":
        raise _refusal(file, "Input", value)
    return _held(file, "Input", value)


def _given(file: ModelFile, value: Value) -> Value:
    if value.kind == "sequence" and value.of is not None and value.of.kind == "tensor":
        _held(file, "Output", replace(value.of, name=value.name))
        return value
    if value.kind != "tensor":
        raise _refusal(file, "Output", value)
    return _held(file, "Output", value)


def _held(file: ModelFile, what: str, value: Value) -> Value:
    if value.dtype is DataType.INVALID:
        raise Unimplemented(
            f"{what} {value.name} of {file.path} has elements of ONNX's type {value.element}, "
            "which no tensor holds here"
        )
    return value


def _refusal(file: ModelFile, what: str, value: Value) -> InvalidArgument | Unimplemented:
    if not value.kind:
        return InvalidArgument(
            f"{what} {value.name} of {file.path} is declared without a type",
            hint="onnx.shape_inference.infer_shapes writes the types of outputs into a model.",
        )
    kind = value.kind
    if value.of is not None:
        kind += f" of {value.of.kind}s"
    article = "an" if kind[0] in "aeiou" else "a"
    hint = None
    if what == "Output":
        hint = "Convert the model so that it gives tensors alone, or take the output off its graph."
    return Unimplemented(
        f"{what} {value.name} of {file.path} is {article} {kind}: only tensors are served",
        hint=hint,
    )


def _given_spec(value: Value) -> TensorSpec:
    if value.of is None:
        return TensorSpec(value.dtype, value.shape)
    shape = value.of.shape
    return TensorSpec(value.of.dtype, None if shape is None else (-1, *shape))


# -- classical models ------------------------------------------------------------------------------


def _zip_maps(file: ModelFile) -> list[ZipMap]:
    declared = dict(zip(map(_name, file.outputs), file.output_spans, strict=True))
    made = [
        (span, node, node.outputs[0])
        for span, node in file.nodes
        if node.kind == ZIP_MAP and len(node.inputs) == len(node.outputs) == 1
    ]
    return [
        ZipMap(
            span,
            declared[name],
            node.inputs[0],
            Value(name, "tensor", 1, ("", len(node.labels) or "")),
        )
        for span, node, name in made
        if name in declared
    ]


def _classified(
    file: ModelFile, outputs: Sequence[Value], zip_maps: Sequence[ZipMap]
) -> tuple[Sequence[bytes], Value | None]:
    """The labels of classes, and the output with their probabilities."""
    nodes = [node for _, node in file.nodes]
    if len(zip_maps) == 1:
        answer = zip_maps[0].output
        labels = next(
            node.labels for node in nodes if node.kind == ZIP_MAP and answer.name in node.outputs
        )
        return (labels, answer) if labels else ((), None)
    classifiers = [node for node in nodes if node.kind in CLASSIFIERS and node.labels]
    floats = [each for each in outputs if each.dtype is DataType.FLOAT32 and _rank(each) == 2]
    if len(classifiers) != 1 or len(floats) != 1:
        return (), None
    labels, columns = classifiers[0].labels, (floats[0].dims or ("", ""))[1]
    return (labels, floats[0]) if columns in ("", len(labels)) else ((), None)


def _regressed(file: ModelFile, outputs: Sequence[Value]) -> Value | None:
    if len(outputs) != 1 or outputs[0].dtype is not DataType.FLOAT32:
        return None
    if not any(node.kind in REGRESSORS for _, node in file.nodes):
        return None
    shape = outputs[0].shape or ()
    is_column = len(shape) == 1 or (len(shape) == 2 and shape[1] in (1, -1))
    return outputs[0] if is_column else None


def _rank(value: Value) -> int | None:
    return None if value.dims is None or value.kind != "tensor" else len(value.dims)


def _can_take_examples(inputs: Sequence[Value]) -> bool:
    """Whether each input is made of a feature of each example: rows of numbers, or of strings."""
    return bool(inputs) and all(
        each.dtype in _FEATURES and _rank(each) in (1, 2) and not _is_fixed(each) for each in inputs
    )


def _is_fixed(value: Value) -> bool:
    return not value.dims or isinstance(value.dims[0], int)


_EXAMPLES: Final = TensorSpec(DataType.STRING, (-1,))
_REGRESS_SIGNATURE: Final = Signature(
    {REGRESS_INPUTS: _EXAMPLES},
    {REGRESS_OUTPUTS: TensorSpec(DataType.FLOAT32, (-1, 1))},
    REGRESS_METHOD_NAME,
)


def _of_classes(number: int) -> Signature:
    return Signature(
        {CLASSIFY_INPUTS: _EXAMPLES},
        {
            CLASSIFY_OUTPUT_CLASSES: TensorSpec(DataType.STRING, (-1, number)),
            CLASSIFY_OUTPUT_SCORES: TensorSpec(DataType.FLOAT32, (-1, number)),
        },
        CLASSIFY_METHOD_NAME,
    )
