"""The header blocks a gRPC server answers with. Most are the same every time, and made once."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from salver.errors import ServingError
from salver.protocols.version_header import VERSION_HEADER
from salver.rpc.errors import RpcStatus, rpc_status
from salver.rpc.http2_metadata import ACCEPTED_ENCODINGS, percent_encoded
from salver.transport.http2.header_blocks import encode_block
from salver.vocabulary.hints import HINT_METADATA

__all__ = [
    "HEAD",
    "TRAILERS_OK",
    "Field",
    "head_of",
    "plain_refusal",
    "refusal_of",
    "trailers_of",
    "trailers_ok",
]

Field = tuple[bytes, bytes]

_BEGIN: Final[tuple[Field, ...]] = (
    (b":status", b"200"),
    (b"content-type", b"application/grpc"),
)
_HINT: Final = HINT_METADATA.encode()
_VERSION: Final = VERSION_HEADER.encode()
_ACCEPTED: Final[Field] = (b"grpc-accept-encoding", ACCEPTED_ENCODINGS)

HEAD: Final = encode_block((*_BEGIN, _ACCEPTED))
"""Before the messages of an answer that is not compressed."""
_OK: Final[Field] = (b"grpc-status", b"0")
TRAILERS_OK: Final = encode_block([_OK])


def trailers_ok(fields: Sequence[Field]) -> bytes:
    """What ends an answer that brings fields of metadata behind it."""
    return encode_block((_OK, *fields))


def head_of(encoding: bytes | None) -> bytes:
    """What comes before the messages of an answer."""
    if encoding is None:
        return HEAD
    return _encoded_head(encoding)


@lru_cache(maxsize=4)
def _encoded_head(encoding: bytes) -> bytes:
    return encode_block((*_BEGIN, _ACCEPTED, (b"grpc-encoding", encoding)))


def trailers_of(error: ServingError, fields: Sequence[Field] = ()) -> bytes:
    """What ends an answer that has begun and fails; `fields` are further metadata."""
    status = rpc_status(error)
    return encode_block((*_status(status), *fields)) if fields else _trailers(status)


@lru_cache(maxsize=256)
def _trailers(status: RpcStatus) -> bytes:
    return encode_block(_status(status))


def refusal_of(error: ServingError, fields: Sequence[Field] = ()) -> bytes:
    """The whole answer of a call that fails before it has one; `fields` are further metadata."""
    status = rpc_status(error)
    if fields:
        return encode_block((*_BEGIN, _ACCEPTED, *_status(status), *fields))
    return _refusal(status)


@lru_cache(maxsize=256)
def _refusal(status: RpcStatus) -> bytes:
    return encode_block((*_BEGIN, _ACCEPTED, *_status(status)))


def _status(status: RpcStatus) -> tuple[Field, ...]:
    said = [
        (b"grpc-status", b"%d" % status.code),
        (b"grpc-message", percent_encoded(status.message)),
    ]
    if status.hint:
        said.append((_HINT, percent_encoded(status.hint)))
    if status.version is not None:
        said.append((_VERSION, b"%d" % status.version))
    return tuple(said)


def plain_refusal(status: int, error: ServingError) -> bytes:
    """The whole answer to what is no call of gRPC: a status of HTTP, and one of gRPC beside it."""
    return encode_block(
        (
            (b":status", b"%d" % status),
            (b"content-type", b"application/grpc"),
            *_status(rpc_status(error)),
        )
    )
