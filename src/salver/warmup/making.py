"""Makes warmup records: of requests as REST takes them, or of nothing but the signatures. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from salver.codecs.json.document import Document
from salver.codecs.protobuf.model_spec import ModelSpec
from salver.codecs.protobuf.prediction_log import LogKind, encode_prediction_log
from salver.codecs.protobuf.request_messages import encode_examples_request, encode_predict_request
from salver.errors import InvalidArgument
from salver.inference.examples import check_classify_signature, check_regress_signature
from salver.inference.predict import unknown_serving_signature
from salver.vocabulary.dtypes import DataType, numpy_dtype
from salver.vocabulary.hints import fits, shape_text
from salver.vocabulary.model import ModelInfo
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import (
    CLASSIFY_METHOD_NAME,
    DEFAULT_SIGNATURE,
    REGRESS_METHOD_NAME,
    Signature,
    TensorSpec,
    is_internal,
)
from salver.vocabulary.tensorflow_types import short_text

__all__ = ["Made", "Method", "Target", "default_records", "record_of_body"]

Method = Literal["predict", "classify", "regress", "auto"]
"""What is asked; `auto` is what a request and the signature look like."""

_KINDS: Final[Mapping[str, LogKind]] = {
    "predict": LogKind.PREDICT,
    "classify": LogKind.CLASSIFY,
    "regress": LogKind.REGRESS,
}
_KIND_OF_METHOD_NAME: Final = {
    CLASSIFY_METHOD_NAME: LogKind.CLASSIFY,
    REGRESS_METHOD_NAME: LogKind.REGRESS,
}


@dataclass(frozen=True, slots=True)
class Target:
    """What records are made for.

    Attributes:
        model_name: as requests name it.
        info: of the model.
    """

    model_name: str
    info: ModelInfo

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Of the model."""
        return self.info.signatures


@dataclass(frozen=True, slots=True)
class Made:
    """What came of one request or signature.

    Attributes:
        record: a serialized PredictionLog; None where none can be made.
        doubt: what a person should know; empty where all is well.
    """

    record: bytes | None
    doubt: str = ""


# -- of requests -----------------------------------------------------------------------------------


def record_of_body(
    body: bytes, target: Target, *, signature_name: str = "", method: Method = "auto"
) -> Made:
    """The record of a request as REST takes it.

    Args:
        body: of the request, in JSON: an object with `instances`, `inputs` or `examples`.
        target: what it is for.
        signature_name: of the signature; empty for what the body says, or else the default one.
        method: see there.

    Raises:
        InvalidArgument: the body is wrong, or the signature not made for it.
        FailedPrecondition: the model has no such signature.
        Unimplemented: JSON cannot feed the dtype of an input.
    """
    document = Document(body)
    name = signature_name or document.signature_name or DEFAULT_SIGNATURE
    signature = target.signatures.get(name)
    if signature is None:
        raise unknown_serving_signature(name, target.signatures)
    if method == "auto":
        has_examples = document.has("examples")
        kind = _kind_for_examples(name, signature, target) if has_examples else LogKind.PREDICT
    else:
        kind = _KINDS[method]
    if kind is LogKind.PREDICT:
        return _predict_record(document, name, signature, target)
    asked: Literal["classify", "regress"] = "classify" if kind is LogKind.CLASSIFY else "regress"
    _check_examples_signature(kind, name, target)
    examples = document.examples(asked)
    request = encode_examples_request(_spec(target, name), examples)
    return Made(encode_prediction_log(kind, request))


def _kind_for_examples(name: str, signature: Signature, target: Target) -> LogKind:
    """Whether a signature that takes examples classifies or regresses."""
    kind = _KIND_OF_METHOD_NAME.get(signature.method_name)
    if kind is not None:
        return kind
    try:
        _check_examples_signature(LogKind.REGRESS, name, target)
    except InvalidArgument:
        return LogKind.CLASSIFY  # which will say what is wrong, if something is
    return LogKind.REGRESS


def _check_examples_signature(kind: LogKind, name: str, target: Target) -> None:
    check = check_classify_signature if kind is LogKind.CLASSIFY else check_regress_signature
    check(name, target.info, is_method_checked=False)


def _predict_record(document: Document, name: str, signature: Signature, target: Target) -> Made:
    arrays = document.predict_inputs(name, signature).arrays
    inputs = dict(zip(signature.inputs, arrays, strict=True))
    request = encode_predict_request(_spec(target, name), inputs)
    doubts = [
        f"input {alias} has shape {shape_text(array.shape)}, but signature {name} says "
        f"{shape_text(spec.shape)}"
        for (alias, array), spec in zip(inputs.items(), signature.inputs.values(), strict=True)
        if not fits(array.shape, spec.shape)
    ]
    return Made(encode_prediction_log(LogKind.PREDICT, request), "; ".join(doubts))


def _spec(target: Target, signature_name: str) -> ModelSpec:
    return ModelSpec(target.model_name, signature_name=signature_name)


# -- of signatures ---------------------------------------------------------------------------------


def default_records(
    target: Target, *, signature_name: str = "", method: Method = "auto"
) -> Iterator[tuple[str, Made]]:
    """One record per signature, of zeros and empty strings.

    An axis of unknown size gets 1, a tensor of unknown rank one axis; an input with a default of
    the signature's own is left out.

    Args:
        target: what they are for.
        signature_name: of the only signature that is wanted; empty for all.
        method: what is asked; `auto` is what the signature was exported for.

    Yields:
        Name of a signature, and what came of it.

    Raises:
        FailedPrecondition: there is no such signature.
        InvalidArgument: the only one that is wanted is not made for the method.
    """
    if signature_name and signature_name not in target.signatures:
        raise unknown_serving_signature(signature_name, target.signatures)
    for name, signature in target.signatures.items():
        if signature_name not in ("", name) or is_internal(name):
            continue
        try:
            yield name, _default_record(name, signature, target, method)
        except InvalidArgument as error:
            if signature_name:
                raise
            yield name, Made(None, error.message)


def _default_record(name: str, signature: Signature, target: Target, method: Method) -> Made:
    kind = _KINDS.get(method) or _exported_kind(signature)
    spec = _spec(target, name)
    if kind is not LogKind.PREDICT:
        _check_examples_signature(kind, name, target)
        request = encode_examples_request(spec, [b""])
        return Made(encode_prediction_log(kind, request), _doubt("an example without features"))
    inputs = {
        alias: _zeros(alias, of)
        for alias, of in signature.inputs.items()
        if alias not in signature.defaults
    }
    doubt = ""
    if any(array.dtype.hasobject for array in inputs.values()):
        doubt = _doubt("empty strings")
    request = encode_predict_request(spec, inputs)
    return Made(encode_prediction_log(kind, request), doubt)


def _exported_kind(signature: Signature) -> LogKind:
    """What a signature was exported for; predict where it cannot be fed examples all the same."""
    are_strings = all(spec.dtype is DataType.STRING for spec in signature.inputs.values())
    kind = _KIND_OF_METHOD_NAME.get(signature.method_name, LogKind.PREDICT)
    return kind if are_strings else LogKind.PREDICT


def _doubt(what: str) -> str:
    return f"the request made is of {what}; a model that does not take it will fail to load"


def _zeros(alias: str, spec: TensorSpec) -> Array:
    try:
        dtype = numpy_dtype(spec.dtype)
    except TypeError:
        raise InvalidArgument(
            f"nothing can be fed to input {alias} of type {short_text(spec.dtype)}"
        ) from None
    if not spec.is_dense:
        raise InvalidArgument(f"input {alias} is no dense tensor")
    shape = (1,) if spec.shape is None else tuple([1 if size < 0 else size for size in spec.shape])
    return np.full(shape, b"", object) if dtype.hasobject else np.zeros(shape, dtype)
