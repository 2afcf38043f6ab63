"""A model behind mosec, JSON by orjson, one worker. `--port` is mosec's own argument."""

from typing import Any

import numpy as np
import orjson
from mosec import Server, Worker
from peer_model import load


class Predict(Worker):  # type: ignore[misc]
    def __init__(self) -> None:
        self._run = load()

    def deserialize(self, data: bytes) -> Any:
        return np.array(orjson.loads(data)["instances"], np.float32)

    def forward(self, data: np.ndarray) -> np.ndarray:
        return self._run(data)

    def serialize(self, data: np.ndarray) -> bytes:
        return orjson.dumps({"predictions": data}, option=orjson.OPT_SERIALIZE_NUMPY)


if __name__ == "__main__":
    server = Server()
    server.append_worker(Predict, num=1)
    server.run()
