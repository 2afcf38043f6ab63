"""What a run in a child costs beyond the function: small messages, and where shared memory begins.

    .venv/bin/python benchmarks/child_roundtrip.py [--seconds 1] [--inline 4096,32768,1048576]

A serial model that gives back what it is fed is run in a child, one run at a time, from the event
loop and from a thread, with arrays of several sizes. Beside it: a byte there and back over a bare
socket pair of the same kind, to a process that does nothing else, which is what the two changes of
process cost by themselves. `--inline` repeats it with another line between messages and segments.
"""

import argparse
import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import uvloop

from salver.backends.protocol import Backend, Capabilities, Listing, LoadStage, Match
from salver.children import wire
from salver.children.limits import ChildSettings
from salver.children.model import ChildModel, Children, What
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.requests import Array
from salver.vocabulary.servable import ServableId
from salver.vocabulary.signature import Signature, TensorSpec

SIZES = (64, 1024, 4096, 16_384, 32_768, 65_536, 131_072, 600_000, 4_000_000)
_SPEC = TensorSpec(DataType.UINT8, (-1,))


class EchoModel:
    """Gives back what it is fed; see `salver.vocabulary.model.Model`."""

    definitions = None
    batching = None
    graph = None
    can_loop = False
    signatures: ClassVar = {"serving_default": Signature({"x": _SPEC}, {"y": _SPEC})}

    def program(self, signature_name: str, outputs: Sequence[str] | None = None) -> "EchoModel":
        return self

    def run(self, feeds: Sequence[Array]) -> list[Array]:
        return list(feeds)

    run_in_caller = run
    run_inline = run

    def close(self) -> None:
        """Nothing is held."""


class EchoBackend(Backend):
    """Loads it from anywhere."""

    name = "echo"
    title = "Echo"
    capabilities = Capabilities(keeps_gil=True)

    def detect(self, listing: Listing, options: Any) -> Match:
        return Match(files=())

    def load(self, directory: Path, options: Any, stage: LoadStage) -> EchoModel:
        return EchoModel()


def _options() -> type[Any]:
    from dataclasses import make_dataclass

    return make_dataclass("EchoOptions", [])


EchoBackend.options = _options()


def load(children: Children) -> ChildModel:
    what = What(
        id=ServableId("echo", 1),
        backend=EchoBackend(),
        options=EchoBackend.options(),
        directory=Path("/"),
        settings=ChildSettings(),
        most_running=lambda: 1,
        most_queued=lambda: 1000.0,
        ran=lambda: None,
        rejected=lambda: None,
    )
    return children.load(what, LoadStage(id=what.id))


def percentiles(seconds: list[float]) -> str:
    seconds.sort()
    return "  ".join(f"{1e6 * seconds[int(len(seconds) * part)]:8.0f}" for part in (0.5, 0.9, 0.99))


async def in_loop(model: ChildModel, feed: Array, for_s: float) -> list[float]:
    program = model.program("serving_default")
    taken = []
    until = time.perf_counter() + for_s
    while (begun := time.perf_counter()) < until:
        (answer,) = await program.start([feed], timeout_s=None, on_end=lambda: None)
        taken.append(time.perf_counter() - begun)
        assert answer.nbytes == feed.nbytes
        del answer
    return taken


def in_thread(model: ChildModel, feed: Array, for_s: float) -> list[float]:
    program = model.program("serving_default")
    taken = []
    until = time.perf_counter() + for_s
    while (begun := time.perf_counter()) < until:
        program.run([feed])
        taken.append(time.perf_counter() - begun)
    return taken


_BARE = """
import socket, sys
with socket.socket(fileno=int(sys.argv[1])) as end:
    while end.send(end.recv(1 << 17)): pass
"""


def other_end() -> "tuple[socket.socket, subprocess.Popen[bytes]]":
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = subprocess.Popen(
        [sys.executable, "-c", _BARE, str(theirs.fileno())],
        pass_fds=[theirs.fileno()],
        stderr=subprocess.DEVNULL,
    )
    theirs.close()
    ours.setblocking(False)
    return ours, process


async def bare(for_s: float) -> list[float]:
    """There and back over a socket pair, from an event loop."""
    ours, process = other_end()
    loop = asyncio.get_running_loop()
    taken: list[float] = []
    over = loop.create_future()
    until = time.perf_counter() + for_s
    begun = 0.0

    def ask() -> None:
        nonlocal begun
        begun = time.perf_counter()
        ours.send(b"x" * 1024)

    def answered() -> None:
        ours.recv(1 << 17)
        taken.append(time.perf_counter() - begun)
        if time.perf_counter() > until:
            over.set_result(None)
        else:
            ask()

    loop.add_reader(ours.fileno(), answered)
    ask()
    await over
    loop.remove_reader(ours.fileno())
    ours.close()
    process.wait()
    return taken


async def main(for_s: float, lines: Sequence[int]) -> None:
    loop = asyncio.get_running_loop()
    print(f"{'':34}{'p50':>8}  {'p90':>8}  {'p99':>8}  µs")
    print(f"{'a bare socket pair, 1 kB':34}{percentiles(await bare(for_s))}")
    for line in lines:
        wire.INLINE_BYTES = line  # type: ignore[misc]
        os.environ["SALVER_BENCH_INLINE"] = str(line)
        children = Children(loop)
        model = await asyncio.to_thread(load, children)
        print(f"arrays of up to {line} bytes in messages")
        for size in SIZES:
            feed = np.zeros(size, np.uint8)
            print(f"{f'  {size} bytes, from the loop':34}", end="")
            await in_loop(model, feed, for_s / 10)
            print(percentiles(await in_loop(model, feed, for_s)))
        for size in (1024, 600_000):
            feed = np.zeros(size, np.uint8)
            print(f"{f'  {size} bytes, from a thread':34}", end="")
            print(percentiles(await asyncio.to_thread(in_thread, model, feed, for_s)))
        await asyncio.to_thread(model.close)
        await asyncio.to_thread(children.close)


if __name__ == "__main__":
    # The child imports this file by its name.
    sys.modules["child_roundtrip"] = sys.modules["__main__"]
    EchoBackend.__module__ = "child_roundtrip"
    here = str(Path(__file__).resolve().parent)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--inline", default=str(wire.INLINE_BYTES))
    given = parser.parse_args()
    assert threading.active_count() == 1
    uvloop.install()
    asyncio.run(main(given.seconds, [int(each) for each in given.inline.split(",")]))
else:
    wire.INLINE_BYTES = int(os.environ.get("SALVER_BENCH_INLINE", wire.INLINE_BYTES))  # type: ignore[misc]
