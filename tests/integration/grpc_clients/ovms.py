"""OpenVINO's `ovmsclient`, which speaks TensorFlow Serving's API without TensorFlow.

    python ovms.py '{"target": "127.0.0.1:8500"}'

prints one JSON object with what each of its calls gave.
"""

import json
import sys
from typing import Any

import numpy as np
from ovmsclient import ModelNotFoundError, make_grpc_client, make_tensor_proto


def plain(value: Any) -> Any:
    """What JSON can hold of it."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    return str(value)


def main() -> None:
    client = make_grpc_client(json.loads(sys.argv[1])["target"])
    x = np.array([1.0, 2.0, 5.0], np.float32)
    outcomes: dict[str, Any] = {
        "predict": client.predict({"x": x}, "half_plus_two", 123),
        "proto": client.predict({"x": make_tensor_proto([2.0])}, "half_plus_two", 123),
        "several": client.predict(
            {"a": np.ones((1, 2), np.float32), "b": np.array([3], np.int32), "text": [b"word"]},
            "several",
            1,
        ),
        "status": client.get_model_status("versions", 123),
        "metadata": client.get_model_metadata("half_plus_two", 123),
    }
    try:
        client.predict({"x": x}, "unknown", 1)
    except ModelNotFoundError as error:
        outcomes["unknown"] = str(error)
    json.dump(outcomes, sys.stdout, default=plain)


if __name__ == "__main__":
    main()
