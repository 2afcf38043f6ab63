"""Reads a file into fresh memory, so many bytes at once: see `swaps.py`.

python benchmarks/swaps_copy.py FILE BYTES
"""

import mmap
import os
import sys


def copy(file: str, piece: int) -> None:
    fd = os.open(file, os.O_RDONLY)
    size = os.fstat(fd).st_size
    kind = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS  # as a model's memory
    with mmap.mmap(-1, size, flags=kind) as memory, memoryview(memory) as view:
        at = 0
        while at < size:
            with view[at : at + piece] as part:
                n_read = os.preadv(fd, [part], at)
            if not n_read:
                break
            at += n_read
    os.close(fd)


if __name__ == "__main__":
    copy(sys.argv[1], int(sys.argv[2]))
