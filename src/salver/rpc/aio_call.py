"""What a method learns of a call that came through the gRPC library."""

import re
from base64 import b64encode
from typing import Any, Final
from urllib.parse import unquote

from salver.protocols.methods import Call
from salver.transport.identity import TlsIdentity
from salver.transport.messages import Headers

__all__ = ["AioCall"]

_PEER: Final = re.compile(r"(?:ipv4|ipv6):\[?(?P<address>[^\]]*?)\]?:\d+")
_BINARY: Final = b"-bin"
_SUBJECT: Final = "x509_subject"
_NAMES: Final = "x509_subject_alternative_name"


class AioCall(Call):
    """One call; what is not asked for is not read."""

    __slots__ = ("_context", "_target")

    def __init__(self, context: Any, target: str) -> None:
        super().__init__(context.time_remaining())
        self._context = context
        self._target = target

    @property
    def target(self) -> str:
        """See `Call`."""
        return self._target

    @property
    def peer(self) -> str | None:
        """See `RequestContext`."""
        found = _PEER.fullmatch(unquote(self._context.peer()))
        return None if found is None else found["address"].removeprefix("::ffff:")

    @property
    def identity(self) -> TlsIdentity | None:
        """See `RequestContext`."""
        about = self._context.auth_context()
        subjects, names = about.get(_SUBJECT, ()), about.get(_NAMES, ())
        if not subjects and not names:
            return None
        return TlsIdentity(
            subjects[0].decode(errors="replace") if subjects else "",
            tuple(name.decode(errors="replace") for name in names),
        )

    def add_trailer(self, name: bytes, value: bytes) -> None:
        """See `Call`."""
        present = self._context.trailing_metadata() or ()
        self._context.set_trailing_metadata((*present, (name.decode(), value.decode())))

    def header(self, name: bytes) -> bytes | None:
        """See `RequestContext`."""
        sought = name.decode("latin-1")
        for key, value in self._context.invocation_metadata() or ():
            if key == sought:
                return value if isinstance(value, bytes) else value.encode("latin-1")
        return None

    @property
    def all_headers(self) -> Headers:
        """See `Call`. What is binary is written as on the wire."""
        lines = []
        for key, value in self._context.invocation_metadata() or ():
            name = key.encode("latin-1")
            if name.endswith(_BINARY):
                value = b64encode(value).rstrip(b"=")
            lines.append(
                b"%b: %b\r\n"
                % (name, value if isinstance(value, bytes) else value.encode("latin-1"))
            )
        return Headers(b"".join(lines))
