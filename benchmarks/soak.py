"""One server under mixed traffic while everything around it changes.

    python benchmarks/soak.py [--minutes 10] [--rate 120] [--without batching,warmup,...]

Good requests to healthy models, over REST and gRPC and at a fixed rate, each with its value
checked, while: versions are swapped, one of them with 150 MiB of variables; the configuration is
rewritten (models added, removed and relabelled, moved to other directories, rubbish in between) and
sent by RPC; versions appear that cannot be loaded; requests that must fail share batches with
others; clients leave in the middle, read slowly, send rubbish; metrics are scraped each second;
requests are logged. A client in a process of its own measures the latency of a small model.

Exits with 1 when one good request failed, when something else was answered as it should not be, or
when resident memory is not flat: when the line of least squares through the lowest memory of each
twentieth of the run grows by 2 % or more over the second half. (In a run of less than two minutes
memory is shown and not judged.)

Needs TensorFlow, to make the models. Everything is on loopback and in a directory of its own.
"""

import argparse
import asyncio
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import tasks
import uvloop
from load import Server, percentile
from memory import FLAT
from soak_clients import Rest, Rpc, Tally
from soak_rude import Rude
from soak_traffic import Traffic, pause
from soak_watch import Metrics, Watched, logged, reference_lines
from soak_world import Shelf, World

HERE = Path(__file__).resolve().parent
FEATURES = ("batching", "warmup", "metrics", "polling", "logging")
PROBE_RATE = 40
CALM_S = 3.0  # between the last request and the last look
JUDGED_S = 120.0  # memory of a shorter run says nothing
BATCHING = """\
max_batch_size { value: 64 }
batch_timeout_micros { value: 1000 }
max_enqueued_batches { value: 1000 }
num_batch_threads { value: 2 }
allowed_batch_sizes: 4
allowed_batch_sizes: 16
allowed_batch_sizes: 64
"""


def make_models(models: Path) -> None:
    """Make the models that are not there yet."""
    tasks.tf1(models)
    tasks.run([str(HERE / "nets.py"), str(models / "nets")])


def start_server(root: Path, features: set[str]) -> Server:
    flags = [
        f"--model_config_file={root / 'models.config'}",
        "--allow_version_labels_for_unavailable_models",
        "--file_system_poll_wait_seconds=1",
        "--max_num_load_retries=1",
        "--load_retry_interval_micros=300000",
        "--num_load_threads=2",
        "--num_unload_threads=2",
    ]
    if "batching" in features:
        (root / "batching.pbtxt").write_text(BATCHING)
        flags += ["--enable_batching", f"--batching_parameters_file={root / 'batching.pbtxt'}"]
    if "polling" in features:
        flags.append("--model_config_file_poll_wait_seconds=1")
    if "metrics" in features:
        (root / "monitoring.pbtxt").write_text("prometheus_config { enable: true }\n")
        flags.append(f"--monitoring_config_file={root / 'monitoring.pbtxt'}")
    server = Server(flags, root / "server.log")
    try:
        server.until_answered("/v1/models/steady:predict", b'{"instances": [1.0]}')
    except BaseException:
        server.stop()
        raise
    return server


@dataclass
class Soak:
    """One run: what makes trouble, what watches, and what came of it."""

    server: Server
    shelf: Shelf
    features: set[str]
    rate: float
    end_probe: Callable[[], object]
    tally: Tally = field(default_factory=Tally)
    memory: Watched = field(default_factory=Watched)
    metrics: Metrics = field(default_factory=Metrics)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    at_start: str = ""
    at_end: str = ""

    def __post_init__(self) -> None:
        self.rest = Rest(self.server.rest_port)
        self.rpc = Rpc(self.server.grpc_port)
        self.traffic = Traffic(self.rest, self.rpc, self.tally)
        self.rude = Rude(self.rest, self.rpc, self.tally)
        config = self.shelf.root / "models.config"
        self.world = World(self.shelf, config, self.rest, self.rpc, self.tally)

    def _census(self) -> str:
        return f"{self.server.threads()} threads, {self.server.open_files()} open files"

    def _troubles(self, pace: float) -> Iterator["asyncio.Task[None]"]:
        world, stop = self.world, self.stop
        troubles = [
            self.traffic.poison(stop, 1.0),
            self.rude.leave(stop, 0.2),
            self.rude.send_rubbish(stop, 0.3),
            world.swap("swapped", 4, stop, 7.0 * pace),
            world.swap("big", 2, stop, 13.0 * pace),
            world.spoil(stop, 11.0 * pace),
            world.reload(stop, 9.0 * pace),
        ]
        if "metrics" in self.features:
            troubles.append(self.metrics.watch(self.rest, self.tally, stop))
        return map(asyncio.ensure_future, troubles)

    def _interrupt(self, troubles: list["asyncio.Task[None]"]) -> None:
        self.stop.set()
        for trouble in troubles:
            trouble.cancel()

    async def run(self, seconds: float) -> None:
        """Everything at once, until the time is over, a signal comes or the server has gone."""
        loop = asyncio.get_running_loop()
        begun_s = self.tally.begun_s
        watching = [
            asyncio.ensure_future(self.memory.watch(self.server, self.stop, begun_s)),
            asyncio.ensure_future(self.progress(seconds)),
        ]
        self.at_start = self._census()
        stream = asyncio.ensure_future(self.traffic.stream(self.rate, self.stop))
        troubles = list(self._troubles(min(1.0, seconds / 60)))
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._interrupt, troubles)
        until_s = begun_s + seconds
        while not self.stop.is_set() and self.server.process.poll() is None:
            if await pause(self.stop, min(1.0, max(0.01, until_s - time.monotonic()))):
                break
            if time.monotonic() >= until_s:
                self.stop.set()
        self.stop.set()
        await self._wind_down([stream, *troubles, *watching])

    async def _wind_down(self, tasks: "list[asyncio.Task[None]]") -> None:
        """Let everything end, then look whether the server has come to rest."""
        for error in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(error, Exception):
                self.tally.surprise("the benchmark itself", error)
        await asyncio.gather(*self.traffic.tasks, *self.rude.tasks)
        self.rest.close()
        await self.rpc.channel.close()
        if (status := self.server.process.poll()) is not None:
            self.tally.failures.append(f"the server ended by itself, with status {status}")
            return
        self.end_probe()
        await asyncio.sleep(CALM_S)
        self.at_end = self._census()
        if "metrics" in self.features:
            await self.tally.bad("scrape at rest", self.metrics.at_rest(self.rest))
            self.rest.close()

    async def progress(self, seconds: float) -> None:
        is_terminal = sys.stdout.isatty()
        while not await pause(self.stop, 1.0 if is_terminal else 30.0):
            passed_s = time.monotonic() - self.tally.begun_s
            line = (
                f"{passed_s:5.0f}/{seconds:.0f} s  {sum(self.tally.asked.values()):,} asked, "
                f"{self.tally.in_flight} under way, {len(self.tally.failures)} failed, "
                f"{len(self.tally.surprises)} surprises, {self.server.resident_mib():.0f} MiB, "
                f"loading: {', '.join(self.world.now) or 'nothing'}"
            )
            print(f"\r\x1b[K{line}" if is_terminal else line, end="", flush=True)
            if not is_terminal:
                print()
        if is_terminal:
            print()

    def report(self, printed: list[str], passed_s: float, cpu_s: float) -> bool:
        """Print all that was seen; true when it was good."""
        tally = self.tally
        spans = self.world.spans
        lines, wrong = reference_lines(printed, spans, tally.begun_s)
        if wrong or len(printed) < PROBE_RATE * passed_s / 4:
            tally.failures.append(f"reference stream: {wrong} of {len(printed)} wrong")
        self._check_logs()
        print(f"\n{passed_s:.0f} s; CPU of the server {cpu_s / passed_s:.2f} cores", end="; ")
        late = sorted(self.traffic.late_s)
        print(f"good requests sent late: p50 {1e3 * percentile(late, 50):.1f} ms", end=", ")
        print(f"p99 {1e3 * percentile(late, 99):.1f} ms")
        print("\n| request | sent | as it should be | longest |\n|---|---|---|---|")
        for kind, asked, right, longest_s in tally.by_kind():
            longest = f"{1e3 * longest_s:.0f} ms" if longest_s else ""
            print(f"| {kind} | {asked:,} | {right:,} | {longest} |")
        print(f"\ngood requests to healthy models: {tally.good_ones:,}", end=", ")
        print(f"and {len(printed):,} of the reference stream; failed: {len(tally.failures)}")
        print(f"other things that should not be: {len(tally.surprises)}")
        for line in tally.lines():
            print(f"  {line}")
        print("\n".join(["", *lines, ""]))
        durations: dict[str, list[float]] = {}
        for what, begin_s, end_s in spans:
            durations.setdefault(what, []).append(end_s - begin_s)
        for what, taken in sorted(durations.items()):
            print(f"{what}: {len(taken)}, median {statistics.median(taken):.2f} s", end=", ")
            print(f"longest {max(taken):.2f} s")
        for what, count in sorted(tally.counts.items()):
            print(f"{what}: {count:,}")
        for line in self.metrics.report():
            print(line)
        print(f"at the start {self.at_start}; at the end {self.at_end}")
        return self._judge_memory(passed_s) and not tally.failures and not tally.surprises

    def _judge_memory(self, passed_s: float) -> bool:
        if len(self.memory.samples) < 10:
            return False
        print("\n".join(self.memory.report()))
        return passed_s < JUDGED_S or self.memory.growth() < FLAT

    def _check_logs(self) -> None:
        if "logging" not in self.features:
            return
        for name in ("logged", "rooted"):
            try:
                found = logged(self.shelf.root / "logs" / name)
            except Exception as error:  # noqa: BLE001 - whatever it is, the log cannot be read
                self.tally.surprise(f"log of {name}", error)
            else:
                self.tally.counts[f"log records of {name}"] = found["records"]
                self.tally.counts[f"log files of {name}"] = found["files"]
                if not found["records"]:
                    self.tally.surprises.append(f"no request to {name} was logged")


def soak(arguments: argparse.Namespace, root: Path, models: Path) -> bool:
    features = set(FEATURES) - set(filter(None, arguments.without.split(",")))
    shelf = Shelf(models / "nets", root, features)
    for name in ("unfinished", "logs"):
        (root / name).mkdir()
    shelf.fill(next((models / "tf1" / "half_plus_two").iterdir()))
    (root / "models.config").write_text(shelf.config(0))
    server = start_server(root, features)
    probe = subprocess.Popen(
        [sys.executable, HERE / "soak_probe.py", str(server.rest_port), str(PROBE_RATE)],
        stdin=subprocess.PIPE,
        stdout=(root / "probe").open("wb"),
        start_new_session=True,
    )
    try:
        begun_s, cpu_s = time.monotonic(), server.cpu_s()

        async def run() -> Soak:
            made = Soak(server, shelf, features, arguments.rate, probe.communicate)
            await made.run(60 * arguments.minutes)
            return made

        made = uvloop.run(run())
        passed_s = time.monotonic() - begun_s
        with suppress(OSError):
            cpu_s = server.cpu_s() - cpu_s
    finally:
        if probe.returncode is None:
            probe.communicate()
        status = server.stop()
    if status:
        made.tally.surprises.append(f"the server's exit status was {status}")
    return made.report((root / "probe").read_text().splitlines(), passed_s, cpu_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=120.0, help="good requests per second")
    parser.add_argument("--without", default="", help=f"some of {','.join(FEATURES)}")
    parser.add_argument("--models", type=Path, help="keep the generated models here")
    parser.add_argument("--log", type=Path, help="keep the server's log here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as directory:
        root = Path(directory)
        models = arguments.models or root / "made"
        make_models(models)
        try:
            is_good = soak(arguments, root, models)
        finally:
            if arguments.log is not None and (root / "server.log").exists():
                shutil.copy2(root / "server.log", arguments.log)
    sys.exit(0 if is_good else 1)


if __name__ == "__main__":
    main()
