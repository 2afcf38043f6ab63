"""Single rows through LightGBM and XGBoost: our server beside a bare loop, and beside MLServer.

    python benchmarks/trees.py [--turns N] [--seconds S] [--mlserver PATH] [--json FILE]

Both libraries train a classifier of 100 trees on 20 features, here. Lanes, in turns:

* bare: uvloop, httptools, orjson and the library's own single-row call by ctypes, and nothing else
  (this file, started with `--bare`): no route, no check, no error;
* rest, grpc: our server, one process, the same row as JSON and as a message;
* mlserver: the same file behind MLServer's V2 protocol (`--mlserver`: its command, in an
  environment of its own with mlserver-lightgbm and mlserver-xgboost), without its worker processes,
  which one process has no use for.

All have 16 connections. Ratios of rates say little while something else computes on the machine;
those of CPU per answer do. Before that, in process: our program's run beside the call of the
library's Python package in a bare loop.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httptools
import lightgbm
import numpy as np
import orjson
import uvloop
import xgboost
from load import Server, h2load, wrk
from processes import Child, free_ports, until_answered
from turns import Race, Sample, take_turns

from salver._pb import message_class
from salver.backends.protocol import LoadStage
from salver.backends.selection import Selector
from salver.codecs.protobuf.tensor_proto import encode_tensor
from salver.vocabulary.model import Program

FEATURES, TREES, CLIENTS = 20, 100, 16
NAMES = ("lightgbm", "xgboost")
FILES = {"lightgbm": "model.txt", "xgboost": "model.ubj"}
CLASSES = {
    "lightgbm": "mlserver_lightgbm.LightGBMModel",
    "xgboost": "mlserver_xgboost.XGBoostModel",
}


def train(directory: Path) -> dict[str, Any]:
    """The base path of each model, and the library's own single-row call."""
    random = np.random.default_rng(1)
    rows = random.normal(size=(20_000, FEATURES)).astype(np.float32)
    labels = (rows[:, 0] + rows[:, 1] * rows[:, 2] > 0).astype(int)
    for name in NAMES:
        (directory / name / "1").mkdir(parents=True)
    light = lightgbm.train(
        {"objective": "binary", "verbose": -1, "num_threads": 1},
        lightgbm.Dataset(rows, labels),
        TREES,
    )
    light.save_model(directory / "lightgbm" / "1" / "model.txt")
    settings = {"objective": "binary:logistic", "max_depth": 6, "nthread": 1}
    extreme = xgboost.train(settings, xgboost.DMatrix(rows, labels), TREES)
    extreme.save_model(directory / "xgboost" / "1" / "model.ubj")
    row = rows[:1]
    return {
        "row": row,
        "lightgbm": lambda: light.predict(row, num_threads=1),
        "xgboost": lambda: extreme.inplace_predict(row),
    }


def program_of(version: Path) -> Program:
    return Selector()(version).load(LoadStage()).program("serving_default")


# -- the yardstick ---------------------------------------------------------------------------------


class Connection(asyncio.Protocol):
    """Answers any request as a predict of one row."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._body = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        instances = np.array(orjson.loads(self._body)["instances"], np.float32)
        self._body = b""
        (outputs,) = self._program.run_inline([instances])
        body = orjson.dumps({"predictions": outputs}, option=orjson.OPT_SERIALIZE_NUMPY)
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (len(body), body)
        )


async def serve_bare(version: Path, port: int) -> None:
    program = program_of(version)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(program), "127.0.0.1", port)
    await server.serve_forever()


# -- lanes -----------------------------------------------------------------------------------------


def measured(child: Child, load: Callable[[float], Any]) -> Callable[[float], Sample]:
    def lane(seconds: float) -> Sample:
        before = child.cpu_s()
        found = load(seconds)
        if found.refused:
            raise RuntimeError(f"{found.refused} of {found.answers} were refused: {child.tail()}")
        cpu_ms = (child.cpu_s() - before) * 1e3 / max(found.answers, 1)
        return Sample(found.rate, cpu_ms, found.p50_ms, found.p99_ms)

    return lane


def mlserver(command: str, models: Path, scratch: Path) -> tuple[Child, int]:
    """MLServer with both models, on ports of its own."""
    directory = scratch / "mlserver"
    http, grpc, metrics = free_ports(3)
    for name in NAMES:
        (directory / name).mkdir(parents=True)
        uri = models / name / "1" / FILES[name]
        settings = {"name": name, "implementation": CLASSES[name], "parameters": {"uri": str(uri)}}
        (directory / name / "model-settings.json").write_text(json.dumps(settings))
    ports = {"http_port": http, "grpc_port": grpc, "metrics_port": metrics, "host": "127.0.0.1"}
    (directory / "settings.json").write_text(
        json.dumps({**ports, "debug": False, "parallel_workers": 0})
    )
    child = Child([command, "start", str(directory)], scratch / "mlserver.log")
    return child, http


def grpc_message(name: str, row: Any) -> bytes:
    request = message_class("tensorflow.serving.PredictRequest")()
    request.model_spec.name = name
    request.inputs["x"].ParseFromString(encode_tensor(row, as_content=True))
    data: bytes = request.SerializeToString()
    return data


def lanes_of(
    name: str,
    models: Path,
    row: Any,
    ours: Server,
    peer: tuple[Child, int] | None,
    stack: ExitStack,
) -> dict[str, Callable[[float], Sample]]:
    scratch = models.parent
    body = scratch / f"{name}.json"
    body.write_text(json.dumps({"instances": row.tolist()}))
    (port,) = free_ports(1)
    command = [sys.executable, __file__, "--bare", str(models / name / "1"), "--port", str(port)]
    bare = Child(command, scratch / f"bare-{name}.log")
    stack.callback(bare.stop)
    url = f"http://127.0.0.1:{port}/"
    until_answered(bare, url, body.read_bytes(), 60.0)
    path = f"/v1/models/{name}:predict"
    ours.until_answered(path, body.read_bytes())
    message = grpc_message(name, row)
    rest_url = f"http://127.0.0.1:{ours.rest_port}{path}"
    grpc_url = f"http://127.0.0.1:{ours.grpc_port}/tensorflow.serving.PredictionService/Predict"

    def over(address: str, content: Path) -> Callable[[float], Any]:
        return lambda seconds: wrk(address, content, CLIENTS, max(1, round(seconds)), scratch)

    lanes = {
        "bare": measured(bare, over(url, body)),
        "rest": measured(ours, over(rest_url, body)),
        "grpc": measured(
            ours,
            lambda s: h2load(
                grpc_url, message, 1, CLIENTS, max(1, round(s)), scratch, is_timed=False
            ),
        ),
    }
    if peer is not None:
        child, http = peer
        data = {"name": "x", "shape": list(row.shape), "datatype": "FP32", "data": row[0].tolist()}
        other = scratch / f"{name}-v2.json"
        other.write_text(json.dumps({"inputs": [data]}))
        address = f"http://127.0.0.1:{http}/v2/models/{name}/infer"
        until_answered(child, address, other.read_bytes(), 120.0)
        lanes["mlserver"] = measured(child, over(address, other))
    return lanes


# -- in process ------------------------------------------------------------------------------------


def micros(call: Callable[[], Any], count: int = 3000) -> float:
    """CPU of one call, in microseconds; the least of five rounds."""
    call()
    rounds = []
    for _ in range(5):
        begun = time.thread_time()
        for _ in range(count // 5):
            call()
        rounds.append((time.thread_time() - begun) / (count // 5) * 1e6)
    return min(rounds)


def in_process(models: Path, trained: dict[str, Any]) -> None:
    for name in NAMES:
        program = program_of(models / name / "1")
        own = micros(lambda of=program: of.run_inline([trained["row"]]))  # type: ignore[misc]
        package = micros(trained[name])
        print(
            f"{name}, in process: {own:.1f} µs a row, the package's own call {package:.1f} µs: "
            f"{package / own:.2f} of its rate"
        )


def told(name: str, race: Race) -> dict[str, Any]:
    """Print the lanes of one library beside the bare loop; CPU and rate as ratios, the median."""
    figures: dict[str, Any] = {}
    for lane in race.samples:
        rate, cpu = (float(np.median(race.of(lane, key))) for key in ("rate", "cpu_ms"))
        by_rate = float(np.median(race.ratio(lane, "bare")))
        by_cpu = float(np.median(race.ratio("bare", lane, "cpu_ms")))
        figures[lane] = {"rate": rate, "cpu_ms": cpu, "of_rate": by_rate, "of_cpu": by_cpu}
        print(
            f"{name} {lane:9} {rate:9.0f}/s {cpu * 1e3:7.1f} µs CPU; of the bare loop: "
            f"rate {by_rate:.2f}, answers for the same CPU {by_cpu:.2f}"
        )
    return figures


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--turns", type=int, default=3)
    arguments.add_argument("--seconds", type=float, default=2.0)
    arguments.add_argument("--mlserver", default="", help="its command")
    arguments.add_argument("--json", type=Path)
    arguments.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    arguments.add_argument("--port", type=int, help=argparse.SUPPRESS)
    chosen = arguments.parse_args()
    if chosen.bare is not None:
        uvloop.run(serve_bare(chosen.bare, chosen.port))
        return
    print(f"load of the machine before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="salver-trees-") as directory, ExitStack() as stack:
        models = Path(directory) / "models"
        trained = train(models)
        in_process(models, trained)
        config = Path(directory) / "models.config"
        entries = "".join(
            f'config {{ name: "{name}" base_path: "{models / name}" model_platform: "tensorflow" }}'
            for name in NAMES
        )
        config.write_text(f"model_config_list {{ {entries} }}")
        ours = Server([f"--model_config_file={config}"], Path(directory) / "server.log")
        stack.callback(ours.stop)
        peer = None
        if chosen.mlserver:
            peer = mlserver(chosen.mlserver, models, Path(directory))
            stack.callback(peer[0].stop)
        for name in NAMES:
            lanes = lanes_of(name, models, trained["row"], ours, peer, stack)
            race = take_turns(lanes, chosen.turns, chosen.seconds)
            figures[name] = told(name, race)
            if peer is not None:
                ahead = float(np.median(race.ratio("rest", "mlserver")))
                print(f"{name}: our REST answers {ahead:.1f} times as many as MLServer")
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
