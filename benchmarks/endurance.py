"""Full speed for minutes: no error, and flat memory.

    python benchmarks/endurance.py [--minutes 5] [--clients h2load ...] [--json FILE]
                                   [-- flags of the server]

Three clients, one after the other, each for so many minutes and as fast as they can, ask
half_plus_two: h2load over gRPC (its own counts of what failed, and the bytes of the answers: a
short one is an error that gRPC tells in a trailer); grpcio, eight calls at once over two channels,
each answer checked; and wrk over REST. The server's memory is read each second.

Exits with 1 when one request failed or one value was wrong, or when memory is not flat: when the
line of least squares through the lowest of each twentieth of a client's time grows by 2 % or more
over the second half. (In less than a minute memory is shown and not judged.)

Needs h2load and wrk (Debian packages nghttp2-client and wrk) and, to make the model, TensorFlow.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from contestants import UNLIMITED, Running, missing_tools, salver
from environment import environment
from figures import Result, as_document, most
from load import h2load, wrk
from memory import CRITERION, FLAT, Memory
from tasks import PREDICT, cache, small

from salver._pb import message_class

CALLERS = 8
CHANNELS = 2
WANTED = [2.5, 3.0, 4.5]
JUDGED_S = 60.0


@dataclass
class Phase:
    """What one client saw, and the server's memory meanwhile.

    Attributes:
        failed: requests without a good answer, the first of them in words.
    """

    client: str
    answers: int = 0
    failed: int = 0
    first: str = ""
    seconds: float = 0.0
    memory: Memory = field(default_factory=Memory)

    @property
    def rate(self) -> float:
        return self.answers / self.seconds if self.seconds else 0.0

    @property
    def is_good(self) -> bool:
        is_flat = self.seconds < JUDGED_S or self.memory.growth() < FLAT
        return bool(self.answers) and not self.failed and is_flat

    def line(self) -> str:
        growth = f"{100 * self.memory.growth():+.2f} %" if len(self.memory.samples) > 3 else "–"
        last = self.memory.samples[-1][1] if self.memory.samples else 0.0
        words = f"; first: {self.first}" if self.first else ""
        return (
            f"| {self.client} | {self.seconds:.0f} s | {self.answers:,} | {self.rate:,.0f}/s "
            f"| {self.failed}{words} | {last:.0f} MiB | {growth} "
            f"| {'good' if self.is_good else '**not good**'} |"
        )


def by_h2load(server: Running, phase: Phase, seconds: int, scratch: Path) -> None:
    url = f"http://{server.grpc_address}{PREDICT}"
    message, length = server.task.message, server.answer_bytes
    seen = h2load(url, message, length, 4, seconds, scratch, calls_each=4, is_timed=False)
    phase.answers, phase.failed = seen.answers, seen.refused


def by_wrk(server: Running, phase: Phase, seconds: int, scratch: Path) -> None:
    body = scratch / "body.json"
    body.write_bytes(server.task.body)
    seen = wrk(server.rest_url, body, 16, seconds, scratch)
    phase.answers, phase.failed = seen.answers, seen.refused


def by_grpcio(server: Running, phase: Phase, seconds: int, _scratch: Path) -> None:
    until_s = time.monotonic() + seconds
    lock = threading.Lock()

    def call_until_then(channel: grpc.Channel) -> None:
        answers, wrong = 0, []
        call = channel.unary_unary(PREDICT)
        while time.monotonic() < until_s:
            answers += 1
            try:
                wrong += checked(call(server.task.message, timeout=30))
            except grpc.RpcError as error:
                wrong.append(f"{error.code()}: {error.details()}")
        with lock:
            phase.answers += answers
            phase.failed += len(wrong)
            phase.first = phase.first or (wrong[0] if wrong else "")

    channels = [
        grpc.insecure_channel(server.grpc_address, options=[*UNLIMITED, ("salver.of", at)])
        for at in range(CHANNELS)  # an option of its own, or they would share a connection
    ]
    threads = [
        threading.Thread(target=call_until_then, args=(channels[at % CHANNELS],))
        for at in range(CALLERS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for channel in channels:
        channel.close()


def checked(answer: bytes) -> list[str]:
    """What is wrong with an answer: nothing, or one thing."""
    response = message_class("tensorflow.serving.PredictResponse").FromString(answer)
    values = list(response.outputs["y"].float_val)
    return [] if values == WANTED else [f"answered {values}"]


Client = Callable[[Running, Phase, int, Path], None]
CLIENTS: dict[str, Client] = {
    "h2load, 16 calls over 4 connections": by_h2load,
    f"grpcio, {CALLERS} calls over {CHANNELS} channels, each checked": by_grpcio,
    "wrk, 16 connections, REST": by_wrk,
}
KINDS = ("h2load", "grpcio", "wrk")


def endure(server: Running, name: str, client: Client, seconds: int, scratch: Path) -> Phase:
    phase = Phase(name)
    ended = threading.Event()
    begun_s = time.monotonic()

    def watch() -> None:
        while not ended.wait(1.0):
            phase.memory.samples.append((time.monotonic() - begun_s, server.child.whole_mib()))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        client(server, phase, seconds, scratch)
    finally:
        phase.seconds = time.monotonic() - begun_s
        ended.set()
        watching.join()
    return phase


def measured(
    models: Path,
    scratch: Path,
    seconds: int,
    flags: Sequence[str] = (),
    clients: Sequence[str] = KINDS,
) -> tuple[list[Phase], int]:
    """What each client saw, and the server's exit status."""
    server = salver(*flags)(small(models), scratch)
    phases = []
    try:
        for name, client in CLIENTS.items():
            if not name.startswith(tuple(clients)):
                continue
            phases.append(endure(server, name, client, seconds, scratch))
            print(phases[-1].line(), flush=True)
    finally:
        status = server.child.stop()
    return phases, status


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=5.0, help="of each client")
    parser.add_argument("--clients", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--json", type=Path, help="write what was seen here")
    parser.add_argument("--models", type=Path, default=cache() / "models", help="keep them here")
    parser.add_argument("flags", nargs="*", help="of the server, behind --")
    arguments = parser.parse_args()
    missing = missing_tools(("wrk", "h2load"))
    if missing:
        sys.exit(f"needed: apt-get install {' '.join(missing)}")
    seconds = max(1, round(60 * arguments.minutes))
    print("| client | time | answers | rate | failed | memory | growth of its floor | |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="endurance-") as directory:
        phases, status = measured(
            arguments.models, Path(directory), seconds, arguments.flags, arguments.clients
        )
    print(CRITERION)
    if status:
        print(f"the server ended with status {status}")
    if arguments.json is not None:
        about = {**environment(), "turns": 1, "seconds": seconds}
        arguments.json.write_text(json.dumps(as_document([result_of(phases)], about), indent=1))
    sys.exit(0 if not status and all(phase.is_good for phase in phases) else 1)


def result_of(phases: Sequence[Phase]) -> Result:
    """For `report.py`."""
    result = Result("endurance")
    for phase in phases:
        what = f"{phase.client}, {phase.seconds / 60:.1f} minutes"
        text = f"{what}: failed of {phase.answers:,} answers"
        result.add(text, [float(phase.failed)], "", most(0))
        result.add(f"{what}: rate", [phase.rate], "/s")
        if phase.seconds >= JUDGED_S:
            growth = 100 * phase.memory.growth()
            text = f"{what}: growth of memory over the second half"
            result.add(text, [growth], "%", most(100 * FLAT))
        result.add(f"{what}: memory at the end", [phase.memory.samples[-1][1]], "MiB")
    return result


if __name__ == "__main__":
    main()
