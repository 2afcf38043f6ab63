"""The process itself: start-up, memory, and memory after many loads and unloads."""

import compileall
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
from contestants import HERE
from figures import Result, most
from google.protobuf import text_format
from load import Server
from memory import CRITERION, FLAT, Memory
from stage import Stage
from tasks import REST_PATH, small

import salver
from salver._pb import message_class

CYCLES = 200
RELOAD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"


def start(stage: Stage) -> Result:
    """Start to first prediction, and memory then, beside a process that has only the C API."""
    result = Result("start")
    # As an installed package is: the environment may forbid starts to write bytecode.
    compileall.compile_dir(Path(salver.__file__).parent, quiet=1)
    task = small(stage.models)
    ours, bare = [], []
    for _ in range(stage.turns + 1):
        bare.append(bare_start(task.version))
        ours.append(our_start(stage))
    del ours[0], bare[0]  # these read the disk
    what = "half_plus_two"
    result.add(f"{what}: start to first prediction", [s for s, _ in ours], "s", most(1.0))
    pairs = list(zip(ours, bare, strict=True))
    text = f"{what}: start to first prediction beside the bare process"
    result.add(text, [one[0] / other[0] for one, other in pairs])
    text = f"{what}: memory then, beside the bare process"
    result.add(text, [one[1] / other[1] for one, other in pairs], goal=most(1.2))
    result.add(f"{what}: memory", [mib for _, mib in ours], "MiB")
    result.add("bare process: start to first prediction", [s for s, _ in bare], "s")
    result.add("bare process: memory", [mib for _, mib in bare], "MiB")
    return result


def our_start(stage: Stage) -> tuple[float, float]:
    """Seconds to the first prediction, and MiB resident then."""
    task = small(stage.models)
    flags = ["--model_name=m", f"--model_base_path={task.base_path}"]
    begun_s = time.perf_counter()
    server = Server(flags, stage.scratch / "start.log")
    try:
        server.until_answered(REST_PATH, task.body)
        return time.perf_counter() - begun_s, server.resident_mib()
    finally:
        server.stop()


def bare_start(version: Path) -> tuple[float, float]:
    begun_s = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, str(HERE / "bare_process.py"), str(version)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        if not child.stdout.readline():
            raise RuntimeError("the bare process has failed")
        passed_s = time.perf_counter() - begun_s
        status = Path(f"/proc/{child.pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
        child.stdin.close()
        return passed_s, int(line.split()[1]) / 1024


def cycles(stage: Stage) -> Result:
    """Resident memory over loads and unloads of one model, by reload requests."""
    result = Result("cycles")
    count = 40 if stage.is_quick else CYCLES
    memory = Memory()
    with reloading(stage) as (server, reload):
        for number in range(1, count + 1):
            reload(True)
            status, _ = server.post("/v1/models/cycled:predict", small(stage.models).body)
            if status != 200:
                raise RuntimeError(f"the model that was loaded answers {status}")
            reload(False)
            memory.samples.append((float(number), server.resident_mib()))
    # The first twentieth fills what is kept for the next, and its floor is no floor.
    what = f"memory over {count} loads and unloads of a model"
    percent = 100 * memory.growth()
    goal = None if stage.is_quick else most(100 * FLAT)
    result.add(f"{what}: growth over the second half", [percent], "%", goal)
    points = memory.second_half()
    grown = (points[-1][1] - points[0][1]) * 1024 / (points[-1][0] - points[0][0])
    result.add(f"{what}: growth per cycle over the second half", [grown], "KiB")
    result.add(f"{what}: at the end", [statistics.median(y for _, y in points[-3:])], "MiB")
    result.notes.append(CRITERION)
    return result


@contextmanager
def reloading(stage: Stage) -> "Iterator[tuple[Server, Reload]]":
    base_path = small(stage.models).base_path
    flags = ["--model_name=m", f"--model_base_path={base_path}"]
    server = Server(flags, stage.scratch / "cycles.log")
    try:
        server.until_answered(REST_PATH, small(stage.models).body)
        with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
            yield server, Reload(channel, base_path)
    finally:
        server.stop()


class Reload:
    """Asks for the model `cycled` beside the one that stays, or for that one alone."""

    def __init__(self, channel: grpc.Channel, base_path: Path) -> None:
        self._call = channel.unary_unary(RELOAD)
        self._messages = {True: request(base_path, "m", "cycled"), False: request(base_path, "m")}

    def __call__(self, is_there: bool) -> None:
        self._call(self._messages[is_there], timeout=60)


def request(base_path: Path, *names: str) -> bytes:
    entries = "".join(
        f'config {{ name: "{name}" base_path: "{base_path}" model_platform: "tensorflow" }} '
        for name in names
    )
    message = message_class("tensorflow.serving.ReloadConfigRequest")()
    text_format.Parse(f"config {{ model_config_list {{ {entries} }} }}", message)
    sent: bytes = message.SerializeToString()
    return sent
