"""What Predict checks of a request and its signature. Pure.

Source: TensorFlow Serving, `servables/tensorflow/predict_util.cc`, and TensorFlow,
`cc/saved_model/util.cc` (GetInputValues).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from salver.errors import FailedPrecondition, Internal, InvalidArgument
from salver.vocabulary.hints import inputs_hint, signatures_hint
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import (
    CLASSIFY_METHOD_NAME,
    PREDICT_METHOD_NAME,
    REGRESS_METHOD_NAME,
    Signature,
)

__all__ = [
    "check_predict_signature",
    "predict_feeds",
    "predict_fetches",
    "unknown_output",
    "unknown_serving_signature",
]

_METHOD_NAMES = (PREDICT_METHOD_NAME, CLASSIFY_METHOD_NAME, REGRESS_METHOD_NAME)

W = TypeVar("W")


def unknown_serving_signature(name: str, known: Iterable[str]) -> FailedPrecondition:
    """The error for a signature the model does not have."""
    return FailedPrecondition(
        f'Serving signature key "{name}" not found.',
        hint=signatures_hint(known),
    )


def check_predict_signature(signature: Signature) -> None:
    """Refuse a signature exported for something else (`--enable_signature_method_name_check`).

    Raises:
        Internal: in the reference's words.
    """
    if signature.method_name not in _METHOD_NAMES:
        raise Internal(
            "Expected prediction signature method_name to be one of "
            f"{{{', '.join(_METHOD_NAMES)}}}. Was: {signature.method_name}"
        )


def predict_feeds(
    signature: Signature,
    given: Mapping[str, W],
    decode: Callable[[W], Array],
    feed_names: Sequence[str],
) -> list[Array]:
    """What is fed: what the request gives, and the signature's defaults for what it leaves out.

    Args:
        signature: of the version that answers.
        given: alias → tensor, as it came.
        decode: makes an array of a tensor as it came; raises InvalidArgument.
        feed_names: what the model calls its inputs, for the text of an error.

    Returns:
        One array per input of the signature, in its order.

    Raises:
        InvalidArgument: in the reference's words. Where several inputs are wrong, the first by
            name is told of; there it is whichever a hash map comes upon.
    """
    inputs = signature.inputs
    if len(given) != len(inputs) and (len(given) > len(inputs) or not signature.defaults):
        raise _wrong_number(signature, given)
    feeds = []
    used = 0
    for alias in inputs:
        tensor = given.get(alias)
        if tensor is None:
            if alias not in signature.defaults:
                raise _missing(signature, given, alias, feed_names[list(inputs).index(alias)])
            feeds.append(_default(signature, alias))
            continue
        used += 1
        try:
            feeds.append(decode(tensor))
        except InvalidArgument as error:
            raise InvalidArgument(f"tensor parsing error: {alias}", hint=error.message) from error
    if used != len(given):
        raise InvalidArgument(
            f"Inputs contains invalid name. Used request inputs: {_sorted(inputs.keys() & given)}, "
            f"request input: {_sorted(given)}",
            hint=inputs_hint(inputs),
        )
    if signature.row_defaults and used < len(inputs):
        sent = {alias: feed for alias, feed in zip(inputs, feeds, strict=True) if alias in given}
        return signature.filled(sent)
    return feeds


def _default(signature: Signature, alias: str) -> Array:
    default = signature.defaults[alias]
    if default is None:
        raise InvalidArgument(
            f"tensor parsing error: {alias}", hint="The model's own default cannot be read"
        )
    return default


def _wrong_number(signature: Signature, given: Mapping[str, object]) -> InvalidArgument:
    sent, wanted = given.keys(), signature.inputs.keys()
    return InvalidArgument(
        f"input size does not match signature: {len(sent)}!={len(wanted)} "
        f"len({{{_sorted(sent)}}}) != len({{{_sorted(wanted)}}}). "
        f"Sent extra: {{{_sorted(sent - wanted)}}}. "
        f"Missing but required: {{{_sorted(wanted - sent)}}}.",
        hint=inputs_hint(signature.inputs),
    )


def _missing(
    signature: Signature, given: Mapping[str, object], alias: str, feed_name: str
) -> InvalidArgument:
    return InvalidArgument(
        f"Signature input alias: {alias}(feed name: {feed_name}) not "
        "found in request and no default value provided. Inputs expected to be in the request "
        f"{{{_sorted(given)}}}, or default input alias set: {_sorted(signature.defaults)}",
        hint=inputs_hint(signature.inputs),
    )


def predict_fetches(signature: Signature, output_filter: Sequence[str]) -> tuple[str, ...]:
    """The aliases of the outputs a request wants, in the order of the signature.

    Args:
        signature: of the version that answers.
        output_filter: what it asks for; empty for all there are.

    Raises:
        InvalidArgument: there is no such output, or one is asked for twice.
    """
    seen: set[str] = set()
    for alias in output_filter:
        if alias not in signature.outputs:
            raise unknown_output(signature.outputs, alias)
        if alias in seen:
            raise InvalidArgument(f"duplicate output tensor alias: {alias}")
        seen.add(alias)
    return tuple([alias for alias in signature.outputs if alias in seen or not seen])


def unknown_output(outputs: Iterable[str], alias: str) -> InvalidArgument:
    """The error for an output the signature does not have."""
    return InvalidArgument(
        f"output tensor alias not found in signature: {alias} Outputs expected to be in the set "
        f"{{{_sorted(outputs)}}}."
    )


def _sorted(names: Iterable[str]) -> str:
    return ",".join(sorted(names))
