"""One commit of Salver beside another: CPU per request, rate, start-up and memory.

    python benchmarks/beside_commit.py COMMIT [rest] [grpc] ... [--turns 9] [--seconds 2]

The other commit is checked out into a directory of its own, and its server runs on this
environment's packages, beside the server of this checkout. Both are loaded in turns, in an order
that is drawn anew; a ratio is taken within a turn, this checkout over the other, and its median
counts. CPU per request says more than the rate: a load generator shares the machine.

Needs git, wrk and h2load (Debian packages wrk and nghttp2-client) and, to make models, TensorFlow.
"""

import argparse
import compileall
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import tasks
from contestants import HERE, Running
from figures import Result, most, table
from load import START
from processes import Child, free_ports, until_answered
from stage import Stage
from tasks import REST_PATH, Task
from turns import Race

from salver._pb import message_class

THIS, OTHER = "this", "other"
BOUND = 1.02  # of the CPU per request


def rest(lanes: Mapping[str, Running], stage: Stage, connections: int) -> Race:
    return stage.race({name: one.rest(connections, stage.scratch) for name, one in lanes.items()})


def grpc(lanes: Mapping[str, Running], stage: Stage, connections: int, calls_each: int) -> Race:
    return stage.race(
        {name: one.grpc(connections, calls_each, stage.scratch) for name, one in lanes.items()}
    )


Load = Callable[[Mapping[str, Running], Stage], Race]

CASES: Mapping[str, tuple[str, Callable[[Path], Task], Load]] = {
    "rest": (
        *("REST, half_plus_two, 16 connections", tasks.small),
        partial(rest, connections=16),
    ),
    "grpc": (
        *("gRPC, half_plus_two, 16 calls over 4 connections", tasks.small),
        partial(grpc, connections=4, calls_each=4),
    ),
    "mlp": ("REST, 16 kB of JSON, 16 connections", tasks.mlp, partial(rest, connections=16)),
    "image": ("REST, 3 MB of JSON, 2 connections", tasks.image, partial(rest, connections=2)),
    "image_grpc": (
        *("gRPC, 600 kB of tensor_content, 2 connections", tasks.image),
        partial(grpc, connections=2, calls_each=1),
    ),
}


class Contestant:
    """A source tree, and how its server is started."""

    def __init__(self, source: Path) -> None:
        self.source = source

    def start(self, task: Task, log: Path) -> Running:
        rest_port, grpc_port = free_ports(2)
        child = Child(
            [
                *(sys.executable, "-c", START, "--host=127.0.0.1"),
                *(f"--rest_api_port={rest_port}", f"--port={grpc_port}"),
                *("--model_name=m", f"--model_base_path={task.base_path}"),
            ],
            log,
            {"PYTHONPATH": str(self.source)},
        )
        url = f"http://127.0.0.1:{rest_port}{REST_PATH}"
        try:
            until_answered(child, url, task.body)
        except BaseException:
            child.stop()
            raise
        return Running(child, task, url, grpc_port)


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """A commit in a directory of its own, for as long as it is needed."""
    with tempfile.TemporaryDirectory(prefix="beside-") as place:
        tree = Path(place) / "tree"
        tree.mkdir()
        packed = subprocess.run(
            ["git", "-C", str(HERE.parent), "archive", commit, "src"],
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        subprocess.run(["tar", "-x", "-C", str(tree)], input=packed, check=True)
        yield tree / "src"


def measured(name: str, both: Mapping[str, Contestant], stage: Stage) -> Result:
    """CPU per request and rate of one case."""
    result = Result(name)
    what, task_of, load = CASES[name]
    task = task_of(stage.models)
    with ExitStack() as ending:
        lanes = {}
        for lane, contestant in both.items():
            lanes[lane] = contestant.start(task, stage.scratch / f"{lane}.log")
            ending.callback(lanes[lane].child.stop)
        answer_bytes = answer_size(lanes[THIS], task)
        lanes = {
            lane: Running(one.child, task, one.rest_url, one.grpc_port, answer_bytes)
            for lane, one in lanes.items()
        }
        race = load(lanes, stage)
    result.add(f"{what}: CPU per request", race.ratio(THIS, OTHER, "cpu_ms"), goal=most(BOUND))
    result.add(f"{what}: rate", race.ratio(THIS, OTHER))
    for lane in lanes:
        values = [1000 * cpu for cpu in race.of(lane, "cpu_ms")]
        result.add(f"{what}: CPU of {lane}", values, "µs")
    return result


def answer_size(one: Running, task: Task) -> int:
    """Bytes of the message with which a server answers over gRPC."""
    from grpc import insecure_channel

    with insecure_channel(one.grpc_address) as channel:
        answer: bytes = channel.unary_unary(tasks.PREDICT)(task.message, timeout=60)
    message_class("tensorflow.serving.PredictResponse")().ParseFromString(answer)
    return len(answer)


def starts(both: Mapping[str, Contestant], stage: Stage) -> Result:
    """Start to first prediction, the CPU of it, and memory then."""
    result = Result("start")
    task = tasks.small(stage.models)
    seen: dict[str, list[tuple[float, float, float]]] = {lane: [] for lane in both}
    for turn in range(stage.turns + 1):
        for lane in (*both,) if turn % 2 else (*reversed(both),):
            begun_s = time.perf_counter()
            one = both[lane].start(task, stage.scratch / "start.log")
            took_s = time.perf_counter() - begun_s
            seen[lane].append((took_s, one.child.cpu_s(), one.child.resident_mib()))
            one.child.stop()
    names = ("time to the first prediction", "CPU of it", "memory then")
    for place, name in enumerate(names):
        pairs = zip(seen[THIS][1:], seen[OTHER][1:], strict=True)  # the first read the disk
        result.add(f"start: {name}", [ours[place] / theirs[place] for ours, theirs in pairs])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("commit")
    parser.add_argument("names", nargs="*", choices=[*CASES, "start", []], help="default: all")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--models", type=Path, default=tasks.cache() / "models")
    chosen = parser.parse_args()
    with checked_out(chosen.commit) as other, tempfile.TemporaryDirectory() as scratch:
        both = {THIS: Contestant(HERE.parent / "src"), OTHER: Contestant(other)}
        for contestant in both.values():
            compileall.compile_dir(contestant.source, quiet=1)
        stage = Stage(chosen.turns, chosen.seconds, False, chosen.models, Path(scratch))
        tasks.make_models(chosen.models)
        print(f"{chosen.turns} turns of {chosen.seconds:g} s, load {os.getloadavg()[0]:.1f}")
        figures = []
        for name in chosen.names or [*CASES, "start"]:
            result = starts(both, stage) if name == "start" else measured(name, both, stage)
            figures += result.figures
            for figure in result.figures:
                print(f"{figure.name}: {figure.median:.3f}", flush=True)
        print(table(figures))


if __name__ == "__main__":
    main()
