"""Reads a file into fresh memory, so many bytes at once: see `swaps.py`.

python benchmarks/swaps_copy.py FILE BYTES
"""

import mmap
import os
import sys


def copy(file: str, piece: int) -> None:
    fd = os.open(file, os.O_RDONLY)
    size = os.fstat(fd).st_size
    with mmap.mmap(-1, size) as memory, memoryview(memory) as view:
        at = 0
        while at < size:
            with view[at : at + piece] as part:
                at += os.preadv(fd, [part], at)
    os.close(fd)


if __name__ == "__main__":
    copy(sys.argv[1], int(sys.argv[2]))
