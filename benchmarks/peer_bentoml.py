"""A model behind BentoML, one worker."""

import os
import sys
from typing import Any

import bentoml
import numpy as np
from peer_model import load


@bentoml.service(workers=1)
class Predict:
    def __init__(self) -> None:
        self._run = load()

    @bentoml.api(route="/predict")
    def predict(self, instances: list[Any]) -> dict[str, Any]:
        return {"predictions": self._run(np.array(instances, np.float32)).tolist()}


if __name__ == "__main__":
    os.execv(  # BentoML serves what it imports by name
        sys.executable,
        [
            *(sys.executable, "-m", "bentoml", "serve", "peer_bentoml:Predict"),
            *("--host", "127.0.0.1", "--working-dir", os.path.dirname(os.path.abspath(__file__))),
            *sys.argv[1:],
        ],
    )
