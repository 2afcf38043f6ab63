"""Triton's client in a loop, for `open_inference_soak.py`: REST and gRPC, each value checked.

python soak_triton.py HTTP_HOST:PORT GRPC_HOST:PORT SECONDS
"""

import json
import queue
import sys
import time
from typing import Any

import numpy as np
import tritonclient.grpc as over_grpc
import tritonclient.http as over_rest
from tritonclient.utils import InferenceServerException

NAME = "half_plus_two"
SIZES = (1, 64, 50_000)


class Loop:
    def __init__(self, rest: str, grpc: str) -> None:
        self.rest = over_rest.InferenceServerClient(rest, concurrency=4)
        self.grpc = over_grpc.InferenceServerClient(grpc)
        self.calls = self.failed = self.rounds = 0
        self.first: list[str] = []

    def check(self, what: str, is_good: bool) -> None:
        self.calls += 1
        if not is_good:
            self.failed += 1
            if len(self.first) < 5:
                self.first.append(what)

    def round(self) -> None:
        for size in SIZES:
            x = np.random.default_rng(self.rounds).random((size, 1), np.float32)
            self.rest_infer(x)
            self.grpc_infer(x)
        self.stream(1 + self.rounds % 7)
        self.reports()
        self.refusals()
        self.rounds += 1

    def rest_infer(self, x: "np.ndarray[Any, Any]") -> None:
        for binary in (True, False):
            given = over_rest.InferInput("x", list(x.shape), "FP32")
            given.set_data_from_numpy(x, binary_data=binary)
            wanted = [over_rest.InferRequestedOutput("y", binary_data=binary)]
            answer = self.rest.infer(NAME, [given], outputs=wanted)
            self.check("rest infer", np.allclose(answer.as_numpy("y"), x / 2 + 2))
        later = [self.rest.async_infer(NAME, [given]) for _ in range(3)]
        for each in later:
            is_good = np.allclose(each.get_result().as_numpy("y"), x / 2 + 2)
            self.check("rest async_infer", is_good)

    def grpc_infer(self, x: "np.ndarray[Any, Any]") -> None:
        given = over_grpc.InferInput("x", list(x.shape), "FP32")
        given.set_data_from_numpy(x)
        answer = self.grpc.infer(NAME, [given])
        self.check("grpc infer", np.allclose(answer.as_numpy("y"), x / 2 + 2))
        answers: queue.Queue[Any] = queue.Queue()
        for _ in range(3):
            self.grpc.async_infer(
                NAME, [given], callback=lambda result, error: answers.put((result, error))
            )
        for _ in range(3):
            result, error = answers.get(timeout=60)
            is_good = error is None and np.allclose(result.as_numpy("y"), x / 2 + 2)
            self.check(f"grpc async_infer: {error}", is_good)

    def stream(self, count: int) -> None:
        answers: queue.Queue[Any] = queue.Queue()
        given = over_grpc.InferInput("to", [], "INT64")
        given.set_data_from_numpy(np.array(count))
        self.grpc.start_stream(lambda result, error: answers.put((result, error)))
        self.grpc.async_stream_infer("count", [given], request_id="r")
        numbers = []
        for _ in range(count):
            result, error = answers.get(timeout=60)
            numbers.append(str(error) if result is None else result.as_numpy("number").item())
        self.grpc.stop_stream()
        self.check(f"stream: {numbers}", numbers == list(range(1, count + 1)))

    def reports(self) -> None:
        for client in (self.rest, self.grpc):
            self.check("ready", client.is_server_ready() and client.is_model_ready(NAME))
            client.get_server_metadata()
            client.get_model_metadata(NAME)
            client.get_model_config(NAME)
            client.get_inference_statistics(NAME)
            client.get_model_repository_index()

    def refusals(self) -> None:
        for client, api in ((self.rest, over_rest), (self.grpc, over_grpc)):
            given = api.InferInput("x", [1, 1], "INT32")
            given.set_data_from_numpy(np.zeros((1, 1), np.int32))
            for name in (NAME, "unknown"):
                try:
                    client.infer(name, [given])
                except InferenceServerException:
                    self.check("refusal", True)
                else:
                    self.check(f"{name} was not refused", False)


def main() -> None:
    rest, grpc, seconds = sys.argv[1:]
    loop, until_s = Loop(rest, grpc), time.monotonic() + float(seconds)
    while time.monotonic() < until_s:
        try:
            loop.round()
        except Exception as error:  # noqa: BLE001 - counted
            loop.check(repr(error), False)
    found = {name: getattr(loop, name) for name in ("rounds", "calls", "failed", "first")}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
