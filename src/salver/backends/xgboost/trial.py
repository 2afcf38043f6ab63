"""Loads a file from standard input and predicts with it, in a process of its own; see `probe`."""

import sys

import numpy as np

from salver.backends.xgboost.library import load_library
from salver.backends.xgboost.loading import booster_of
from salver.backends.xgboost.model_file import read_document, read_facts
from salver.errors import ServingError


def main() -> int:
    """Exit status 0: it can be loaded."""
    data = sys.stdin.buffer.read()
    try:
        facts = read_facts(read_document(data))
        booster = booster_of(load_library(), data, facts, 1)
        for rows in (1, 3):
            booster.predict(np.zeros((rows, facts.features), np.float32))
    except ServingError as error:
        sys.stderr.write(error.message)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
