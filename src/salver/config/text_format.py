"""Files that hold a protocol buffer in text form.

Source: TensorFlow Serving `util/proto_util.h`, ParseProtoTextFile; the text of a file error is
that of TensorFlow's POSIX file system.
"""

import errno
import logging
import os
from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf import text_format

from salver._pb import POOL, message_class
from salver.errors import Code, InvalidArgument, ServingError, error_of

__all__ = ["file_error", "parse_text", "read_file", "read_text_file"]

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


def file_error(path: str, error: OSError) -> ServingError:
    """The error TensorFlow's file system would give: `<path>; No such file or directory`."""
    number = error.errno or 0
    reason = os.strerror(number) if number else str(error)
    return error_of(_CODE_OF.get(number, Code.UNKNOWN), f"{path}; {reason}")


def read_text_file(path: str, message_name: str) -> Any:
    """Read a message of our descriptor pool from a file.

    Where the text is wrong is logged, as the reference does; the error names only the file.

    Args:
        path: where the file is.
        message_name: full name, such as `tensorflow.serving.ModelServerConfig`.

    Raises:
        InvalidArgument: the file is empty, or not such a message.
        ServingError: the file cannot be read; the code says why.
    """
    return parse_text(read_file(path), message_name, path)


def read_file(path: str) -> bytes:
    """Read a file that is to hold such a message.

    Raises:
        InvalidArgument: the file is empty.
        ServingError: the file cannot be read; the code says why.
    """
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise file_error(path, error) from error
    if not content:
        # The reference maps files into memory, which no empty file can be.
        reason = os.strerror(errno.EINVAL)
        raise InvalidArgument(f"{path}; {reason}", hint="The file is empty.")
    return content


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
