"""The paths of the Open Inference Protocol, and which model one of them names. Pure text.

A path is matched undecoded, exactly, and with any query behind it. What stands for a version is a
number, or a label: `/v2/models/fraud/versions/stable`.
"""

import re
from typing import Final
from urllib.parse import unquote

from salver.errors import NotFound
from salver.vocabulary.requests import ServableRequest

__all__ = ["ANY", "MODEL", "QUERY", "servable_of"]

QUERY: Final = r"(?:\?.*)?"
MODEL: Final = r"/v2/models/(?P<name>[^/?]+)(?:/versions/(?P<version>[^/?]+))?"
"""What all paths of a model begin with."""

ANY: Final = r"/v2(?:[/?].*)?"
"""Every target of the protocol."""

_GREATEST_VERSION: Final = 2**63 - 1


def servable_of(match: "re.Match[str]") -> ServableRequest:
    """The model that a path of one names.

    Raises:
        NotFound: its version is a number that no version has.
    """
    name = unquote(match["name"], errors="surrogateescape")
    text = match["version"]
    if text is None:
        return ServableRequest(name)
    text = unquote(text, errors="surrogateescape")
    if not (text.isascii() and text.isdigit()):
        return ServableRequest(name, label=text)
    # Counted first: Python reads no number of more than a few thousand digits.
    digits = text.lstrip("0") or "0"
    if len(digits) > len(str(_GREATEST_VERSION)) or int(digits) > _GREATEST_VERSION:
        raise NotFound(f"Request for unknown model: '{name}' version {digits[:40]} is not found")
    return ServableRequest(name, int(digits))
