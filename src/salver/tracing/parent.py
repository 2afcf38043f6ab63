"""`traceparent`: whose part a request is, and whether that is traced. Source: W3C Trace Context."""

import re
from dataclasses import dataclass
from typing import Final

__all__ = ["Parent", "parent_of", "traceparent"]

# A later version may have more behind the flags, and is read as far as it is known.
_FORM: Final = re.compile(
    rb"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})"
    rb"(?P<more>-[ -~]*)?"
)
_SAMPLED: Final = 1


@dataclass(frozen=True, slots=True)
class Parent:
    """The span of a client.

    Attributes:
        trace_id: 128 bits, not 0.
        span_id: 64 bits, not 0.
        is_sampled: whether the client keeps it.
    """

    trace_id: int
    span_id: int
    is_sampled: bool


def parent_of(value: bytes) -> Parent | None:
    """What the field says; None for what does not say it well, which counts for nothing."""
    found = _FORM.fullmatch(value)
    if found is None or found["version"] == b"ff":
        return None
    if found["version"] == b"00" and found["more"] is not None:
        return None
    trace_id, span_id = int(found["trace"], 16), int(found["span"], 16)
    if not trace_id or not span_id:
        return None
    return Parent(trace_id, span_id, bool(int(found["flags"], 16) & _SAMPLED))


def traceparent(trace_id: int, span_id: int, *, is_sampled: bool) -> str:
    """The field that says it."""
    return f"00-{trace_id:032x}-{span_id:016x}-{is_sampled:02x}"
