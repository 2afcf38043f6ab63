"""KServe's SDK over gRPC and REST.

    python kserve_sdk.py '{"target": "127.0.0.1:8500", "url": "http://127.0.0.1:8501"}'

prints one JSON object with what each of its calls gave.
"""

import asyncio
import json
import sys
from typing import Any

import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig

NAME = "half_plus_two"


def request(model: str, *, is_raw: bool, **arrays: Any) -> Any:
    datatypes = {"f": "FP32", "i": "INT32", "O": "BYTES"}
    inputs = []
    for name, array in arrays.items():
        made = InferInput(name, list(array.shape), datatypes[array.dtype.kind])
        made.set_data_from_numpy(array, binary_data=is_raw)
        inputs.append(made)
    return InferRequest(model, inputs)


def plain(response: Any) -> dict[str, Any]:
    return {
        output.name: json.loads(json.dumps(output.as_numpy().tolist(), default=bytes.decode))
        for output in response.outputs
    }


async def outcomes(target: str) -> dict[str, Any]:
    x = np.array([[1.0], [2.0], [5.0]], np.float32)
    words = np.array([b"quick", b"none"], object)
    async with InferenceGRPCClient(target) as client:
        return {
            "live": await client.is_server_live(),
            "ready": await client.is_server_ready(),
            "model ready": await client.is_model_ready("half_plus_two"),
            "raw": plain(await client.infer(request("half_plus_two", is_raw=True, x=x))),
            "typed": plain(await client.infer(request("half_plus_two", is_raw=False, x=x))),
            "strings": plain(await client.infer(request("strings", is_raw=True, words=words))),
        }


async def asked(client: InferenceRESTClient, url: str, made: Any) -> dict[str, Any]:
    return plain(await client.infer(url, made, model_name=NAME))


async def over_rest(url: str) -> dict[str, Any]:
    x = np.array([[1.0], [2.0], [5.0]], np.float32)
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        return {
            "live": await client.is_server_live(url),
            "ready": await client.is_server_ready(url),
            "model ready": await client.is_model_ready(url, "half_plus_two"),
            "raw": await asked(client, url, request(NAME, is_raw=True, x=x)),
            "typed": await asked(client, url, request(NAME, is_raw=False, x=x)),
        }


def main() -> None:
    settings = json.loads(sys.argv[1])
    found = asyncio.run(outcomes(settings["target"]))
    found["rest"] = asyncio.run(over_rest(settings["url"]))
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
