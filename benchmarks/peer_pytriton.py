"""A model behind PyTriton, which runs Triton itself and calls a Python function of this process."""

import os
import sys

import numpy as np
from peer_model import load
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

INPUTS = {"half_plus_two": ("x", (1,)), "slicer": ("image", (224, 224, 3))}


def main() -> None:
    http, grpc, metrics = map(int, sys.argv[1:])
    run = load()
    name, shape = INPUTS[os.environ["PEER_VERSION"].split("/")[-2]]

    def infer(requests):  # type: ignore[no-untyped-def]
        return [{"y": run(np.ascontiguousarray(request[name]))} for request in requests]

    config = TritonConfig(
        http_address="127.0.0.1", http_port=http, grpc_port=grpc, metrics_port=metrics
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name="m",
            infer_func=infer,
            inputs=[Tensor(name=name, dtype=np.float32, shape=shape)],
            outputs=[Tensor(name="y", dtype=np.float32, shape=(-1,))],
            config=ModelConfig(batching=True, max_batch_size=64),
        )
        triton.serve()


if __name__ == "__main__":
    main()
