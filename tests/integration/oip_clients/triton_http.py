"""Triton's own HTTP client, in an environment of its own: it wants other versions of what we use.

    python triton_http.py '{"url": "127.0.0.1:8501"}'

prints one JSON object with what each of its calls gave.
"""

import json
import sys
from typing import Any

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException


def given(name: str, array: Any, datatype: str, *, binary: bool = True) -> Any:
    tensor = triton.InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=binary)
    return tensor


def halves(client: Any, **how: Any) -> Any:
    is_binary = how.pop("is_binary", True)
    x = np.array([[1.0], [2.0], [5.0]], np.float32)
    return client.infer("half_plus_two", [given("x", x, "FP32", binary=is_binary)], **how)


def failure(call: Any) -> Any:
    try:
        call()
    except InferenceServerException as error:
        return [error.status(), error.message()]
    return None


def main() -> None:
    client = triton.InferenceServerClient(json.loads(sys.argv[1])["url"], concurrency=2)
    in_json = [triton.InferRequestedOutput("y", binary_data=False)]
    words = np.array(["ä".encode(), b"\xff", b""], object)
    image = np.arange(4, dtype=np.float32).reshape(4, 1)
    later = client.async_infer("half_plus_two", [given("x", np.ones((3, 1), np.float32), "FP32")])
    outcomes: dict[str, Any] = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model_ready": client.is_model_ready("half_plus_two"),
        "version_ready": client.is_model_ready("versions", "stable"),
        "unknown_ready": client.is_model_ready("nope"),
        "server": client.get_server_metadata(),
        "metadata": client.get_model_metadata("half_plus_two"),
        "binary": halves(client).as_numpy("y").tolist(),
        "json": halves(client, is_binary=False, outputs=in_json).as_numpy("y").tolist(),
        "mixed": halves(client, is_binary=False).as_numpy("y").tolist(),
        "id": halves(client, request_id="mine").get_response()["id"],
        "label": halves(client, timeout=10_000_000, priority=1).get_response()["model_version"],
        "of_label": client.infer(
            "versions", [given("x", np.ones((1, 1), np.float32), "FP32")], model_version="stable"
        ).get_response()["model_version"],
        "later": later.get_result().as_numpy("y").tolist(),
        "words": [
            value.hex()
            for value in client.infer(
                "every_dtype", [given("x", words, "BYTES")], parameters={"signature_name": "string"}
            )
            .as_numpy("y")
            .tolist()
        ],
        "several": client.infer(
            "several",
            [
                given("a", np.ones((1, 2), np.float32), "FP32"),
                given("b", np.array([3], np.int32), "INT32", binary=False),
                given("text", np.array([b"word"], object), "BYTES", binary=False),
            ],
        ).get_response()["model_name"],
        "classes": client.infer(
            "matrix_half_plus_two",
            [given("x", np.arange(9, dtype=np.float32).reshape(1, 3, 3), "FP32")],
            outputs=[triton.InferRequestedOutput("y", class_count=1)],
        )
        .as_numpy("y")
        .tolist()[0][0]
        .decode(),
        "unknown": failure(lambda: client.infer("nope", [given("x", image, "FP32")])),
        "wrong_dtype": failure(
            lambda: client.infer("half_plus_two", [given("x", image.astype(np.int32), "INT32")])
        ),
        "wrong_name": failure(lambda: client.infer("half_plus_two", [given("z", image, "FP32")])),
    }
    for coding in ("gzip", "deflate"):
        many = given("x", np.ones((5000, 1), np.float32), "FP32")
        answer = client.infer(
            "half_plus_two",
            [many],
            outputs=in_json,
            request_compression_algorithm=coding,
            response_compression_algorithm=coding,
        )
        outcomes[coding] = set(answer.as_numpy("y").ravel().tolist()) == {2.5}
    client.close()
    sys.stdout.write(json.dumps(outcomes) + "\n")


if __name__ == "__main__":
    main()
