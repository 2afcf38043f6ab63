"""Classify and Regress: serialized tf.Examples in, classes or values out. Pure.

Source: TensorFlow Serving, `servables/tensorflow/classifier.cc` and `regressor.cc`.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import numpy as np

from salver.codecs.protobuf.signature_def import definition_text
from salver.errors import InvalidArgument
from salver.inference.servable import Servable, SignatureCall
from salver.vocabulary.dtypes import DataType, dtype_of_array
from salver.vocabulary.hints import signatures_hint
from salver.vocabulary.model import ModelInfo
from salver.vocabulary.requests import Array, ClassifyResult, RegressResult
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
)
from salver.vocabulary.tensorflow_types import enum_name

__all__ = [
    "check_classify_signature",
    "check_regress_signature",
    "classify_result",
    "example_tensor",
    "examples_call",
    "examples_signature",
    "regress_result",
]

_METHODS: Final[Mapping[str, str]] = {
    "classify": CLASSIFY_METHOD_NAME,
    "regress": REGRESS_METHOD_NAME,
}


def examples_call(
    model: Servable,
    method: Literal["classify", "regress"],
    name: str,
    examples: Sequence[bytes],
    *,
    is_method_checked: bool,
) -> tuple[SignatureCall, list[Array]]:
    """What a request of examples calls, and what it feeds.

    Args:
        model: that answers.
        method: of the request.
        name: of the signature, as the request has it; empty for none.
        examples: serialized.
        is_method_checked: `--enable_signature_method_name_check`.

    Raises:
        InvalidArgument: there is no such signature, it is not made for that, or no example.
        ServingError: the signature cannot be run.
    """
    name = examples_signature(method, name, model.info)
    if name not in model.signatures:
        raise InvalidArgument(
            f"No signature was found with the name: {name}",
            hint=signatures_hint(list(model.signatures)),
        )
    check = check_classify_signature if method == "classify" else check_regress_signature
    check(name, model.info, is_method_checked=is_method_checked)
    feeds = [example_tensor(examples)]
    return model.require_call(name), feeds


def examples_signature(method: str, name: str, info: ModelInfo) -> str:
    """The signature that a request means.

    A model that brings TensorFlow's definitions answers by its default signature where a request
    names none, as in the reference. One that knows nothing of TensorFlow may have a signature of
    the method's own name for that.

    Args:
        method: `classify` or `regress`.
        name: what the request names; empty for nothing.
        info: of the model.
    """
    if name:
        return name
    own = info.signatures.get(method) if info.definitions is None else None
    return DEFAULT_SIGNATURE if own is None or own.method_name != _METHODS[method] else method


def check_classify_signature(name: str, info: ModelInfo, *, is_method_checked: bool) -> None:
    """Refuse a signature that cannot classify.

    Args:
        name: of a signature that the model has.
        info: of the model.
        is_method_checked: `--enable_signature_method_name_check`.

    Raises:
        InvalidArgument: in the reference's words.
    """
    signature = info.signatures[name]
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
            "No classification inputs found in SignatureDef: " + definition_text(info, name),
            hint=_only_examples(signature),
        )
    if not {CLASSIFY_OUTPUT_CLASSES, CLASSIFY_OUTPUT_SCORES} & signature.outputs.keys():
        raise InvalidArgument(
            "Expected classification signature outputs to contain at least one of "
            f'"{CLASSIFY_OUTPUT_CLASSES}" or "{CLASSIFY_OUTPUT_SCORES}". Signature was: '
            + definition_text(info, name),
            hint=_only_examples(signature),
        )


def check_regress_signature(name: str, info: ModelInfo, *, is_method_checked: bool) -> None:
    """Refuse a signature that cannot regress; see `check_classify_signature`."""
    signature = info.signatures[name]
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
                f"No regression {what} found in SignatureDef: " + definition_text(info, name),
                hint=_only_examples(signature),
            )


def _only_examples(signature: Signature) -> str:
    return (
        "classify and regress feed tf.Examples to a signature made for them; this one takes "
        f"{', '.join(signature.inputs) or 'nothing'}: use predict"
    )


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
        _check_output("scores", scores, DataType.FLOAT32, n_examples)
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
        raise InvalidArgument(
            f"Expected {what} Tensor of {enum_name(dtype)}. Got: {enum_name(found)}"
        )
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
    if found is not DataType.FLOAT32:
        raise InvalidArgument(f"Expected output Tensor of DT_FLOAT.  Got: {enum_name(found)}")
    return RegressResult(values=tensor.reshape(-1))


def _shape_text(tensor: Array) -> str:
    return "[" + ",".join(map(str, tensor.shape)) + "]"
