"""What TensorFlow writes while it is opened, kept to the level that was asked for.

It writes a line or two before it looks at TF_CPP_MIN_LOG_LEVEL (seen in 2.21: two lines about
oneDNN). They go to the file descriptor of standard error, so that is another file meanwhile, 0.2 s;
what is not TensorFlow's, or is bad enough, is written to the right one behind that.
"""

import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, Final

__all__ = ["filtered_stderr", "without_lines_below"]

_VARIABLE: Final = "TF_CPP_MIN_LOG_LEVEL"
_STDERR: Final = 2
_LEVELS: Final = {b"I": 0, b"W": 1, b"E": 2, b"F": 3}
_LINE: Final = re.compile(
    rb"(?P<letter>[IWEF])[0-9]{4} [0-9:.]+ +[0-9]+ [\w./-]+:[0-9]+\]"
    rb"|[0-9-]{10} [0-9:.]+: (?P<older>[IWEF]) (?:tensorflow|external|xla|tsl)/"
)
_HEAD: Final = b"WARNING: All log messages before absl::InitializeLog() is called are written"


@contextmanager
def filtered_stderr(environment: Mapping[str, str] | None = None) -> Iterator[None]:
    """Hold back what is written to standard error in the block, and leave out what is not wanted.

    Does nothing where all is wanted, or where there is no standard error.

    Args:
        environment: the process's when None.
    """
    level = _level(os.environ if environment is None else environment)
    with ExitStack() as stack:
        with suppress(OSError):  # no standard error, or no place for a file: then as it is
            if level > 0:
                kept = os.dup(_STDERR)
                stack.callback(os.close, kept)
                file = stack.enter_context(tempfile.TemporaryFile())
                sys.stderr.flush()
                os.dup2(file.fileno(), _STDERR)
                stack.callback(_give_back, kept, file, level)
        yield


def _give_back(kept: int, file: IO[bytes], level: int) -> None:
    os.dup2(kept, _STDERR)
    file.seek(0)
    os.write(_STDERR, without_lines_below(level, file.read()))


def _level(environment: Mapping[str, str]) -> int:
    try:
        return max(0, int(environment.get(_VARIABLE, "0")))
    except ValueError:
        return 0


def without_lines_below(level: int, text: bytes) -> bytes:
    """Take out of a text the lines of TensorFlow's that are of a lower level, 0 (info) to 3."""
    return b"".join(line for line in text.splitlines(keepends=True) if not _is_below(level, line))


def _is_below(level: int, line: bytes) -> bool:
    if line.startswith(_HEAD):
        return True
    found = _LINE.match(line)
    return found is not None and _LEVELS[found["letter"] or found["older"]] < level
