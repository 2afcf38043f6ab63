"""Salver's REST API beside its yardsticks: the cases of `suite.py` that are about it.

    python benchmarks/rest.py [small] [mlp] [image] [start] [cycles] [options of suite.py]

* small: half_plus_two, 16 and 64 connections, against `bare_loop.py`;
* mlp: one 28x28 image as JSON to an MLP, against the same;
* image: one 224x224x3 float image as JSON to a model that slices a pixel, against the same, which
  parses with orjson and numpy;
* start: start to first prediction, and resident memory, against `bare_process.py`;
* cycles: resident memory over 200 loads and unloads of a model.
"""

import sys

import suite

NAMES = {"small": "rest", "mlp": "mlp", "image": "image", "start": "start", "cycles": "cycles"}


def main() -> None:
    suite.main(suite.renamed(sys.argv[1:], NAMES))


if __name__ == "__main__":
    main()
