"""Salver's REST API beside its yardsticks, as ratios taken in one run.

    python benchmarks/rest.py [small] [image] [start] [cycles]

* small: half_plus_two, wrk with 16 connections, against `bare_loop.py`;
* image: one 224x224x3 float image as JSON to a model that slices a pixel, against `bare_loop.py`,
  which parses with orjson and numpy;
* start: start to first prediction, and resident memory, against `bare_process.py`;
* cycles: resident memory over 100 loads and unloads of a model.

Needs wrk (a Debian package) and, to make the models, TensorFlow. The two servers of a comparison
run one after the other, in turns, several times; the figure is the median of the turns' ratios.
"""

import argparse
import http.client
import json
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
GENERATORS = HERE.parent / "tests" / "models"
TURNS = 5
SECONDS = 4
BARE_PORT, SALVER_PORT = 18611, 18612


@contextmanager
def running(*command: str | Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A child process, ended at the end."""
    child = subprocess.Popen(
        [sys.executable, *map(str, command)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield child
    finally:
        child.terminate()
        child.communicate()


def bare_loop(version: Path) -> tuple[str | Path, ...]:
    return (HERE / "bare_loop.py", version, f"--port={BARE_PORT}")


def salver(base_path: Path, *flags: str) -> tuple[str, ...]:
    return (
        *("-c", "import sys; from salver.cli.model_server import main; sys.exit(main())"),
        f"--rest_api_port={SALVER_PORT}",
        "--host=127.0.0.1",
        "--model_name=m",
        f"--model_base_path={base_path}",
        *flags,
    )


def post(port: int, body: bytes) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", "/v1/models/m:predict", body)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"{answer.status}: {content[:300]!r}")
    return content


def until_answered(port: int, body: bytes) -> None:
    until_s = time.monotonic() + 60
    while time.monotonic() < until_s:
        try:
            post(port, body)
        except (OSError, http.client.HTTPException):
            time.sleep(0.002)
        else:
            return
    raise RuntimeError(f"nothing answered on port {port}")


def resident_mib(child: "subprocess.Popen[bytes]") -> float:
    status = Path(f"/proc/{child.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1024


def cpu_s(child: "subprocess.Popen[bytes]") -> float:
    fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100  # utime, stime; USER_HZ is 100 on Linux


def load(port: int, body: bytes, connections: int, scratch: Path) -> float:
    """Requests per second that wrk gets through."""
    (scratch / "body").write_bytes(body)
    script = scratch / "post.lua"
    script.write_text(
        f'wrk.method = "POST"\nlocal file = io.open("{scratch / "body"}", "rb")\n'
        'wrk.body = file:read("*a")\nwrk.headers["Content-Type"] = "application/json"\n'
    )
    command = ["wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", "-s", str(script)]
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{port}/v1/models/m:predict"],
        capture_output=True,
        text=True,
        check=True,
    )
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise RuntimeError(done.stdout)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    assert rate is not None
    return float(rate[1])


def compare(base_path: Path, body: bytes, connections: int, scratch: Path) -> None:
    (version,) = base_path.iterdir()
    ratios, rates = [], []
    with running(*bare_loop(version)) as bare, running(*salver(base_path)) as ours:
        for port in (BARE_PORT, SALVER_PORT):
            until_answered(port, body)
            load(port, body, connections, scratch)  # warm, so that short runs are known as short
        for _ in range(TURNS):
            before = cpu_s(bare), cpu_s(ours)
            bare_rate = load(BARE_PORT, body, connections, scratch)
            our_rate = load(SALVER_PORT, body, connections, scratch)
            cost = (
                (cpu_s(bare) - before[0]) / (bare_rate * SECONDS),
                (cpu_s(ours) - before[1]) / (our_rate * SECONDS),
            )
            ratios.append((our_rate / bare_rate, cost[1] / cost[0]))
            rates.append((bare_rate, our_rate))
    print(f"  rate: {statistics.median(r for r, _ in ratios):.2f} of the bare loop's", end=" ")
    print(f"({min(r for r, _ in ratios):.2f} to {max(r for r, _ in ratios):.2f})")
    print(f"  CPU per request: {statistics.median(c for _, c in ratios):.2f} of the bare loop's")
    bare_rate, our_rate = (statistics.median(column) for column in zip(*rates, strict=True))
    print(f"  (here: bare loop {bare_rate:,.0f}/s, Salver {our_rate:,.0f}/s)")


def small(models: Path, scratch: Path) -> None:
    print("small: half_plus_two, 16 connections")
    compare(models / "tf1" / "half_plus_two", b'{"instances": [1.0, 2.0, 5.0]}', 16, scratch)


def image(models: Path, scratch: Path) -> None:
    print("image: 224x224x3 floats as JSON, 2 connections")
    rng = random.Random(0)
    picture = [[[rng.random() for _ in range(3)] for _ in range(224)] for _ in range(224)]
    body = json.dumps({"instances": [picture]}).encode()
    print(f"  body: {len(body) / 1e6:.1f} MB")
    compare(models / "tf2" / "slicer", body, 2, scratch)


def timed_start(command: tuple[str | Path, ...], is_ours: bool) -> tuple[float, float]:
    """Seconds to the first prediction, and MiB resident then."""
    begun = time.perf_counter()
    with running(*command) as child:
        if is_ours:
            until_answered(SALVER_PORT, b'{"instances": [1.0, 2.0, 5.0]}')
        else:
            assert child.stdout is not None
            child.stdout.readline()
        return time.perf_counter() - begun, resident_mib(child)


def start(models: Path, _scratch: Path) -> None:
    print("start: half_plus_two, start to first prediction and resident memory")
    base_path = models / "tf1" / "half_plus_two"
    (version,) = base_path.iterdir()
    bare, ours = [], []
    for _ in range(TURNS + 1):
        bare.append(timed_start((HERE / "bare_process.py", version), is_ours=False))
        ours.append(timed_start(salver(base_path), is_ours=True))
    for what, index, unit in (("time", 0, "s"), ("memory", 1, "MiB")):
        of_bare = statistics.median(run[index] for run in bare[1:])  # the first read the disk
        of_ours = statistics.median(run[index] for run in ours[1:])
        print(f"  {what}: {of_ours / of_bare:.2f} of the bare process's", end=" ")
        print(f"(here: {of_bare:.2f} and {of_ours:.2f} {unit})")


def cycles(models: Path, scratch: Path) -> None:
    print("cycles: resident memory over 100 loads and unloads of one model")
    source = models / "tf1" / "half_plus_two"
    (version,) = source.iterdir()
    base_path = scratch / "cycled"
    base_path.mkdir()
    shutil.copytree(version, base_path / "1")
    with running(*salver(base_path)) as child:
        until_answered(SALVER_PORT, b'{"instances": [1.0]}')
        sizes = []
        for number in range(2, 102):
            shutil.copytree(version, scratch / "next")
            (scratch / "next").rename(base_path / str(number))
            until_serving(number)
            shutil.rmtree(base_path / str(number - 1))
            sizes.append(resident_mib(child))
    print(f"  after 20 cycles {sizes[19]:.1f} MiB, after 60 {sizes[59]:.1f}", end=", ")
    print(f"after 100 {sizes[99]:.1f}: {(sizes[99] - sizes[19]) / 80 * 1024:+.1f} KiB a cycle")


def until_serving(number: int) -> None:
    until_s = time.monotonic() + 30
    while time.monotonic() < until_s:
        connection = http.client.HTTPConnection("127.0.0.1", SALVER_PORT, timeout=30)
        connection.request("POST", "/v1/models/m:predict", b'{"instances": [1.0]}')
        answer = connection.getresponse()
        answer.read()
        connection.close()
        if answer.headers["salver-model-version"] == str(number):
            return
        time.sleep(0.01)
    raise RuntimeError(f"version {number} never came up")


def make_models(models: Path) -> None:
    """Make the models that are not there yet."""
    for generator in ("tf1", "tf2"):
        if not (models / generator).exists():
            subprocess.run(
                [sys.executable, GENERATORS / f"{generator}.py", models / generator],
                check=True,
                capture_output=True,
            )


BENCHMARKS: dict[str, Callable[[Path, Path], None]] = {
    "small": small,
    "image": image,
    "start": start,
    "cycles": cycles,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("which", nargs="*", choices=[*BENCHMARKS, []], help="default: all")
    parser.add_argument("--models", type=Path, help="keep the generated models here")
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is needed: apt-get install wrk")
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        models = arguments.models or scratch
        make_models(models)
        for name in arguments.which or BENCHMARKS:
            BENCHMARKS[name](models, scratch)


if __name__ == "__main__":
    main()
