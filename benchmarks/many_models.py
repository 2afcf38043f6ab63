"""A thousand small models in one server, beside a process that only loads them.

    python benchmarks/many_models.py [--count 1000] [--limit 100]

Prints how long it takes until all are available and what they take of memory and processor, as
ratios to a bare process which loads the same files through the C API on as many threads; then what
the server takes when nobody asks anything, and how long it takes to tell how it is. The same once
more with `--max_loaded_models`. Needs TensorFlow, whose models are copied.
"""

import argparse
import contextlib
import http.client
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from processes import free_ports

HERE = Path(__file__).resolve().parent
GENERATORS = HERE.parent / "tests" / "models"
REST_PORT, GRPC_PORT = free_ports(2)
IDLE_S = 10.0
CALLS = 15
BODY = b'{"instances": [1.0, 2.0, 5.0]}'

BARE = """
import ctypes, importlib.util, os, sys, threading
from pathlib import Path
def loaded(tf, directory):
    status, options, graph = (ctypes.c_void_p(make()) for make in (
        tf.TF_NewStatus, tf.TF_NewSessionOptions, tf.TF_NewGraph))
    tags = (ctypes.c_char_p * 1)(b"serve")
    session = tf.TF_LoadSessionFromSavedModel(
        options, None, directory.encode(), tags, 1, graph, None, status)
    assert session, directory
origin = Path(importlib.util.find_spec("tensorflow").origin)
tf = ctypes.CDLL(str(origin.parent / "libtensorflow_cc.so.2"), os.RTLD_LOCAL | os.RTLD_LAZY)
for name in ("NewStatus", "NewSessionOptions", "NewGraph", "LoadSessionFromSavedModel"):
    getattr(tf, "TF_" + name).restype = ctypes.c_void_p
waiting = iter(Path(sys.argv[1]).glob("m*/1"))
turn = threading.Lock()
def work():
    while True:
        with turn:
            directory = next(waiting, None)
        if directory is None:
            return
        loaded(tf, str(directory))
threads = [threading.Thread(target=work) for _ in range(int(sys.argv[2]))]
for thread in threads: thread.start()
for thread in threads: thread.join()
print("loaded", flush=True)
sys.stdin.read()
"""


class Child:
    """A process, and what /proc says of it."""

    def __init__(self, *command: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def cpu_s(self) -> float:
        stat = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")

    def status(self, key: str) -> int:
        found = re.search(
            rf"^{key}:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text(), re.MULTILINE
        )
        assert found is not None
        return int(found[1])

    def resident_mib(self) -> float:
        return self.status("VmRSS") / 1024

    def is_ready(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"the server ended with {self.process.returncode}")
        return ask("/healthz/ready")[0] == 200

    def end(self) -> float:
        """Seconds it takes."""
        begun_s = time.perf_counter()
        self.process.terminate()
        self.process.communicate()
        return time.perf_counter() - begun_s


@contextmanager
def child(*command: str) -> Iterator[Child]:
    made = Child(*command)
    try:
        yield made
    finally:
        made.end()


def ask(path: str, body: bytes | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", REST_PORT, timeout=60)
    connection.request("GET" if body is None else "POST", path, body)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


def wait_for(what: str, is_so: Callable[[], bool], within_s: float = 300.0) -> None:
    until_s = time.monotonic() + within_s
    while time.monotonic() < until_s:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if is_so():
                return
        time.sleep(0.005)
    raise RuntimeError(f"not within {within_s:g} s: {what}")


def median_ms(path: str, body: bytes | None = None) -> float:
    times = []
    for _ in range(CALLS):
        begun_s = time.perf_counter()
        status, content = ask(path, body)
        times.append(time.perf_counter() - begun_s)
        if status != 200:
            raise RuntimeError(f"{path}: {status} {content[:200]!r}")
    return statistics.median(times) * 1e3


def make_models(source: Path, root: Path, count: int) -> None:
    for number in range(count + 1):  # the last one is for the reload
        shutil.copytree(source, root / f"m{number:04}" / "1", copy_function=os.link)
    configure(root, count)


def configure(root: Path, count: int) -> None:
    entries = "".join(
        f'config {{ name: "m{number:04}" base_path: "{root}/m{number:04}" '
        'model_platform: "tensorflow" }\n'
        for number in range(count)
    )
    (root / "next").write_text(f"model_config_list {{\n{entries}}}\n")
    (root / "next").rename(root / "models.config")


def bare(root: Path, extra: Path) -> dict[str, float]:
    """Load the same files on as many threads as the server starts with."""
    hidden = root.parent / "hidden"
    extra.rename(hidden)
    try:
        with child("-c", BARE, str(root), str(4 * len(os.sched_getaffinity(0)))) as process:
            begun_s = time.perf_counter()
            assert process.process.stdout is not None
            assert process.process.stdout.readline(), "the bare process did not load the models"
            return {
                "ready_s": time.perf_counter() - begun_s,
                "cpu_s": process.cpu_s(),
                "resident_mib": process.resident_mib(),
            }
    finally:
        hidden.rename(extra)


def served(root: Path, count: int, *flags: str) -> dict[str, float]:
    """What a server with all of them takes."""
    command = "import sys; from salver.cli.model_server import main; sys.exit(main())"
    configure(root, count)
    begun_s = time.perf_counter()
    with child(
        *("-c", command, "--host=127.0.0.1"),
        *(f"--rest_api_port={REST_PORT}", f"--port={GRPC_PORT}"),
        *(f"--model_config_file={root}/models.config", "--model_config_file_poll_wait_seconds=1"),
        *flags,
    ) as server:
        wait_for("ready", server.is_ready)
        found = {
            "ready_s": time.perf_counter() - begun_s,
            "cpu_s": server.cpu_s(),
            "resident_mib": server.resident_mib(),
            "threads": float(server.status("Threads")),
        }
        begun_s = time.perf_counter()
        if ask("/v1/models/m0000:predict", BODY)[0] != 200:
            raise RuntimeError("the first model does not answer")
        found["first_predict_ms"] = (time.perf_counter() - begun_s) * 1e3
        time.sleep(5)  # until all rests
        before_s = server.cpu_s()
        time.sleep(IDLE_S)
        found["idle_percent_of_a_core"] = (server.cpu_s() - before_s) / IDLE_S * 100
        found["list_ms"] = median_ms("/v1/models")
        found["status_ms"] = median_ms("/v1/models/m0000")
        found["metrics_ms"] = median_ms("/metrics")
        found["predict_ms"] = median_ms("/v1/models/m0000:predict", BODY)
        for key, models in (("add_one_s", count + 1), ("remove_one_s", count)):
            configure(root, models)
            begun_s = time.perf_counter()
            wait_for(key, partial(has_available, models))
            found[key] = time.perf_counter() - begun_s
        begun_s = time.perf_counter()
        server.end()
        found["stop_s"] = time.perf_counter() - begun_s
    return found


def has_available(count: int) -> bool:
    listed = json.loads(ask("/v1/models")[1])["models"]
    available = [
        model["name"]
        for model in listed
        if any(version["state"] == "AVAILABLE" for version in model["model_version_status"])
    ]
    return len(available) == count


def many_models(
    source: Path, scratch: Path, *, count: int = 1000, limit: int = 100
) -> dict[str, Any]:
    """Measure; the suite calls this.

    Args:
        source: version directory of a small SavedModel.
        scratch: on the same file system, since the models are hard links.
        count: how many of them.
        limit: of the run with `--max_loaded_models`.

    Returns:
        `bare`, `eager`, `lazy`: figures of each; `eager_to_bare`, `lazy_to_bare`: ratios of time,
        processor time and memory; `kib_per_model`: memory that one more takes.
    """
    root = scratch / "many"
    root.mkdir()
    make_models(source, root, count)
    found: dict[str, Any] = {
        "bare": bare(root, root / f"m{count:04}"),
        "eager": served(root, count),
        "lazy": served(root, count, f"--max_loaded_models={limit}"),
    }
    for name in ("eager", "lazy"):
        found[f"{name}_to_bare"] = {
            key: found[name][key] / found["bare"][key]
            for key in ("ready_s", "cpu_s", "resident_mib")
        }
    grown_mib = found["eager"]["resident_mib"] - served_memory(root)
    found["kib_per_model"] = grown_mib / (count - 1) * 1024
    shutil.rmtree(root)
    return found


def served_memory(root: Path) -> float:
    """MiB of a server with one of the models."""
    command = "import sys; from salver.cli.model_server import main; sys.exit(main())"
    configure(root, 1)
    with child(
        *("-c", command, "--host=127.0.0.1"),
        *(f"--rest_api_port={REST_PORT}", f"--port={GRPC_PORT}"),
        f"--model_config_file={root}/models.config",
    ) as server:
        wait_for("ready", server.is_ready)
        return server.resident_mib()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument(
        "--limit", type=int, default=100, help="--max_loaded_models of the lazy run"
    )
    parser.add_argument("--source", type=Path, help="version directory of a SavedModel")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        source = arguments.source
        if source is None:
            made = scratch / "tf1"
            subprocess.run(
                [sys.executable, GENERATORS / "tf1.py", made], check=True, capture_output=True
            )
            (source,) = (made / "half_plus_two").iterdir()
        found = many_models(source, scratch, count=arguments.count, limit=arguments.limit)
    for name, figures in found.items():
        print(name)
        for key, value in (figures if isinstance(figures, dict) else {"": figures}).items():
            print(f"  {key:24} {value:10.2f}")


if __name__ == "__main__":
    main()
