"""JSON documents as Python values, exactly as the reference reads them.

The standard library's parser does it, being quick and taking NaN, where it is known to give what
the reference gives; everything else goes to the exact parser.
"""

import json
import re
from typing import Any

from salver.codecs import json_exact
from salver.codecs.json_scan import scan
from salver.codecs.json_value import is_object, object_of

__all__ = ["read_tree"]

_BOM = b"\xef\xbb\xbf"
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_SPACE = re.compile(r"[ \t\n\r]*")
# Every digit as 0 and every exponent as e0…: what may be too big for a double shows as a run.
_SHAPE_OF_NUMBERS = bytes.maketrans(b"123456789E", b"000000000e")
_MANY_DIGITS = b"0" * 100
_BIG_EXPONENT = b"e000"
_decoder = json.JSONDecoder(object_pairs_hook=object_of)


def read_tree(body: bytes) -> Any:
    """The first value of a document, as `json_value` describes it.

    Raises:
        InvalidArgument: it is no JSON.
    """
    if not _may_be_too_big(body) and not _SURROGATE.search(body):
        try:
            text = body.removeprefix(_BOM).decode()
            start = _SPACE.match(text)
            value = _decoder.raw_decode(text, start.end() if start else 0)[0]
            if is_object(value):  # of `1.x` it would make 1, and leave the rest alone
                return value
        except (ValueError, RecursionError):
            pass  # no UTF-8, no JSON to it, or nested too deeply
    scan(body, _never)  # refuses much sooner
    return json_exact.parse(body)


def _never() -> None:
    """A tree is only made of what is soon read."""


def _may_be_too_big(body: bytes) -> bool:
    """Whether a number could overflow a double, which the standard library does not report."""
    shape = body.translate(_SHAPE_OF_NUMBERS, b"+")
    return _BIG_EXPONENT in shape or _MANY_DIGITS in shape
