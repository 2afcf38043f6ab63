"""The header blocks a gRPC server answers with. Most are the same every time, and made once."""

from functools import lru_cache
from typing import Final

from salver.errors import ServingError
from salver.rpc.errors import rpc_status
from salver.rpc.http2_metadata import ACCEPTED_ENCODINGS, percent_encoded
from salver.transport.http2.header_blocks import encode_block

__all__ = ["HEAD", "TRAILERS_OK", "head_of", "plain_refusal", "refusal_of", "trailers_of"]

Field = tuple[bytes, bytes]

_BEGIN: Final[tuple[Field, ...]] = (
    (b":status", b"200"),
    (b"content-type", b"application/grpc"),
)
_ACCEPTED: Final[Field] = (b"grpc-accept-encoding", ACCEPTED_ENCODINGS)

HEAD: Final = encode_block((*_BEGIN, _ACCEPTED))
"""Before the messages of an answer that is not compressed."""
TRAILERS_OK: Final = encode_block([(b"grpc-status", b"0")])


def head_of(encoding: bytes | None) -> bytes:
    """What comes before the messages of an answer."""
    if encoding is None:
        return HEAD
    return _encoded_head(encoding)


@lru_cache(maxsize=4)
def _encoded_head(encoding: bytes) -> bytes:
    return encode_block((*_BEGIN, _ACCEPTED, (b"grpc-encoding", encoding)))


def trailers_of(error: ServingError) -> bytes:
    """What ends an answer that has begun and fails."""
    status = rpc_status(error)
    return _trailers(status.code, status.message)


@lru_cache(maxsize=256)
def _trailers(code: int, message: str) -> bytes:
    return encode_block(_status(code, message))


def refusal_of(error: ServingError) -> bytes:
    """The whole answer of a call that fails before it has one."""
    status = rpc_status(error)
    return _refusal(status.code, status.message)


@lru_cache(maxsize=256)
def _refusal(code: int, message: str) -> bytes:
    return encode_block((*_BEGIN, _ACCEPTED, *_status(code, message)))


def _status(code: int, message: str) -> tuple[Field, ...]:
    return (b"grpc-status", b"%d" % code), (b"grpc-message", percent_encoded(message))


def plain_refusal(status: int, error: ServingError) -> bytes:
    """The whole answer to what is no call of gRPC: a status of HTTP, and one of gRPC beside it."""
    said = rpc_status(error)
    return encode_block(
        (
            (b":status", b"%d" % status),
            (b"content-type", b"application/grpc"),
            *_status(said.code, said.message),
        )
    )
