"""What `--allowed_hosts` says: by which names a server may be called."""

import re
from ipaddress import ip_address

from salver.errors import InvalidArgument

__all__ = ["read_allowed_hosts"]

_NAME = re.compile(r"(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")


def read_allowed_hosts(text: str) -> tuple[str, ...]:
    """Its entries: names in lower case, `*.name` for all names below it, addresses, `*` for all.

    Args:
        text: with commas between them.

    Raises:
        InvalidArgument: one is no host.
    """
    entries = (entry.strip() for entry in text.split(","))
    return tuple(_read(entry) for entry in entries if entry)


def _read(entry: str) -> str:
    if entry == "*":
        return entry
    try:
        return str(ip_address(entry.removeprefix("[").removesuffix("]")))
    except ValueError:
        pass
    try:
        name = entry.encode("idna").decode("ascii").lower().removesuffix(".")
    except UnicodeError:
        name = ""
    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            f"--allowed_hosts: {entry!r} is no host",
            hint="Write names or addresses without scheme and port, *.example.com for all names "
            "below one, or * for any.",
        )
    return name
