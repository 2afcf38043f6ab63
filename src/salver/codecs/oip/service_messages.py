"""Messages of `inference.GRPCInferenceService` but for inference: none is on a hot path.

What a response says comes as a plain dict, with the names of the message's fields, from which REST
writes its JSON, too.
"""

from typing import Any, Final

from google.protobuf import json_format

from salver._pb import POOL, message_class
from salver.codecs.protobuf.wire import SCANNED_FIELDS, Bytes, parse_message, read_length
from salver.errors import Internal

__all__ = ["decode_request", "encode_response", "leading_texts"]

_PACKAGE: Final = "inference."
_FIXED_BYTES: Final = {1: 8, 5: 4}  # wire type → size


def decode_request(name: str, data: bytes) -> Any:
    """The message of this name in `data`, such as `ModelMetadataRequest`.

    Raises:
        Internal: it is malformed.
    """
    return parse_message(_PACKAGE + name, data)


def encode_response(name: str, fields: dict[str, Any]) -> bytes:
    """Serialize a message.

    Args:
        name: of the message, such as `ModelMetadataResponse`.
        fields: as in the JSON form of the message, its names as in the `.proto` file; others are
            left out.
    """
    message = message_class(_PACKAGE + name)()
    json_format.ParseDict(fields, message, ignore_unknown_fields=True, descriptor_pool=POOL)
    data: bytes = message.SerializeToString(deterministic=True)
    return data


def leading_texts(data: Bytes, count: int) -> list[str] | None:
    """The fields 1 to `count` of a message, all of which are texts; empty where it has none.

    Nothing else of the message is looked into, but for its being one. It is read on the loop,
    before anybody knows whether its sender may ask for anything.

    Returns:
        None where it is no message, or has more than `SCANNED_FIELDS`.
    """
    found = [""] * count
    at = 0
    try:
        for _ in SCANNED_FIELDS:
            if at >= len(data):
                break
            tag, at = read_length(data, at)
            kind = tag & 7
            if kind == 2:
                size, at = read_length(data, at)
                if 1 <= tag >> 3 <= count:
                    found[(tag >> 3) - 1] = str(data[at : at + size], "utf-8")
                at += size
            elif kind == 0:
                _, at = read_length(data, at)
            else:
                at += _FIXED_BYTES[kind]
    except (IndexError, KeyError, UnicodeDecodeError, Internal):
        return None
    return found if at == len(data) else None
