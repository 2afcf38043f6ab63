"""Files that hold a protocol buffer in text form.

At start-up such a file may be a pipe (`--model_config_file=<(make-config)`): it is read once, to
its end. Whatever is read again later must be a regular file, since a pipe may never be written to.

Source: TensorFlow Serving `util/proto_util.h`, ParseProtoTextFile; the text of a file error is
that of TensorFlow's POSIX file system.
"""

import errno
import logging
import os
import select
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from google.protobuf import text_format

from salver._pb import POOL, message_class
from salver.errors import DeadlineExceeded, InvalidArgument, OutOfRange
from salver.instruments.files import NotRegular, OsErrorsOf, read_regular

__all__ = [
    "ENDINGS",
    "Misplaced",
    "ending_of",
    "message_of_text",
    "parse_text",
    "read_file",
    "read_file_once",
    "read_text_file",
    "read_whole_once",
    "wrong_file",
]

_log = logging.getLogger(__name__)

ENDINGS: Final = (".yaml", ".yml", ".json")
"""Of the names of files that hold YAML or JSON in place of text, where that is taken."""

_MOST_BYTES: Final = 1 << 26  # some minutes of parsing
_PIPE_S: Final = 60.0
_CHUNK_BYTES: Final = 1 << 16


class Misplaced(Exception):
    """Something in a file is wrong; the text says what.

    Attributes:
        line: from 1.
        column: from 1, in characters.
    """

    def __init__(self, line: int, column: int, text: str) -> None:
        super().__init__(text)
        self.line = line
        self.column = column


def ending_of(path: str) -> str:
    """By which of `ENDINGS` a path is of a document; empty where it is not."""
    return next((ending for ending in ENDINGS if path.lower().endswith(ending)), "")


def read_text_file(path: str, message_name: str) -> Any:
    """Read a message of our descriptor pool from a file, once; see `read_file_once`.

    Where the text is wrong is logged, as the reference does; the error names only the file.

    Args:
        path: where the file is.
        message_name: full name, such as `tensorflow.serving.ModelServerConfig`.

    Raises:
        InvalidArgument: the file is empty, or not such a message.
        ServingError: the file cannot be read; the code says why.
    """
    return parse_text(read_file_once(path), message_name, path)


def read_file(path: str) -> bytes:
    """Read a file that is to hold such a message, and may be read again.

    Raises:
        InvalidArgument: the file is empty.
        NotRegular: it is a pipe, a socket or a device.
        ServingError: the file cannot be read; the code says why.
    """
    with OsErrorsOf(path):
        content = read_regular(path, _MOST_BYTES)
    return _not_empty(content, path)


def read_file_once(path: str, *, timeout_s: float = _PIPE_S) -> bytes:
    """Read a file that is to hold such a message at start-up, when it may be a pipe as well.

    Args:
        path: where it is.
        timeout_s: how long whoever writes to the pipe may take.

    Raises:
        InvalidArgument: the file is empty.
        ServingError: the file cannot be read; the code says why.
    """
    return _not_empty(read_whole_once(path, timeout_s=timeout_s), path)


def read_whole_once(path: str, *, timeout_s: float = _PIPE_S) -> bytes:
    """Read any file of text at start-up, also an empty one; see `read_file_once`.

    Raises:
        ServingError: the file cannot be read; the code says why.
    """
    with OsErrorsOf(path):
        try:
            return read_regular(path, _MOST_BYTES)
        except NotRegular as error:
            if not error.is_pipe:
                raise
        return _read_pipe(path, timeout_s)


def _not_empty(content: bytes, path: str) -> bytes:
    if not content:
        # The reference maps files into memory, which no empty file can be.
        reason = os.strerror(errno.EINVAL)
        raise InvalidArgument(f"{path}; {reason}", hint="The file is empty.")
    return content


def _read_pipe(path: str, timeout_s: float) -> bytes:
    """All that comes out of a pipe.

    Raises:
        DeadlineExceeded: nobody has written it to its end in time.
        OutOfRange: it is too much.
        OSError: it cannot be read.
    """
    until_s = time.monotonic() + timeout_s
    waiting = select.poll()
    pipe = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    content = bytearray()
    try:
        waiting.register(pipe, select.POLLIN)
        # Before anybody has written to it, a pipe has no end either.
        while waiting.poll(max(0.0, until_s - time.monotonic()) * 1000):
            part = os.read(pipe, _CHUNK_BYTES)
            content += part
            if not part:
                return bytes(content)
            if len(content) > _MOST_BYTES:
                raise OutOfRange(f"{path}; File too large: more than {_MOST_BYTES} bytes")
    finally:
        os.close(pipe)
    raise DeadlineExceeded(f"{path}; Nobody has written this pipe to its end in {timeout_s:g} s")


def _hold_on() -> None:
    """Go on without a rest."""


def parse_text(
    content: bytes, message_name: str, path: str, breathe: Callable[[], object] = _hold_on
) -> Any:
    """Read a message from text.

    Args:
        content: the text.
        message_name: see `read_text_file`.
        path: where it comes from, for the error.
        breathe: called before each line.

    Raises:
        InvalidArgument: naming `path`; an unknown field is an error too.
    """
    try:
        return message_of_text(content, message_name, breathe)
    except Misplaced as error:
        raise wrong_file(error, path, message_name) from error


def message_of_text(
    content: bytes, message_name: str, breathe: Callable[[], object] = _hold_on
) -> Any:
    """The same, without a word to the log.

    Raises:
        Misplaced: it is no such message.
    """
    message = message_class(message_name)()
    try:
        lines = _with_rests(content.decode().split("\n"), breathe)
        # The stubs forget this one.
        text_format.ParseLines(lines, message, descriptor_pool=POOL)  # type: ignore[attr-defined]
    except text_format.ParseError as error:
        line, column = error.GetLine() or 1, error.GetColumn() or 1
        reason = str(error).removeprefix(f"{line}:{column} : ")
        raise Misplaced(line, column, reason) from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise Misplaced(1, 1, str(error)) from error
    return message


def _with_rests(lines: list[str], breathe: Callable[[], object]) -> Iterator[str]:
    for line in lines:
        breathe()
        yield line


def wrong_file(
    error: Misplaced, path: str, message_name: str, form: str = "text-format"
) -> InvalidArgument:
    """The error for a file that is not of a message; logs where it is wrong, as the reference."""
    place = f"{error.line}:{error.column}: {error}"
    _log.error("Error parsing %s %s: %s", form, message_name, place)
    return InvalidArgument(f"Invalid protobuf file: '{path}'", hint=place)
