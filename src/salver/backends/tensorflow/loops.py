"""Whether a SavedModel's graph has loops.

How long a graph without loops runs depends, but for a few operations, on the sizes of what is fed.
With a loop it may depend on the values, so that measuring earlier runs says nothing of the next.
"""

from pathlib import Path
from typing import Final

from salver.files import error_of_os, open_regular

__all__ = ["can_loop"]

_CHUNK_BYTES: Final = 1 << 18  # searched in 0.1 ms, while the GIL is held
_OPERATIONS: Final = (b"While", b"StatelessWhile", b"For", b"Enter", b"RefEnter")
# `NodeDef.op` is field 2, a string; in text form it is written out.
_BINARY: Final = tuple(bytes((0x12, len(name))) + name for name in _OPERATIONS)
_TEXT: Final = tuple(b'op: "' + name + b'"' for name in _OPERATIONS)
_OVERLAP_BYTES: Final = max(map(len, (*_BINARY, *_TEXT)))


def can_loop(directory: str | Path) -> bool:
    """Look for loops in the graphs and functions of a SavedModel, in any of its variants.

    The file is searched for the nodes as they are serialized. Bytes of a constant that look like
    one are taken for one, which costs the model some speed and nothing else.

    Raises:
        ServingError: a file cannot be read.
    """
    for name, needles in (("saved_model.pb", _BINARY), ("saved_model.pbtxt", _TEXT)):
        path = Path(directory, name)
        try:
            if path.is_file():
                return _has_any(path, needles)
        except OSError as error:
            raise error_of_os(str(path), error) from error
    return False


def _has_any(path: Path, needles: tuple[bytes, ...]) -> bool:
    before = b""
    with open_regular(path) as file:
        while chunk := file.read(_CHUNK_BYTES):
            window = before + chunk
            if any(needle in window for needle in needles):
                return True
            before = window[-_OVERLAP_BYTES:]
    return False
