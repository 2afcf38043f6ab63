"""ONNX models: beside ONNX Runtime's own Python interface, our half_plus_two, and the bare engine.

    python benchmarks/onnx_runtime.py [calls] [small] [nets] [--turns 5] [--seconds 3] [--json FILE]

* calls: a run in process beside `InferenceSession.run`: half_plus_two and an MLP;
* small: half_plus_two as ONNX over REST and gRPC, beside the SavedModel on the same server;
* nets: graphs of the sizes of MobileNetV2 and ResNet-50, over gRPC, beside `InferenceSession.run`
  in a process of its own, which runs again at once: one call at a time, and four. One at a time
  also beside the same behind a socket: a bare loop that reads so many bytes, runs, and writes the
  answer.

Needs onnx, onnxruntime and TensorFlow, wrk and h2load. Nothing is downloaded: the nets have random
weights.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from load import h2load, wrk
from processes import Child, free_ports, until_answered
from turns import Lane, Race, Sample, take_turns

from salver._pb import message_class
from salver.backends.onnxruntime.backend import OnnxRuntimeBackend
from salver.backends.onnxruntime.environment import schedulable_cpus
from salver.backends.protocol import LoadStage

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
BURST = 200
NETS = ("mobilenet_v2", "resnet50")

CALLERS = 4

# A bare engine: reads seconds and threads, runs for so long in so many, writes how often.
ENGINE = """
import sys, threading, time
import numpy as np, onnxruntime
settings = onnxruntime.SessionOptions()
settings.intra_op_num_threads = int(sys.argv[2])
settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
session = onnxruntime.InferenceSession(sys.argv[1], settings, ["CPUExecutionProvider"])
feed = {"x": np.full((1, 3, 224, 224), 0.5, np.float32)}
def run(until, runs):
    while time.perf_counter() < until:
        session.run(None, feed)
        runs.append(None)
for line in sys.stdin:
    seconds, callers = map(float, line.split())
    begun, runs = time.perf_counter(), []
    todo = {"target": run, "args": (begun + seconds, runs)}
    threads = [threading.Thread(**todo) for _ in range(int(callers) - 1)]
    for each in threads:
        each.start()
    run(begun + seconds, runs)
    for each in threads:
        each.join()
    print(len(runs) / (time.perf_counter() - begun), flush=True)
"""

# The same behind a socket. Its client, which is another process, does as the engine above is told.
SOCKET = """
import socket, sys
import numpy as np, onnxruntime
settings = onnxruntime.SessionOptions()
settings.intra_op_num_threads = int(sys.argv[2])
settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
session = onnxruntime.InferenceSession(sys.argv[1], settings, ["CPUExecutionProvider"])
x = np.empty((1, 3, 224, 224), np.float32)
listener = socket.create_server(("127.0.0.1", int(sys.argv[3])))
client, _ = listener.accept()
client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
view = memoryview(x).cast("B")
while True:
    got = 0
    while got < len(view):
        read = client.recv_into(view[got:])
        if not read:
            sys.exit()
        got += read
    client.sendall(session.run(None, {"x": x})[0].tobytes())
"""
ASKER = """
import socket, sys, time
import numpy as np
body = np.full((1, 3, 224, 224), 0.5, np.float32).tobytes()
for _ in range(600):
    try:
        server = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
        break
    except OSError:
        time.sleep(0.05)
server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
answer = memoryview(bytearray(int(sys.argv[2])))
for line in sys.stdin:
    begun, runs = time.perf_counter(), 0
    while time.perf_counter() - begun < float(line):
        server.sendall(body)
        got = 0
        while got < len(answer):
            got += server.recv_into(answer[got:])
        runs += 1
    print(runs / (time.perf_counter() - begun), flush=True)
"""
ANSWER_BYTES = 4000  # a thousand classes


def session_of(path: Path) -> Any:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = schedulable_cpus()
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(path), settings, ["CPUExecutionProvider"])


def bursts(call: Callable[[], object]) -> Lane:
    """The best of many short bursts: others use the machine too."""

    def lane(seconds: float) -> Sample:
        best, until = float("inf"), time.perf_counter() + seconds
        while time.perf_counter() < until:
            begun = time.perf_counter()
            for _ in range(BURST):
                call()
            best = min(best, (time.perf_counter() - begun) / BURST)
        return Sample(rate=1 / best)

    return lane


def calls(models: Path, turns: int, seconds: float) -> dict[str, Race]:
    races = {}
    for name, shape in (("half_plus_two", (1,)), ("mlp", (1, 784))):
        x = np.ones(shape, np.float32)
        version = models / name / "1"
        loaded = OnnxRuntimeBackend().load(version, OnnxRuntimeBackend.options(), LoadStage())
        program, session = loaded.program("serving_default"), session_of(version / "model.onnx")
        feed = {"x": x}
        lanes = {
            "ours, in the loop": bursts(lambda: program.run_inline([x])),  # noqa: B023
            "ours, in a thread": bursts(lambda: program.run([x])),  # noqa: B023
            "InferenceSession.run": bursts(lambda: session.run(None, feed)),  # noqa: B023
        }
        races[name] = take_turns(lanes, turns, seconds / 3, warm_s=0.2)
        loaded.close()
    return races


def request(model: str, x: Any) -> bytes:
    made = message_class("tensorflow.serving.PredictRequest")()
    made.model_spec.name = model
    tensor = made.inputs["x"]
    tensor.dtype = 1
    for size in x.shape:
        tensor.tensor_shape.dim.add(size=size)
    tensor.tensor_content = x.tobytes()
    serialized: bytes = made.SerializeToString()
    return serialized


class Served:
    """A server with some models, each under a name."""

    def __init__(self, scratch: Path, models: dict[str, Path]) -> None:
        self._scratch = scratch
        self.rest, self.grpc = free_ports(2)
        paths = [f"{name}={path}" for name, path in models.items()]
        ports = [f"--rest_api_port={self.rest}", f"--port={self.grpc}"]
        run = "import sys; from salver.cli.salver import main; sys.exit(main())"
        command = [sys.executable, "-c", run, "serve"]
        self.child = Child([*command, *paths, *ports], scratch / "server.log")

    def url(self, model: str) -> str:
        return f"http://127.0.0.1:{self.rest}/v1/models/{model}:predict"

    def by_rest(self, model: str, body: bytes, clients: int) -> Lane:
        file = self._scratch / "body.json"
        file.write_bytes(body)
        until_answered(self.child, self.url(model), body)

        def lane(seconds: float) -> Sample:
            whole = max(1, round(seconds))
            return Sample(rate=wrk(self.url(model), file, clients, whole, self._scratch).rate)

        return lane

    def by_grpc(self, model: str, x: Any, clients: int) -> Lane:
        message = request(model, x)

        def lane(seconds: float) -> Sample:
            url = f"http://127.0.0.1:{self.grpc}/tensorflow.serving.PredictionService/Predict"
            whole = max(1, round(seconds))
            seen = h2load(url, message, 1, clients, whole, self._scratch, is_timed=False)
            return Sample(rate=seen.rate)

        return lane


def small(models: Path, scratch: Path, turns: int, seconds: float) -> dict[str, Race]:
    made = scratch / "tf1"
    subprocess.run([sys.executable, ROOT / "tests" / "models" / "tf1.py", made], check=True)
    paths = {"onnx": models / "half_plus_two", "saved_model": made / "half_plus_two"}
    served = Served(scratch, paths)
    try:
        body = b'{"instances": [1.0, 2.0, 5.0]}'
        x = np.array([1, 2, 5], np.float32)
        rest = {name: served.by_rest(name, body, 16) for name in paths}
        grpc = {name: served.by_grpc(name, x, 16) for name in paths}
        return {
            "REST, 16 connections": take_turns(rest, turns, seconds),
            "gRPC, 16 connections": take_turns(grpc, turns, seconds),
        }
    finally:
        served.child.stop()


def nets(models: Path, scratch: Path, turns: int, seconds: float) -> dict[str, Race]:
    races = {}
    x = np.full((1, 3, 224, 224), 0.5, np.float32)
    threads = str(schedulable_cpus())
    for name in NETS:
        model = str(models / name / "1" / "model.onnx")
        [port] = free_ports(1)
        with ExitStack() as stack:
            served = Served(scratch, {name: models / name})
            stack.callback(served.child.stop)
            engine = piped(stack, ENGINE, model, threads)
            piped(stack, SOCKET, model, threads, str(port))
            asker = piped(stack, ASKER, str(port), str(ANSWER_BYTES))
            zeros = json.dumps({"inputs": {"x": np.zeros(x.shape).tolist()}}).encode()
            until_answered(served.child, served.url(name), zeros)
            lanes = {
                "served, gRPC": served.by_grpc(name, x, 1),
                f"served, gRPC, {CALLERS} calls": served.by_grpc(name, x, CALLERS),
                f"engine, {CALLERS} threads": engine_lane(engine, f" {CALLERS}"),
                "engine behind a socket": engine_lane(asker),
                "engine": engine_lane(engine, " 1"),
            }
            races[name] = take_turns(lanes, turns, seconds)
    return races


def piped(stack: ExitStack, program: str, *arguments: str) -> "subprocess.Popen[str]":
    """A Python program that is told on its standard input what to do, until the stack ends."""
    child = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    stack.callback(child.wait)
    stack.callback(child.kill)
    return child


def engine_lane(engine: "subprocess.Popen[str]", more: str = "") -> Lane:
    def lane(seconds: float) -> Sample:
        assert engine.stdin is not None
        assert engine.stdout is not None
        engine.stdin.write(f"{seconds}{more}\n")
        engine.stdin.flush()
        return Sample(rate=float(engine.stdout.readline()))

    return lane


def told(case: str, races: dict[str, Race]) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for name, race in races.items():
        *ours, last = race.samples
        for lane in ours:
            ratio = median(race.ratio(lane, last))
            rates = [median(race.of(each)) for each in (lane, last)]
            print(
                f"{case}: {name}: {lane} / {last}: {ratio:.2f} ({rates[0]:.0f}, {rates[1]:.0f}/s)"
            )
            said[f"{name}: {lane}"] = {"of": last, "ratio": ratio, "rates": rates}
    return said


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("cases", nargs="*", default=[], help="calls, small, nets")
    arguments.add_argument("--turns", type=int, default=5)
    arguments.add_argument("--seconds", type=float, default=3)
    arguments.add_argument("--json", type=Path)
    chosen = arguments.parse_args()
    cases = chosen.cases or ["calls", "small", "nets"]
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        models = scratch / "onnx"
        subprocess.run([sys.executable, HERE / "onnx_nets.py", models], check=True)
        results = {}
        if "calls" in cases:
            results["calls"] = told("calls", calls(models, chosen.turns, chosen.seconds))
        if "small" in cases:
            results["small"] = told("small", small(models, scratch, chosen.turns, chosen.seconds))
        if "nets" in cases:
            results["nets"] = told("nets", nets(models, scratch, chosen.turns, chosen.seconds))
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
