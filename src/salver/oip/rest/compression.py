"""Answers that are sent gzipped or deflated, to clients that ask for just that.

`Accept-Encoding: gzip` asks for it, as Triton's clients do when they are told to. Libraries list
all codings that they understand (`gzip, deflate, br`) with each request; their answers are sent as
they are: tensors hardly shrink, and a deflated answer costs many times what the model does.
"""

import zlib
from collections.abc import Coroutine
from functools import lru_cache
from typing import Any, Final, Literal

from salver.inference.later import Later
from salver.instruments.threads import InPool
from salver.transport.messages import HttpResponse

__all__ = ["Coding", "compressed", "wanted_coding"]

Coding = Literal["gzip", "deflate"]
Answer = HttpResponse | Coroutine[Any, Any, HttpResponse]

_WINDOW: Final[dict[Coding, int]] = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_LEVEL: Final = 1
_SMALLEST_BYTES: Final = 256  # less hardly shrinks
_LARGE_BYTES: Final = 8 << 10  # more is not compressed in the loop


@lru_cache(maxsize=256)
def wanted_coding(accepted: bytes) -> Coding | None:
    """The one coding that `Accept-Encoding` asks for; None for another, for none, or for several.

    Source: RFC 9110 §12.5.3.
    """
    wanted = []
    for part in accepted.decode("latin-1").lower().split(","):
        name, _, weight = part.strip().partition(";")
        is_refused = weight.replace(" ", "").rstrip("0") in ("q=", "q=0.", "q=.")
        if name.strip() not in ("", "identity") and not is_refused:
            wanted.append(name.strip())
    if wanted == ["gzip"]:
        return "gzip"
    return "deflate" if wanted == ["deflate"] else None


def compressed(answer: Answer, coding: Coding, in_pool: InPool) -> Answer:
    """The same answer in a coding, if it is worth it.

    Args:
        answer: as it was made, or is being made.
        coding: see there.
        in_pool: compresses what is large.
    """
    if not isinstance(answer, HttpResponse):
        return Later(_awaited(answer, coding, in_pool), answer.close)
    if answer.size < _SMALLEST_BYTES:
        return answer
    if answer.size <= _LARGE_BYTES:
        return _compressed(answer, coding)
    return _in_pool(answer, coding, in_pool)


async def _awaited(
    answer: "Coroutine[Any, Any, HttpResponse]", coding: Coding, in_pool: InPool
) -> HttpResponse:
    made = compressed(await answer, coding, in_pool)
    return made if isinstance(made, HttpResponse) else await made


async def _in_pool(answer: HttpResponse, coding: Coding, in_pool: InPool) -> HttpResponse:
    made: HttpResponse = await in_pool(lambda: _compressed(answer, coding), answer.size)
    return made


def _compressed(answer: HttpResponse, coding: Coding) -> HttpResponse:
    stream = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW[coding])
    parts = [stream.compress(part) for part in (answer.body, *answer.more)]
    body = b"".join((*parts, stream.flush()))
    headers = (*answer.headers, ("Content-Encoding", coding), ("Vary", "Accept-Encoding"))
    return HttpResponse(answer.status, body, answer.content_type, headers, answer.close)
