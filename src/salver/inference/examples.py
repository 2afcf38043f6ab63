"""Classify and Regress: serialized tf.Examples in, classes or values out. Pure.

Source: TensorFlow Serving, `servables/tensorflow/classifier.cc` and `regressor.cc`.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from google.protobuf import text_format

from salver._pb import message_class
from salver.dtypes import DataType, dtype_of_array
from salver.errors import InvalidArgument
from salver.hints import signatures_hint
from salver.requests import Array, ClassifyResult, RegressResult
from salver.signature import (
    CLASSIFY_INPUTS,
    CLASSIFY_METHOD_NAME,
    CLASSIFY_OUTPUT_CLASSES,
    CLASSIFY_OUTPUT_SCORES,
    REGRESS_INPUTS,
    REGRESS_METHOD_NAME,
    REGRESS_OUTPUTS,
    Signature,
)

__all__ = [
    "CheckSignature",
    "check_classify_signature",
    "check_regress_signature",
    "classify_result",
    "example_tensor",
    "regress_result",
    "unknown_signature",
]


class CheckSignature(Protocol):
    """See `check_classify_signature`."""

    def __call__(
        self, name: str, signature: Signature, signature_def_map: bytes, *, is_method_checked: bool
    ) -> None: ...


def unknown_signature(name: str, known: Sequence[str]) -> InvalidArgument:
    """The error for a signature the model does not have."""
    return InvalidArgument(
        f"No signature was found with the name: {name}",
        hint=signatures_hint(known),
    )


def check_classify_signature(
    name: str, signature: Signature, signature_def_map: bytes, *, is_method_checked: bool
) -> None:
    """Refuse a signature that cannot classify.

    Args:
        name: of the signature.
        signature: the same.
        signature_def_map: for the text of an error.
        is_method_checked: `--enable_signature_method_name_check`.

    Raises:
        InvalidArgument: in the reference's words.
    """
    if is_method_checked and signature.method_name != CLASSIFY_METHOD_NAME:
        raise InvalidArgument(
            f"Expected classification signature method_name to be {CLASSIFY_METHOD_NAME}. "
            f"Was: {signature.method_name}"
        )
    if len(signature.inputs) != 1:
        raise InvalidArgument("Expected one input Tensor.", hint=_only_examples(signature))
    if len(signature.outputs) not in (1, 2):
        raise InvalidArgument(
            f"Expected one or two output Tensors, found {len(signature.outputs)}",
            hint=_only_examples(signature),
        )
    if CLASSIFY_INPUTS not in signature.inputs:
        raise InvalidArgument(
            "No classification inputs found in SignatureDef: "
            + _debug_string(name, signature_def_map),
            hint=_only_examples(signature),
        )
    if not {CLASSIFY_OUTPUT_CLASSES, CLASSIFY_OUTPUT_SCORES} & signature.outputs.keys():
        raise InvalidArgument(
            "Expected classification signature outputs to contain at least one of "
            f'"{CLASSIFY_OUTPUT_CLASSES}" or "{CLASSIFY_OUTPUT_SCORES}". Signature was: '
            + _debug_string(name, signature_def_map),
            hint=_only_examples(signature),
        )


def check_regress_signature(
    name: str, signature: Signature, signature_def_map: bytes, *, is_method_checked: bool
) -> None:
    """Refuse a signature that cannot regress; see `check_classify_signature`."""
    if is_method_checked and signature.method_name != REGRESS_METHOD_NAME:
        raise InvalidArgument(
            f"Expected regression signature method_name to be {REGRESS_METHOD_NAME}. "
            f"Was: {signature.method_name}"
        )
    if len(signature.inputs) != 1:
        raise InvalidArgument("Expected one input Tensor.", hint=_only_examples(signature))
    if len(signature.outputs) != 1:
        raise InvalidArgument("Expected one output Tensor.", hint=_only_examples(signature))
    for key, keys, what in (
        (REGRESS_INPUTS, signature.inputs, "inputs"),
        (REGRESS_OUTPUTS, signature.outputs, "outputs"),
    ):
        if key not in keys:
            raise InvalidArgument(
                f"No regression {what} found in SignatureDef: "
                + _debug_string(name, signature_def_map),
                hint=_only_examples(signature),
            )


def _only_examples(signature: Signature) -> str:
    return (
        "classify and regress feed tf.Examples to a signature made for them; this one takes "
        f"{', '.join(signature.inputs) or 'nothing'}: use predict"
    )


def _debug_string(name: str, signature_def_map: bytes) -> str:
    parsed = message_class("tensorflow.serving.SignatureDefMap").FromString(signature_def_map)
    return text_format.MessageToString(parsed.signature_def[name])


def example_tensor(examples: Sequence[bytes]) -> Array:
    """The tensor that is fed, shape (examples,).

    Raises:
        InvalidArgument: there are no examples.
    """
    if not examples:
        raise InvalidArgument("Input is empty.")
    tensor = np.empty(len(examples), dtype=object)
    tensor[:] = examples
    return tensor


def classify_result(outputs: Mapping[str, Array], n_examples: int) -> ClassifyResult:
    """Check what the model gave and name it.

    Args:
        outputs: `classes`, `scores` or both; shape (examples, classes).
        n_examples: number of examples fed.

    Raises:
        InvalidArgument: a shape or dtype is not as a classification needs it.
    """
    classes = outputs.get(CLASSIFY_OUTPUT_CLASSES)
    scores = outputs.get(CLASSIFY_OUTPUT_SCORES)
    if classes is not None:
        _check_output("classes", classes, DataType.STRING, n_examples)
    if scores is not None:
        _check_output("scores", scores, DataType.FLOAT, n_examples)
    if classes is not None and scores is not None and classes.shape[1] != scores.shape[1]:
        raise InvalidArgument(
            "Tensors class and score should match in dim_size(1). Got "
            f"{classes.shape[1]} vs. {scores.shape[1]}"
        )
    return ClassifyResult(labels=None if classes is None else classes.tolist(), scores=scores)


def _check_output(what: str, tensor: Array, dtype: DataType, n_examples: int) -> None:
    if tensor.ndim != 2:
        raise InvalidArgument(
            f"Expected Tensor shape: [batch_size num_classes] but got {_shape_text(tensor)}"
        )
    found = dtype_of_array(tensor.dtype)
    if found is not dtype:
        raise InvalidArgument(f"Expected {what} Tensor of DT_{dtype.name}. Got: DT_{found.name}")
    if tensor.shape[0] != n_examples:
        raise InvalidArgument(
            f"Expected {what} output batch size of {n_examples}. Got: {tensor.shape[0]}"
        )


def regress_result(outputs: Mapping[str, Array], n_examples: int) -> RegressResult:
    """Check what the model gave and flatten it.

    Args:
        outputs: `outputs`, shape (examples,) or (examples, 1).
        n_examples: number of examples fed.

    Raises:
        InvalidArgument: the shape or dtype is not as a regression needs it.
    """
    tensor = outputs[REGRESS_OUTPUTS]
    if not (tensor.ndim == 1 or (tensor.ndim == 2 and tensor.shape[1] == 1)):
        raise InvalidArgument(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
            + _shape_text(tensor)
        )
    if tensor.shape[0] != n_examples:
        raise InvalidArgument(
            f"Input batch size did not match output batch size: {n_examples} vs. {tensor.shape[0]}"
        )
    found = dtype_of_array(tensor.dtype)
    if found is not DataType.FLOAT:
        raise InvalidArgument(f"Expected output Tensor of DT_FLOAT.  Got: DT_{found.name}")
    return RegressResult(values=tensor.reshape(-1))


def _shape_text(tensor: Array) -> str:
    return "[" + ",".join(map(str, tensor.shape)) + "]"
