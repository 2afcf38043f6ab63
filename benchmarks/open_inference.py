"""The Open Inference Protocol beside TensorFlow Serving's API, on the same server and models.

    python benchmarks/open_inference.py [small] [image] [--turns 5] [--seconds 3] [--peers]
        [--json FILE] [--report]

* small: half_plus_two, 16 connections: REST JSON and gRPC with raw contents, each beside the same
  call of TensorFlow Serving's API;
* image: a 224x224x3 float image to a model that slices a pixel, 2 connections: binary REST beside
  gRPC with `tensor_content` and beside JSON; gRPC with raw contents.

`--peers` adds MLServer and PyTriton, Triton's front for Python functions, with the same SavedModel
(`peer_mlserver.py`, `peer_pytriton.py`): as their users run it, by `tf.saved_model`, of which the
targets are, and by Salver's wrapper of the C API, where only the server differs. Each is installed
with pip into an environment of its own.
What cannot be had is said and left out. Needs TensorFlow, wrk and h2load.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import open_inference_peers as peers
import report
import tasks
from figures import Result, as_document, least, table
from load import JSON_HEADERS, Measured, Server, h2load, wrk
from processes import Child, post
from tasks import NAME, PREDICT, REST_PATH, Task
from turns import Lane, Race, Sample, take_turns

from salver._pb import message_class

MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"
V2_PATH = f"/v2/models/{NAME}/infer"
HEADER_LENGTH = "Inference-Header-Content-Length"
CONNECTIONS = {"small": 16, "image": 2}
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


@dataclass(frozen=True)
class Asked:
    """One request in all the forms of the Open Inference Protocol."""

    body: bytes
    binary: bytes
    head_bytes: int
    message: bytes

    @property
    def binary_headers(self) -> dict[str, str]:
        return {
            "Content-Type": "application/octet-stream",
            HEADER_LENGTH: str(self.head_bytes),
        }


def asked_of(name: str, rows: np.ndarray) -> Asked:
    tensor: dict[str, Any] = {"name": name, "shape": list(rows.shape), "datatype": "FP32"}
    body = json.dumps({"inputs": [{**tensor, "data": rows.ravel().tolist()}]}).encode()
    sized = {**tensor, "parameters": {"binary_data_size": rows.nbytes}}
    asks = {"inputs": [sized], "parameters": {"binary_data_output": True}}
    head = json.dumps(asks).encode()
    message = message_class("inference.ModelInferRequest")(
        model_name=NAME, inputs=[tensor], raw_input_contents=[rows.tobytes()]
    )
    return Asked(body, head + rows.tobytes(), len(head), message.SerializeToString())


class Lanes:
    """Makes lanes of one server's calls."""

    def __init__(self, child: Child, rest_port: int, grpc_port: int, scratch: Path) -> None:
        self._child = child
        self._rest_port = rest_port
        self._grpc_port = grpc_port
        self._scratch = scratch
        self._bodies = 0

    def rest(
        self, path: str, body: bytes, connections: int, headers: Mapping[str, str] = JSON_HEADERS
    ) -> Lane:
        self._bodies += 1
        file = self._scratch / f"body-{self._rest_port}-{self._bodies}"
        file.write_bytes(body)
        url = f"http://127.0.0.1:{self._rest_port}{path}"
        return self._lane(lambda s: wrk(url, file, connections, s, self._scratch, headers))

    def grpc(self, method: str, message: bytes, connections: int) -> Lane:
        address = f"127.0.0.1:{self._grpc_port}"
        with grpc.insecure_channel(address, options=UNLIMITED) as channel:
            call = channel.unary_unary(method)
            answer_bytes = len(call(message, timeout=60, wait_for_ready=True))
        url = f"http://{address}{method}"
        return self._lane(
            lambda s: h2load(
                url, message, answer_bytes, connections, s, self._scratch, is_timed=False
            )
        )

    def _lane(self, load: Any) -> Lane:
        def lane(seconds: float) -> Sample:
            before_s = self._child.cpu_s()
            seen: Measured = load(max(1, round(seconds)))
            if seen.refused or not seen.answers:
                raise RuntimeError(
                    f"{seen.refused} of {seen.answers} were refused:\n{self._child.tail()}"
                )
            cpu_ms = 1e3 * (self._child.cpu_s() - before_s) / seen.answers
            return Sample(seen.rate, cpu_ms, seen.p50_ms, seen.p99_ms)

        return lane


def small_lanes(task: Task, of: Lanes) -> dict[str, Lane]:
    connections = CONNECTIONS["small"]
    asked = asked_of("x", task.rows.reshape(-1, 1))  # as the model declares it
    return {
        "v2 JSON": of.rest(V2_PATH, asked.body, connections),
        "v2 gRPC raw": of.grpc(MODEL_INFER, asked.message, connections),
        "TFS JSON": of.rest(REST_PATH, task.body, connections),
        "TFS gRPC": of.grpc(PREDICT, task.message, connections),
    }


def image_lanes(task: Task, of: Lanes) -> dict[str, Lane]:
    connections = CONNECTIONS["image"]
    asked = asked_of("image", task.rows)
    return {
        "v2 binary": of.rest(V2_PATH, asked.binary, connections, asked.binary_headers),
        "v2 JSON": of.rest(V2_PATH, asked.body, connections),
        "v2 gRPC raw": of.grpc(MODEL_INFER, asked.message, connections),
        "TFS JSON": of.rest(REST_PATH, task.body, connections),
        "TFS gRPC": of.grpc(PREDICT, task.message, connections),
    }


CASES = {
    "small": (
        tasks.small,
        small_lanes,
        {"v2 JSON": {"TFS JSON": 0.85}, "v2 gRPC raw": {"TFS gRPC": 0.95}},
    ),
    "image": (
        tasks.image,
        image_lanes,
        {"v2 binary": {"TFS gRPC": 0.9, "TFS JSON": 3}, "v2 gRPC raw": {"TFS gRPC": 0.95}},
    ),
}
"""Case → its task, its lanes, and which lane is to have which part of another's rate."""

AHEAD = {"small": 10.0, "image": 1.0}
"""Of the peers: how many times their rate is the target."""


def peer_lanes(case: str, task: Task, stack: ExitStack, scratch: Path) -> dict[str, Lane]:
    """Lanes of the peers that can be had here: small as JSON, the image as binary tensors."""
    rows = task.rows.reshape(-1, 1) if case == "small" else task.rows
    asked = asked_of(task.input_name, rows)
    found: dict[str, Lane] = {}
    for name, start in peers.PEERS.items():
        why = peers.install(name)
        if why:
            print(f"{name} cannot be had here: {why}")
            continue
        for run in peers.RUNS:
            child, port = start(task.version, run, asked.body, stack, scratch)
            lanes = Lanes(child, port, 0, scratch)
            connections = CONNECTIONS[case]
            for form, (body, headers) in {
                "JSON": (asked.body, JSON_HEADERS),
                "binary": (asked.binary, asked.binary_headers),
            }.items():
                status, answer = post(f"http://127.0.0.1:{port}{V2_PATH}", body, 60.0, headers)
                if status != 200:
                    print(f"{name} refuses {form}: {status} {answer[:200]!r}")
                    continue
                lane = f"{name}, {run}, {form}"
                found[lane] = lanes.rest(V2_PATH, body, connections, headers)
    return found


def told(case: str, race: Race, targets: Mapping[str, Mapping[str, float]]) -> Result:
    result = Result(f"oip-{case}")
    of = "half_plus_two" if case == "small" else "a 224×224×3 image"
    for ours, others in targets.items():
        for other, target in others.items():
            goal = least(target) if target else None
            result.add(f"{of}: {ours} beside {other}", race.ratio(ours, other), goal=goal)
    for lane in race.samples:
        result.add(f"{of}: {lane}", race.of(lane), "/s")
        result.add(f"{of}: {lane}: CPU", [1e3 * each for each in race.of(lane, "cpu_ms")], "µs")
    return result


def measured(case: str, chosen: argparse.Namespace, scratch: Path) -> Result:
    make_task, make_lanes, targets = CASES[case]
    task = make_task(chosen.models)
    flags = [f"--model_name={NAME}", f"--model_base_path={task.base_path}"]
    with ExitStack() as stack:
        server = Server(flags, scratch / f"server-{case}.log")
        stack.callback(server.stop)
        server.until_answered(REST_PATH, task.body)
        lanes = make_lanes(task, Lanes(server, server.rest_port, server.grpc_port, scratch))
        goals: dict[str, dict[str, float]] = {lane: dict(of) for lane, of in targets.items()}
        if chosen.peers:
            others = peer_lanes(case, task, stack, scratch)
            best = "v2 JSON" if case == "small" else "v2 binary"
            goals[best] |= {
                other: AHEAD[case] if "tf.saved_model" in other else 0.0 for other in others
            }
            lanes |= others
        return told(case, take_turns(lanes, chosen.turns, chosen.seconds), goals)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("cases", nargs="*", help=", ".join(CASES))
    arguments.add_argument("--turns", type=int, default=5)
    arguments.add_argument("--seconds", type=float, default=3)
    arguments.add_argument("--models", type=Path, default=tasks.cache() / "models")
    arguments.add_argument("--peers", action="store_true", help="MLServer and PyTriton as well")
    arguments.add_argument("--json", type=Path)
    arguments.add_argument("--report", action="store_true", help="write docs/performance.md")
    chosen = arguments.parse_args()
    unknown = set(chosen.cases) - set(CASES)
    if unknown:
        sys.exit(f"there is no case {', '.join(sorted(unknown))}")
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        for case in chosen.cases or CASES:
            results.append(measured(case, chosen, Path(scratch)))
            print(table(results[-1].figures), flush=True)
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(as_document(results, {}), indent=1))
    if chosen.report:
        texts = {result.case: table(result.figures) for result in results}
        report.PAGE.write_text(report.filled(report.PAGE.read_text(), texts))


if __name__ == "__main__":
    main()
