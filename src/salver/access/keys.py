"""API keys: what a key is, the lines of a key file, and whose a key is.

A key is `salver_<id>_<32 characters>`. The file has no keys, only the SHA-256 of each: who reads
it learns none. A key has 190 random bits, so that its sum needs no salt and no slow function.
"""

import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Final

from salver.errors import InvalidArgument

__all__ = ["KEY_PREFIX", "KeyLine", "Keys", "line_of", "lines_of", "new_key", "read_expires"]

KEY_PREFIX: Final = b"salver_"
# What begins as a key does was put in the wrong place, and would stand in logs.
_ID: Final = re.compile(r"(?!salver_|anonymous$)[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ALPHABET: Final = string.ascii_letters + string.digits
_SECRET_CHARS: Final = 32
_MOST_KEY_BYTES: Final = len(KEY_PREFIX) + 64 + 1 + _SECRET_CHARS
_SUM: Final = re.compile(r"[0-9a-f]{64}")
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_NO_SUM: Final = b"\0" * 32


@dataclass(frozen=True, slots=True)
class KeyLine:
    """What the file says of one key.

    Attributes:
        id: names the key and its principal.
        sum: SHA-256 of the whole key.
        role: the name of its role.
        expires_s: when it is no more taken, in seconds since the epoch; None for never.
    """

    id: str
    sum: bytes
    role: str
    expires_s: float | None = None

    @property
    def text(self) -> str:
        """The line, without its end."""
        words = [self.id, self.sum.hex(), self.role]
        if self.expires_s is not None:
            at = datetime.fromtimestamp(self.expires_s, timezone.utc)
            words.append(at.strftime("%Y-%m-%dT%H:%M:%SZ"))
        return " ".join(words)


class Keys:
    """The keys of a file, for look-ups. Immutable."""

    def __init__(self, lines: Sequence[KeyLine] = ()) -> None:
        """Take the lines, whose ids differ."""
        self._by_id: Mapping[bytes, KeyLine] = {line.id.encode(): line for line in lines}

    def find(self, key: bytes) -> KeyLine | None:
        """The line of a key that somebody has shown; None where it is no key of ours.

        The sums are compared in the same time, whether they differ early or late.
        """
        if len(key) > _MOST_KEY_BYTES:
            return None
        line = self._by_id.get(key[len(KEY_PREFIX) :].rpartition(b"_")[0])
        shown = hashlib.sha256(key).digest()
        is_it = hmac.compare_digest(shown, _NO_SUM if line is None else line.sum)
        return line if is_it else None


def lines_of(content: bytes, path: str) -> list[KeyLine]:
    """Read a key file. Lines that are empty or begin with `#` say nothing.

    Args:
        content: of the file.
        path: for errors.

    Raises:
        InvalidArgument: a line is wrong, or an id there twice. Its text quotes no line, since
            somebody may have put a key there.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise InvalidArgument(f"{path} is no file of keys: it is not UTF-8") from None
    found: dict[str, KeyLine] = {}
    for number, words in _lines(text):
        try:
            line = _line(words)
        except ValueError as error:
            raise InvalidArgument(f"{path}:{number}: {error}") from None
        if line.id in found:
            raise InvalidArgument(f"{path}:{number}: the id {line.id} is there twice")
        found[line.id] = line
    return list(found.values())


def line_of(text: str) -> KeyLine | None:
    """The key of one line; None where it has none.

    Raises:
        ValueError: it is wrong.
    """
    return next((_line(words) for _, words in _lines(text)), None)


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(text.split("\n"), 1):
        words = line.split()
        if words and not words[0].startswith("#"):
            yield number, words


def _line(words: Sequence[str]) -> KeyLine:
    if not 3 <= len(words) <= 4:
        raise ValueError("a line is: id, SHA-256 in hexadecimal, role, and perhaps when it expires")
    id, sum_text, role, *expires = words
    if not _ID.fullmatch(id):
        raise ValueError("an id has 1 to 64 of the characters A-Z a-z 0-9 . _ -")
    if not _SUM.fullmatch(sum_text):
        raise ValueError("a SHA-256 has 64 hexadecimal digits in small letters")
    return KeyLine(id, bytes.fromhex(sum_text), role, read_expires(expires[0]) if expires else None)


def read_expires(text: str) -> float:
    """When a key expires, in seconds since the epoch.

    Args:
        text: `2027-01-31` (good to the end of that day in UTC) or `2027-01-31T12:00:00Z`, with
            another offset if need be.

    Raises:
        ValueError: it is no such time.
    """
    wrong = "a time is written 2027-01-31 or 2027-01-31T12:00:00Z"
    try:
        at = datetime.fromisoformat(text.replace("Z", "+00:00"))
        if _DAY.fullmatch(text):
            at = at.replace(tzinfo=timezone.utc) + timedelta(days=1)
    except (ValueError, OverflowError):
        raise ValueError(wrong) from None
    if at.tzinfo is None:
        raise ValueError(f"{wrong}, with Z or an offset")
    return at.timestamp()


def new_key(id: str, role: str, expires_s: float | None = None) -> tuple[str, KeyLine]:
    """Make a key.

    Returns:
        The key, which is kept nowhere, and its line.

    Raises:
        InvalidArgument: such an id is not taken.
    """
    if not _ID.fullmatch(id):
        raise InvalidArgument("An id has 1 to 64 of the characters A-Z a-z 0-9 . _ -")
    secret = "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET_CHARS))
    key = f"{KEY_PREFIX.decode()}{id}_{secret}"
    return key, KeyLine(id, hashlib.sha256(key.encode()).digest(), role, expires_s)
