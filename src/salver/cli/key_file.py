"""`--api_key_file`: the key that a command sends with each request.

In a file, because all users of a machine see the command lines of all processes.
"""

import argparse
from collections.abc import Mapping
from typing import Final

from salver.client.address import headers_with_key
from salver.instruments.files import OsErrorsOf, read_regular
from salver.instruments.redaction import redacted

__all__ = ["add_key_file", "headers_of_key_file"]

_MOST_BYTES: Final = 1 << 16  # a token with many claims has a few thousand


def add_key_file(parser: argparse.ArgumentParser) -> None:
    """Add the option."""
    parser.add_argument(
        "--api_key_file",
        metavar="FILE",
        help="file with the key, or the token, for a server that asks who calls",
    )


def headers_of_key_file(path: str | None) -> Mapping[str, str]:
    """What is sent with each request; nothing without a file.

    Raises:
        InvalidArgument: it holds no key.
        ServingError: it cannot be read.
    """
    if not path:
        return {}
    with OsErrorsOf(redacted(path)):  # a key in its place
        content = read_regular(path, _MOST_BYTES)
    return headers_with_key(None, content.decode(errors="replace"))
