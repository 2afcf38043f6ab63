"""`tritonclient` over gRPC, in its plain and its asyncio form.

    python triton.py '{"target": "127.0.0.1:8500"}'

prints one JSON object with what each of its calls gave.
"""

import asyncio
import json
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

WAIT_S = 60.0


def given(**arrays: Any) -> list[Any]:
    inputs = []
    for name, array in arrays.items():
        datatype = np_to_triton_dtype(array.dtype)
        inputs.append(triton.InferInput(name, list(array.shape), datatype))
        inputs[-1].set_data_from_numpy(array)
    return inputs


def texts(*values: str) -> Any:
    return np.array([value.encode() for value in values], object)


def plain(result: Any, *names: str) -> dict[str, Any]:
    """What JSON can hold of a result."""
    response = result.get_response()
    arrays = {
        name: json.loads(json.dumps(result.as_numpy(name).tolist(), default=bytes.decode))
        for name in names
    }
    return {"model": [response.model_name, response.model_version, response.id], **arrays}


def failure(call: Callable[[], Any]) -> list[str]:
    try:
        call()
    except InferenceServerException as error:
        return [str(error.status()), error.message()]
    return ["none", ""]


X = np.array([[1.0], [2.0], [5.0]], np.float32)
DTYPES = {  # of numpy → signature of the model that gives back what it gets
    **{name: name for name in ("bool", "int8", "int16", "int32", "int64")},
    **{name: name for name in ("uint8", "uint16", "uint32", "uint64")},
    "float16": "half",
    "float32": "float",
    "float64": "double",
}
MIXED = {"a": np.ones((2, 2), np.float32), "b": np.array([3, 4], np.int32), "text": texts("x", "y")}


def inferred(client: Any) -> dict[str, Any]:
    """What can be asked of models."""

    def ask(model: str, *names: str, inputs: dict[str, Any] | None = None, **more: Any) -> Any:
        return plain(client.infer(model, given(**(inputs or {"x": X})), **more), *names)

    wanted = triton.InferRequestedOutput
    return {
        "infer": ask("half_plus_two", "y"),
        "again": [ask("half_plus_two", "y", request_id=f"{at}")["model"][2] for at in range(3)],
        "version": ask("versions", "y", model_version="123"),
        "label": ask("versions", "y", model_version="canary"),
        "timeout": ask("half_plus_two", "y", timeout=5_000_000),
        "compressed": ask("half_plus_two", "y", compression_algorithm="gzip"),
        "batch": ask(
            "several", "upper", "product", inputs=MIXED,
            outputs=[wanted("upper"), wanted("product")],
        ),
        "strings": ask("strings", "ids", "lengths", inputs={"words": texts("quick", "none", "é")}),
        "classes": ask("half_plus_two", "y", outputs=[wanted("y", class_count=2)]),
        "signature": ask(
            "several", "total", inputs={"x": X[:, 0]},
            parameters={"signature_name": "scalar_output"},
        ),
        "every_dtype": {dtype: round_trip(client, dtype) for dtype in DTYPES},
    }  # fmt: skip


def round_trip(client: Any, dtype: str) -> bool:
    """Whether an array goes to a model that gives it back, and comes back as it was."""
    array = np.array([0, 1, 1], dtype)
    result = client.infer(
        "every_dtype", given(x=array), parameters={"signature_name": DTYPES[dtype]}
    )
    return bool((result.as_numpy("y") == array).all())


def async_inferred(client: Any) -> Any:
    """By a callback, from a thread of the client."""
    found: list[Any] = []
    done = threading.Event()

    def finish(result: Any, error: Any) -> None:
        found.append(str(error) if error else plain(result, "y"))
        done.set()

    client.async_infer("half_plus_two", given(x=X), finish)
    assert done.wait(WAIT_S)
    return found


async def of_asyncio(target: str) -> dict[str, Any]:
    async with triton_aio.InferenceServerClient(target) as client:
        results = await asyncio.gather(
            *(client.infer("half_plus_two", given(x=X + at)) for at in range(3))
        )
        return {
            "live": await client.is_server_live(),
            "ready": await client.is_model_ready("half_plus_two"),
            "infer": [plain(result, "y")["y"][0][0] for result in results],
            "trace": (await client.get_trace_settings(as_json=True))["settings"]["trace_level"],
        }


def failed(client: Any) -> dict[str, list[str]]:
    """How requests that are wrong end."""
    wrong_shape = given(x=X)
    wrong_shape[0].set_shape([4, 1])
    x = given(x=X)
    return {
        "unknown model": failure(lambda: client.infer("unknown", x)),
        "unknown metadata": failure(lambda: client.get_model_metadata("unknown")),
        "unknown config": failure(lambda: client.get_model_config("unknown")),
        "unknown statistics": failure(lambda: client.get_inference_statistics("unknown")),
        "load": failure(lambda: client.load_model("half_plus_two")),
        "unload": failure(lambda: client.unload_model("half_plus_two")),
        "unknown version": failure(lambda: client.infer("half_plus_two", x, model_version="9")),
        "wrong shape": failure(lambda: client.infer("half_plus_two", wrong_shape)),
        "wrong type": failure(lambda: client.infer("half_plus_two", given(x=X.astype(np.int32)))),
        "wrong name": failure(lambda: client.infer("half_plus_two", given(z=X))),
        "sequence": failure(lambda: client.infer("half_plus_two", x, sequence_id=7)),
        "memory": failure(lambda: client.register_system_shared_memory("r", "/r", 64)),
        "no region": failure(lambda: client.get_system_shared_memory_status("r")),
        "trace": failure(lambda: client.update_trace_settings(settings={"trace_rate": "1"})),
        "logs": failure(lambda: client.update_log_settings({"log_verbose_level": 1})),
    }


def told(client: Any) -> dict[str, Any]:
    """What the server says of itself."""
    client.unregister_system_shared_memory()
    client.unregister_cuda_shared_memory("r")
    return {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "server": client.get_server_metadata(as_json=True),
        "model": client.get_model_metadata("half_plus_two", as_json=True),
        "model ready": [
            client.is_model_ready("half_plus_two"),
            client.is_model_ready("half_plus_two", "123"),
            client.is_model_ready("half_plus_two", "9"),
            client.is_model_ready("unknown"),
        ],
        "memory": [
            client.get_system_shared_memory_status(as_json=True),
            client.get_cuda_shared_memory_status(as_json=True),
        ],
        "config": client.get_model_config("half_plus_two", as_json=True)["config"],
        "label config": client.get_model_config("versions", "canary", as_json=True)["config"],
        "statistics": client.get_inference_statistics("half_plus_two", as_json=True),
        "all statistics": client.get_inference_statistics(as_json=True),
        "index": client.get_model_repository_index(as_json=True)["models"],
        "trace": client.get_trace_settings("half_plus_two", as_json=True)["settings"],
        "logs": client.get_log_settings(as_json=True)["settings"],
    }


def main() -> None:
    target = json.loads(sys.argv[1])["target"]
    with triton.InferenceServerClient(target) as client:
        outcomes = {
            "inferred": inferred(client),
            "async": async_inferred(client),
            "failed": failed(client),
            "told": told(client),
            "asyncio": asyncio.run(of_asyncio(target)),
        }
    sys.stdout.write(json.dumps(outcomes) + "\n")


if __name__ == "__main__":
    main()
