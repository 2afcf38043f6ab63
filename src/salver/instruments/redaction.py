"""Texts that clients choose, for logs and traces, without the keys and tokens in them.

A key belongs into a header field. Who puts it into an address (`?api_key=…`) is refused, and what
was sent would stand in logs all the same.
"""

import re
from typing import Final

__all__ = ["redacted"]

_KEY: Final = "salver_"  # see `salver.access.keys`
_JWT: Final = "eyJ"  # how JSON begins in base64: the header of each token
_LEAST_SECRET: Final = 16  # characters; also a key that lacks some tells too much of the whole
# Each word is looked at once, so that no text takes more than linear time.
_WORD: Final = re.compile(r"[A-Za-z0-9._-]{20,}")


def redacted(text: str) -> str:
    """A text with `…` in the place of what makes an API key or a token of use.

    The id of a key stays: it tells whose it was.
    """
    if _KEY not in text and _JWT not in text:
        return text
    return _WORD.sub(_without_secret, text)


def _without_secret(found: "re.Match[str]") -> str:
    word = found[0]
    if _KEY in word:
        beginning, _, secret = word.rpartition("_")
        if len(secret) >= _LEAST_SECRET:
            return f"{beginning}_…"
    at = word.find(_JWT)
    return f"{word[:at]}…" if at >= 0 and word.count(".", at) >= 2 else word
