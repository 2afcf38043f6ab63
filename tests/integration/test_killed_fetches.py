"""Processes that share a cache, killed at any step of a fetch: what is whole there is right."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from salver.instruments.cache import Cache
from salver.instruments.files import footprint
from salver.instruments.manifest import MANIFEST, check_files, make_manifest, parse_manifest
from tests.integration.serving import PATIENCE_S

ROUNDS = int(os.environ.get("SALVER_KILL_ROUNDS", "12"))

# Fetches two versions in turn for ever, and drops them from the cache now and then.
PROGRAM = """
import random, sys
from pathlib import Path
from salver.errors import ResourceExhausted
from salver.instruments.cache import Cache
from salver.instruments.files import footprint
from salver.sources.fetching import fetch_version
from salver.sources.protocol import Version
from salver.sources.verification import Verification
from tests.toy_source import ToySource

class Stage:
    def check(self): pass
    def progress(self, done_bytes): pass
    def wait(self, seconds): pass

store, cache = Path(sys.argv[1]), Cache(sys.argv[2], max_bytes=int(sys.argv[3]))
source = ToySource()
cache.sweep()
print("begun", flush=True)
while True:
    for number in (1, 2):
        origin = store / str(number)
        version = Version(f"toy://{origin}", footprint(str(origin)))
        try:
            held = fetch_version(number, version, source, cache, Stage(), Verification(True))
        except ResourceExhausted:  # the other process needs the room
            continue
        held.close()
        print(number, flush=True)
        if random.random() < 0.5:
            cache.remove(held.path.parent.name.partition(".")[0])
"""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    store = tmp_path / "store"
    for number in (1, 2):
        version = store / str(number)
        (version / "variables").mkdir(parents=True)
        for file in range(5):
            (version / "variables" / f"{file}").write_bytes(os.urandom(60_000))
        (version / MANIFEST).write_bytes(make_manifest(version))
    return store


@contextmanager
def fetching(store: Path, cache: Path) -> Iterator["subprocess.Popen[str]"]:
    most = str(
        round(1.5 * footprint(str(store / "1")).size_bytes)
    )  # so that one drives out another
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(store), str(cache), most],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(["src", "."])},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(PATIENCE_S)
        assert process.stdout is not None
        process.stdout.close()


def check(cache: Path) -> int:
    """Compare all that is whole with its sums; how many that are."""
    entries = [entry for entry in Cache(cache).entries() if entry.is_whole]
    for entry in entries:
        (version,) = [path for path in entry.path.iterdir() if path.is_dir()]
        check_files(version, parse_manifest((version / MANIFEST).read_bytes()))
    return len(entries)


def test_what_is_whole_is_right_whenever_its_makers_are_killed(store: Path, tmp_path: Path) -> None:
    cache, chance = tmp_path / "cache", random.Random(7)
    survivors = 0
    for _ in range(ROUNDS):
        with fetching(store, cache) as first, fetching(store, cache) as second:
            for process in (first, second):
                assert process.stdout is not None
                assert process.stdout.readline() == "begun\n"
            for process in (first, second):
                assert process.stdout is not None
                for _ in range(chance.randrange(6)):
                    process.stdout.readline()
                process.send_signal(signal.SIGKILL)
        survivors += check(cache)
    assert survivors
    with fetching(store, cache) as last:  # and nothing that is left is in the way
        assert last.stdout is not None
        assert [last.stdout.readline() for _ in range(3)] == ["begun\n", "1\n", "2\n"]
    check(cache)
