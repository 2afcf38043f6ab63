"""What batching gains with many clients and costs with one, as ratios taken in one run.

    python benchmarks/batching.py [convnet] [small] [--api grpc] [--sweep]
    python benchmarks/batching.py --model BASE_PATH --request FILE.json [--clients 64] [--sweep]

* convnet: a net of two convolutions on 28x28 pixels, which gains from batches on a CPU too;
* small: half_plus_two, whose run is shorter than the wait for a batch: nothing can be gained;
* --model: one of yours, with the body of a REST predict request to it.

Beside the server without batching run, each as a server of its own: our defaults
(`--enable_batching` and nothing else); what the reference's batching guide advises for a start on
CPUs; and a tuned setting, given by `--tuned` or found by `--sweep`, which tries threads, then
timeouts, then sizes, and of each the smallest value that gets through all but 5 % of the most.
Many clients (64), then one; the servers run in turns, in an order that is drawn anew, and a figure
is the median of the turns' ratios, with the lowest and the highest.

Needs wrk, for `--api grpc` h2load (Debian packages wrk and nghttp2-client), and, to make the
models, TensorFlow.
"""

import argparse
import json
import math
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tasks
from load import Measured, Server, h2load, wrk
from tasks import PREDICT

from salver._pb import message_class

CPUS = len(os.sched_getaffinity(0))
WITHOUT = "without batching"
ENOUGH = 0.95  # of the most that gets through; the rest is noise, and not worth a longer wait
WIDE = 1_000_000  # "a really high value"

Parameters = Mapping[str, int]

# None: no batching at all; empty: --enable_batching alone.
SETTINGS: dict[str, Parameters | None] = {
    WITHOUT: None,
    "`--enable_batching` alone": {},
    "the reference's advice": {
        "num_batch_threads": CPUS,
        "max_batch_size": WIDE,
        "batch_timeout_micros": 0,
        "max_enqueued_batches": WIDE,
    },
}
TUNED: Parameters = {
    "num_batch_threads": max(1, CPUS // 2),
    "max_batch_size": 32,
    "batch_timeout_micros": 0,
    "max_enqueued_batches": 1000,
}
SWEPT: dict[str, Sequence[int]] = {
    "num_batch_threads": sorted({1, CPUS, 2 * CPUS}),
    "batch_timeout_micros": (0, 500, 1000, 2000, 5000),
    "max_batch_size": (8, 16, 32, 64, 128),
}


@dataclass(frozen=True)
class Case:
    """A model and a request to it: for REST, and where there is one for gRPC."""

    base_path: Path
    body: bytes
    message: bytes = b""

    @classmethod
    def of_rows(cls, base_path: Path, input_name: str, rows: np.ndarray) -> "Case":
        request = message_class("tensorflow.serving.PredictRequest")()
        request.model_spec.name = "m"
        tensor = request.inputs[input_name]
        tensor.dtype = 1
        for size in rows.shape:
            tensor.tensor_shape.dim.add(size=size)
        tensor.tensor_content = rows.astype(np.float32).tobytes()
        body = json.dumps({"instances": rows.astype(float).round(4).tolist()})
        return cls(base_path, body.encode(), request.SerializeToString())


@dataclass(frozen=True)
class Cost:
    """One run of one setting, and the CPU seconds of the server per 1,000 good answers."""

    load: Measured
    cpu_s: float


FIGURES: dict[str, tuple[str, Callable[[Cost], float]]] = {
    "rate": ("{:,.0f}/s", lambda cost: cost.load.rate),
    "p50": ("{:.2f} ms", lambda cost: cost.load.p50_ms),
    "p99": ("{:.2f} ms", lambda cost: cost.load.p99_ms),
    "CPU": ("{:.2f} s", lambda cost: cost.cpu_s),
}


@dataclass(frozen=True)
class Bench:
    """How load is made."""

    case: Case
    api: str
    clients: int
    seconds: int
    scratch: Path

    def start(self, parameters: Parameters | None) -> Server:
        flags = ["--model_name=m", f"--model_base_path={self.case.base_path}"]
        if parameters is not None:
            flags.append("--enable_batching")
        if parameters:
            file = Path(tempfile.mkstemp(".pbtxt", dir=self.scratch)[1])
            lines = (f"{name} {{ value: {value} }}\n" for name, value in parameters.items())
            file.write_text("".join(lines))
            flags.append(f"--batching_parameters_file={file}")
        server = Server(flags, self.scratch / "server.log")
        server.until_answered("/v1/models/m:predict", self.case.body)
        if "has no effect" in server.log.read_text(errors="replace"):
            print("WARNING: this server does not batch; what follows shows noise.")
        return server

    def load(self, server: Server, clients: int, seconds: int = 0) -> Cost:
        before = server.cpu_s()
        seconds = seconds or self.seconds
        if self.api == "grpc":
            url = f"http://127.0.0.1:{server.grpc_port}{PREDICT}"
            length = self._answer_bytes(server)
            load = h2load(url, self.case.message, length, clients, seconds, self.scratch)
        else:
            body = self.scratch / "body.json"
            body.write_bytes(self.case.body)
            url = f"http://127.0.0.1:{server.rest_port}/v1/models/m:predict"
            load = wrk(url, body, clients, seconds, self.scratch)
        good = max(load.answers - load.refused, 1)
        return Cost(load, 1000 * (server.cpu_s() - before) / good)

    def _answer_bytes(self, server: Server) -> int:
        import grpc

        with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
            return len(channel.unary_unary(PREDICT)(self.case.message, timeout=60))


def idle_cpu(server: Server, seconds: float = 3.0) -> float:
    """Percent of one core that a server takes which nobody asks anything."""
    before = server.cpu_s()
    time.sleep(seconds)
    return 100 * (server.cpu_s() - before) / seconds


def same_answers(servers: Mapping[str, Server], case: Case) -> None:
    """Every setting must answer as the server without batching does."""
    answers = {
        name: json.loads(server.until_answered("/v1/models/m:predict", case.body))
        for name, server in servers.items()
    }
    for name, answer in answers.items():
        if not alike(answer, answers[WITHOUT]):
            raise RuntimeError(f"{name} answers {answer}, not {answers[WITHOUT]}")


def alike(one: Any, other: Any) -> bool:
    """Whether two JSON documents are the same, but for what arithmetic in another order changes."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-3, abs_tol=1e-5)
    return bool(one == other)


def measured(
    bench: Bench, settings: Mapping[str, Parameters | None], turns: int, *, with_idle: bool = True
) -> tuple[dict[tuple[str, int], list[Cost]], dict[str, float]]:
    """The costs of each setting and number of clients, turn by turn; and its CPU when idle."""
    costs: dict[tuple[str, int], list[Cost]] = {
        (name, clients): [] for name in settings for clients in (bench.clients, 1)
    }
    with ExitStack() as ending:
        servers = {}
        for name, parameters in settings.items():
            servers[name] = bench.start(parameters)
            ending.callback(servers[name].stop)
        same_answers(servers, bench.case)
        for server in servers.values():  # warm, so that short runs are known as short
            bench.load(server, bench.clients, 2)
        for _ in range(turns):
            for clients in (bench.clients, 1):
                for name in random.sample(list(servers), len(servers)):
                    costs[name, clients].append(bench.load(servers[name], clients))
        idle = {name: idle_cpu(server) for name, server in servers.items() if with_idle}
        return costs, idle


def compare(bench: Bench, settings: Mapping[str, Parameters | None], turns: int) -> None:
    costs, idle = measured(bench, settings, turns)
    for clients in (bench.clients, 1):
        print(f"\n{clients} client{'s' * (clients > 1)}, as ratios to {WITHOUT}:\n")
        print_table({name: costs[name, clients] for name in settings})
    print("\nCPU of a server that nobody asks anything, in percent of one core:", end=" ")
    print(", ".join(f"{name} {percent:.1f}" for name, percent in idle.items()))


def print_table(costs: Mapping[str, Sequence[Cost]]) -> None:
    print("| setting | requests per second | p50 | p99 | CPU per 1,000 requests | refused |")
    print("|---|---|---|---|---|---|")
    for name, turns in costs.items():
        cells = []
        for text, figure in FIGURES.values():
            absolute = text.format(statistics.median(map(figure, turns)))
            pairs = zip(turns, costs[WITHOUT], strict=True)
            ratios = [figure(one) / max(figure(other), 1e-9) for one, other in pairs]
            middle = statistics.median(ratios)
            spread = f"{middle:.2f} ({min(ratios):.2f} to {max(ratios):.2f}); {absolute}"
            cells.append(absolute if name == WITHOUT else spread)
        cells.append(f"{sum(turn.load.refused for turn in turns):,}")
        print("| " + " | ".join([name, *cells]) + " |")


def sweep(bench: Bench) -> Parameters:
    """Parameters that get most through, one searched after the other; prints all it saw."""
    best = dict(TUNED)
    print(f"\nsweep: {bench.clients} clients, requests per second as a ratio to {WITHOUT}\n")
    print("| threads | timeout | size | rate | p99 |\n|---|---|---|---|---|")
    seen: dict[tuple[int, ...], float] = {}
    baseline = bench.start(None)
    try:
        bench.load(baseline, bench.clients, 2)
        for parameter, values in SWEPT.items():
            for value in values:
                tried = {**best, parameter: value}
                key = tuple(tried[each] for each in SWEPT)
                if key not in seen:
                    seen[key] = gain(bench, baseline, tried)
            place = list(SWEPT).index(parameter)
            fixed = [key for key in seen if all(
                key[at] == best[each] for at, each in enumerate(SWEPT) if at != place
            )]  # fmt: skip
            most = max(seen[key] for key in fixed)
            best[parameter] = min(key[place] for key in fixed if seen[key] >= ENOUGH * most)
    finally:
        baseline.stop()
    return best


def gain(bench: Bench, baseline: Server, parameters: Parameters) -> float:
    """How much more gets through than without batching: the median of three turns."""
    server = bench.start(parameters)
    try:
        bench.load(server, bench.clients, 1)
        turns = [
            (bench.load(server, bench.clients, 2), bench.load(baseline, bench.clients, 2))
            for _ in range(3)
        ]
    finally:
        server.stop()
    rate = statistics.median(ours.load.rate / other.load.rate for ours, other in turns)
    p99 = statistics.median(ours.load.p99_ms / other.load.p99_ms for ours, other in turns)
    cells = [f"{parameters[each]}" for each in SWEPT]
    print("| " + " | ".join([*cells, f"{rate:.2f}", f"{p99:.2f}"]) + " |", flush=True)
    return rate


def as_text(parameters: Parameters) -> str:
    return ",".join(f"{name}={value}" for name, value in parameters.items())


def parameters_of(text: str) -> Parameters:
    return {name: int(value) for name, value in (item.split("=") for item in text.split(","))}


def convnet(models: Path) -> Case:
    rows = np.load(models / "nets" / "convnet" / "image.npy")
    return Case.of_rows(models / "nets" / "convnet", "image", rows)


def small(models: Path) -> Case:
    rows = np.array([1.0, 2.0, 5.0], np.float32)
    return Case.of_rows(models / "tf1" / "half_plus_two", "x", rows)


CASES: dict[str, Callable[[Path], Case]] = {"convnet": convnet, "small": small}


def make_models(models: Path) -> None:
    """Make the models that are not there yet."""
    tasks.tf1(models)
    tasks.nets(models, "convnet")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("which", nargs="*", choices=[*CASES, []], help="default: all")
    parser.add_argument("--api", choices=["rest", "grpc"], default="rest")
    parser.add_argument("--model", type=Path, help="base path of a model of your own")
    parser.add_argument("--request", type=Path, help="file with a body for its predict")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4, help="of one load in one turn")
    parser.add_argument("--tuned", type=parameters_of, default=TUNED, help=as_text(TUNED))
    parser.add_argument("--sweep", action="store_true", help="find the tuned setting first")
    parser.add_argument("--models", type=Path, help="keep the generated models here")
    return parser.parse_args()


def main() -> None:
    arguments = parsed()
    if arguments.model is not None and (arguments.request is None or arguments.api == "grpc"):
        sys.exit("--model needs --request, and the REST API")
    for command, package in (("wrk", "wrk"), ("h2load", "nghttp2-client")):
        if shutil.which(command) is None and (command == "wrk") == (arguments.api == "rest"):
            sys.exit(f"{command} is needed: apt-get install {package}")
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        for name, case in cases_of(arguments, scratch).items():
            bench = Bench(case, arguments.api, arguments.clients, arguments.seconds, scratch)
            measure(name, bench, arguments)


def cases_of(arguments: argparse.Namespace, scratch: Path) -> dict[str, Case]:
    if arguments.model is not None:
        return {str(arguments.model): Case(arguments.model, arguments.request.read_bytes())}
    models = arguments.models or scratch
    make_models(models)
    return {name: CASES[name](models) for name in arguments.which or CASES}


def measure(name: str, bench: Bench, arguments: argparse.Namespace) -> None:
    print(f"\n{name} over {bench.api}, {len(bench.case.body):,} bytes of JSON")
    print(f"Server and load generator share {CPUS} CPUs: what the generator takes, the server has")
    print("not, so that a gain in rate is rather more on a machine of its own. CPU per request is")
    print(f"the server's alone, and free of that. {bench.clients} clients keep as many requests")
    print("under way, so that no batch is larger, and ask again once they have an answer.")
    tuned = sweep(bench) if arguments.sweep else arguments.tuned
    compare(bench, {**SETTINGS, "tuned": tuned}, arguments.turns)
    print(f"\ntuned: {as_text(tuned)}")


if __name__ == "__main__":
    main()
