"""A model behind LitServe, one worker and one server process."""

import argparse
from typing import Any

import litserve
import numpy as np
from peer_model import load


class Predict(litserve.LitAPI):  # type: ignore[misc]
    def setup(self, device: str) -> None:
        self._run = load()

    def decode_request(self, request) -> np.ndarray:  # type: ignore[no-untyped-def]
        # LitServe reads the annotation, and would take `Any` for a parameter of the query.
        return np.array(request["instances"], np.float32)

    def predict(self, rows: np.ndarray) -> np.ndarray:
        return self._run(rows)

    def encode_response(self, output: np.ndarray) -> dict[str, Any]:
        return {"predictions": output.tolist()}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--port", type=int, required=True)
    server = litserve.LitServer(Predict(), accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1",
        port=arguments.parse_args().port,
        num_api_servers=1,
        generate_client_file=False,
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
