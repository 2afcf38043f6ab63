"""What the answers of ModelStreamInfer have besides a response."""

from typing import Final

from salver.codecs.oip.infer_message import InferMessage
from salver.codecs.protobuf.wire import length_delimited

__all__ = ["IS_FINAL", "IS_NOT_FINAL", "empty_response", "text_fields"]


def _final_response(value: bytes) -> bytes:
    """The parameter of an answer that says whether it is the last one to its request."""
    entry = length_delimited(1, b"triton_final_response") + length_delimited(2, b"\x08" + value)
    return length_delimited(4, entry)


IS_FINAL: Final = _final_response(b"\1")
"""What the last answer to a request ends with, as we write it."""
IS_NOT_FINAL: Final = _final_response(b"\0")


def empty_response(message: InferMessage) -> bytes:
    """A response without outputs: what the request says of itself."""
    return text_fields(message.model_name, message.model_version, message.id)


def text_fields(*texts: str) -> bytes:
    """The first fields of a message, which are texts."""
    return b"".join(
        [length_delimited(at, text.encode()) for at, text in enumerate(texts, 1) if text]
    )
