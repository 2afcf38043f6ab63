"""Loads a file from standard input and predicts with it, in a process of its own; see `probe`."""

import sys

import numpy as np

from salver.backends.lightgbm.booster import LightGBMBooster
from salver.backends.lightgbm.library import load_library
from salver.backends.lightgbm.model_file import read_head
from salver.errors import ServingError


def main() -> int:
    """Exit status 0: it can be loaded."""
    data = sys.stdin.buffer.read()
    try:
        head = read_head(data)
        booster = LightGBMBooster(
            load_library(),
            data,
            features=len(head.names),
            outputs=head.outputs,
            dtype=np.dtype(np.float32),
            num_threads=1,
        )
        for rows in (1, 3):
            booster.predict(np.zeros((rows, len(head.names)), np.float32))
    except ServingError as error:
        sys.stderr.write(error.message)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
