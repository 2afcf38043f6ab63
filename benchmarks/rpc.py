"""Salver's gRPC API beside bare echoes: the cases of `suite.py` that are about it.

    python benchmarks/rpc.py [small] [image] [options of suite.py]

* small: Predict of half_plus_two, 16 and 64 calls at once; beside our REST API too;
* image (or float_val, tensor_content): one 224x224x3 float image to a model that slices a pixel,
  sent in either way, 2 connections.

The echoes (`rpc_echo.py`, `http2_echo.py`) take and give messages of the same sizes and look at
neither. h2load makes the load; the latency is that of one grpcio client which calls again when it
has its answer.
"""

import sys

import suite

NAMES = {
    "small": "grpc",
    "image": "image_grpc",
    "float_val": "image_grpc",
    "tensor_content": "image_grpc",
}


def main() -> None:
    suite.main(suite.renamed(sys.argv[1:], NAMES))


if __name__ == "__main__":
    main()
