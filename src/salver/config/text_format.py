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
from salver.errors import (
    Code,
    DeadlineExceeded,
    InvalidArgument,
    OutOfRange,
    ServingError,
    error_of,
)
from salver.files import NotRegular, read_regular

__all__ = ["file_error", "parse_text", "read_file", "read_file_once", "read_text_file"]

_log = logging.getLogger(__name__)

# As absl maps `errno`; what is not here is UNKNOWN.
_CODE_OF = {
    errno.ENOENT: Code.NOT_FOUND,
    errno.ENXIO: Code.NOT_FOUND,
    errno.EACCES: Code.PERMISSION_DENIED,
    errno.EPERM: Code.PERMISSION_DENIED,
    errno.EISDIR: Code.FAILED_PRECONDITION,
    errno.ENOTDIR: Code.FAILED_PRECONDITION,
    errno.EINVAL: Code.INVALID_ARGUMENT,
    errno.ENAMETOOLONG: Code.INVALID_ARGUMENT,
    errno.EMFILE: Code.RESOURCE_EXHAUSTED,
    errno.ENFILE: Code.RESOURCE_EXHAUSTED,
}


_MOST_BYTES: Final = 1 << 26  # some minutes of parsing
_PIPE_S: Final = 60.0
_CHUNK_BYTES: Final = 1 << 16


def file_error(path: str, error: OSError) -> ServingError:
    """The error TensorFlow's file system would give: `<path>; No such file or directory`."""
    number = error.errno or 0
    reason = os.strerror(number) if number else str(error)
    return error_of(_CODE_OF.get(number, Code.UNKNOWN), f"{path}; {reason}")


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
    try:
        content = read_regular(path, _MOST_BYTES)
    except OSError as error:
        raise file_error(path, error) from error
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
    try:
        return read_file(path)
    except NotRegular as error:
        if not error.is_pipe:
            raise
    try:
        content = _read_pipe(path, timeout_s)
    except OSError as error:
        raise file_error(path, error) from error
    return _not_empty(content, path)


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
    message = message_class(message_name)()
    try:
        lines = _with_rests(content.decode().split("\n"), breathe)
        # The stubs forget this one.
        text_format.ParseLines(lines, message, descriptor_pool=POOL)  # type: ignore[attr-defined]
    except text_format.ParseError as error:
        line, column = error.GetLine() or 1, error.GetColumn() or 1
        reason = str(error).removeprefix(f"{line}:{column} : ")
        raise _invalid(path, message_name, f"{line}:{column}: {reason}") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise _invalid(path, message_name, f"1:1: {error}") from error
    return message


def _with_rests(lines: list[str], breathe: Callable[[], object]) -> Iterator[str]:
    for line in lines:
        breathe()
        yield line


def _invalid(path: str, message_name: str, reason: str) -> InvalidArgument:
    _log.error("Error parsing text-format %s: %s", message_name, reason)
    return InvalidArgument(f"Invalid protobuf file: '{path}'", hint=reason)
