"""Salver's gRPC API beside a plain grpc.aio echo, as ratios taken in one run.

    python benchmarks/rpc.py [small] [float_val] [tensor_content]

* small: Predict of half_plus_two, 16 calls at once over 4 connections; beside our REST API too;
* float_val, tensor_content: one 224x224x3 float image to a model that slices a pixel, sent in
  either way, 2 connections.

The echo (`rpc_echo.py`) takes and gives messages of the same sizes and looks at neither. h2load
makes the load; the latency is that of one grpcio client which calls again when it has its answer.
The two servers run in turns, several times; the figures are medians of the turns' ratios.

Needs h2load and wrk (Debian packages nghttp2-client and wrk) and, to make the models, TensorFlow.
"""

import argparse
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import rest

from salver._pb import message_class

HERE = Path(__file__).resolve().parent
TURNS = 5
SECONDS = 4
ECHO_PORT, SALVER_PORT = 18621, 18622
PREDICT = "/tensorflow.serving.PredictionService/Predict"
HEADERS = ("-H", "content-type: application/grpc", "-H", "te: trailers")  # codespell:ignore te
UNLIMITED = [("grpc.max_receive_message_length", -1)]


@dataclass(frozen=True)
class Load:
    """How many calls at once, over how many connections."""

    connections: int
    calls_each: int


def predict_request(name: str, array: np.ndarray, *, is_content: bool) -> bytes:
    request = message_class("tensorflow.serving.PredictRequest")()
    request.model_spec.name = "m"
    tensor = request.inputs[name]
    tensor.dtype = 1
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    if is_content:
        tensor.tensor_content = array.tobytes()
    else:
        tensor.float_val.extend(array.ravel())
    sent: bytes = request.SerializeToString()
    return sent


def until_answered(port: int, request: bytes) -> bytes:
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=UNLIMITED) as channel:
        answer: bytes = channel.unary_unary(PREDICT)(request, timeout=60, wait_for_ready=True)
        return answer


def rate(port: int, request: bytes, answer_bytes: int, load: Load, scratch: Path) -> float:
    """Calls per second that h2load gets through; every answer must be a whole one."""
    body = scratch / "body"
    body.write_bytes(b"\0" + len(request).to_bytes(4, "big") + request)
    said = subprocess.run(
        [
            *("h2load", "-t1", f"-c{load.connections}", f"-m{load.calls_each}", f"-D{SECONDS}"),
            *("-d", str(body), *HEADERS),
            f"http://127.0.0.1:{port}{PREDICT}",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored", said)
    data = re.search(r"\((\d+)\) data", said)
    assert found is not None, said
    assert data is not None, said
    succeeded, failed, errored = map(int, found.groups())
    if failed or errored or int(data[1]) < succeeded * (answer_bytes + 5):
        raise RuntimeError(said)
    return succeeded / SECONDS


def latency_micros(port: int, request: bytes) -> float:
    """The median of one grpcio client's calls, one after another."""
    times = []
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=UNLIMITED) as channel:
        call = channel.unary_unary(PREDICT)
        for _ in range(100):
            call(request)
        until_s = time.perf_counter() + SECONDS / 2
        while (begun := time.perf_counter()) < until_s:
            call(request)
            times.append(time.perf_counter() - begun)
    return statistics.median(times) * 1e6


def median(column: list[float]) -> float:
    return statistics.median(column)


def compare(
    base_path: Path, request: bytes, load: Load, scratch: Path, rest_body: bytes | None = None
) -> None:
    ours_command = (*rest.salver(base_path), f"--port={SALVER_PORT}")
    ratios, rest_ratios, costs, delays, rates = [], [], [], [], []
    with ExitStack() as running:
        ours = running.enter_context(rest.running(*ours_command))
        answer_bytes = len(until_answered(SALVER_PORT, request))
        echo = running.enter_context(
            rest.running(
                HERE / "rpc_echo.py", f"--port={ECHO_PORT}", f"--answer-bytes={answer_bytes}"
            )
        )
        until_answered(ECHO_PORT, request)
        for port in (ECHO_PORT, SALVER_PORT):  # warm, so that short runs are known as short
            rate(port, request, answer_bytes, load, scratch)
        for _ in range(TURNS):
            before = rest.cpu_s(echo), rest.cpu_s(ours)
            echo_rate = rate(ECHO_PORT, request, answer_bytes, load, scratch)
            our_rate = rate(SALVER_PORT, request, answer_bytes, load, scratch)
            echo_cost = (rest.cpu_s(echo) - before[0]) / (echo_rate * SECONDS)
            our_cost = (rest.cpu_s(ours) - before[1]) / (our_rate * SECONDS)
            ratios.append(our_rate / echo_rate)
            costs.append(our_cost / echo_cost)
            delays.append(latency_micros(SALVER_PORT, request) / latency_micros(ECHO_PORT, request))
            rates.append((echo_rate, our_rate))
            if rest_body is not None:
                rest_rate = rest.load(rest.SALVER_PORT, rest_body, 16, scratch)
                rest_ratios.append(our_rate / rest_rate)
        micros = latency_micros(ECHO_PORT, request), latency_micros(SALVER_PORT, request)
    print(f"  messages: {len(request):,} bytes in, {answer_bytes:,} out")
    print(f"  rate: {median(ratios):.2f} of the echo's ({min(ratios):.2f} to {max(ratios):.2f})")
    print(f"  CPU per call: {median(costs):.2f} of the echo's")
    print(f"  latency of a grpcio client: {median(delays):.2f} of the echo's")
    if rest_ratios:
        print(f"  rate: {median(rest_ratios):.2f} of our REST API's, 16 connections")
    echo_rate, our_rate = (median(list(column)) for column in zip(*rates, strict=True))
    print(f"  (here: echo {echo_rate:,.0f}/s, Salver {our_rate:,.0f}/s;", end=" ")
    print(f"{micros[0]:,.0f} and {micros[1]:,.0f} µs)")


def small(models: Path, scratch: Path) -> None:
    print("small: half_plus_two, 16 calls at once over 4 connections")
    request = predict_request("x", np.array([1.0, 2.0, 5.0], np.float32), is_content=False)
    compare(
        models / "tf1" / "half_plus_two",
        request,
        Load(connections=4, calls_each=4),
        scratch,
        rest_body=b'{"instances": [1.0, 2.0, 5.0]}',
    )


def image(is_content: bool) -> Callable[[Path, Path], None]:
    def run(models: Path, scratch: Path) -> None:
        how = "tensor_content" if is_content else "float_val"
        print(f"{how}: a 224x224x3 float image, 2 connections")
        picture = np.random.default_rng(0).random((1, 224, 224, 3), np.float32)
        request = predict_request("image", picture, is_content=is_content)
        load = Load(connections=2, calls_each=1)
        compare(models / "tf2" / "slicer", request, load, scratch)

    return run


BENCHMARKS: dict[str, Callable[[Path, Path], None]] = {
    "small": small,
    "float_val": image(is_content=False),
    "tensor_content": image(is_content=True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("which", nargs="*", choices=[*BENCHMARKS, []], help="default: all")
    parser.add_argument("--models", type=Path, help="keep the generated models here")
    arguments = parser.parse_args()
    for command, package in (("h2load", "nghttp2-client"), ("wrk", "wrk")):
        if shutil.which(command) is None:
            sys.exit(f"{command} is needed: apt-get install {package}")
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        models = arguments.models or scratch
        rest.make_models(models)
        for name in arguments.which or BENCHMARKS:
            BENCHMARKS[name](models, scratch)


if __name__ == "__main__":
    main()
