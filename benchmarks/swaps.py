"""The tail of the latency of a small model while everything else changes.

    python benchmarks/swaps.py [--turns 6] [--only swap,resnet,...] [--affinity shared|apart]

A process of its own asks half_plus_two over REST at a fixed rate, a quarter of what wrk gets, and
counts each latency from when the request was due. Quiet stretches and disturbances take turns:

* load, unload: a model of 200 MB comes, and goes;
* swap: a new version of it comes, and the old one goes;
* resnet: the same with a ResNet-50, which is asked once, since its first run optimises its graph;
* warmup: a small version comes with a warmup file of 900 records;
* reload: the configuration file, of 5 MB, is replaced;
* scrape: the metrics page, of thousands of lines, ten times a second;
* status: the status of all 100 models, twenty times a second;
* copy: nothing happens to the server, and another process (nice 10, as the server's loads) reads
  the file of 200 MB into memory. This is what the machine does to anybody.

The figure of a disturbance is its p99 over the p99 of the quiet stretch before it, by the median of
the turns and their range. A second one leaves out the requests that were under way while the
machine stood still, on one of its CPUs at least: when a thread of real-time priority got it more
than a millisecond late (see `machine.py`; needs rights). Exits with 1 when one request of the load
was not answered rightly.

`--affinity shared` has server and load on the first two CPUs. `apart` keeps the load on a third CPU
where there is one; where there are but two, the load keeps to the second, which it shares, and is
served before others there (nice -20, where that is allowed), as a client on another machine would
be. Needs wrk and, to make the models, TensorFlow. Linux only.
"""

import argparse
import http.client
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from load import Server, wrk
from machine import Ballast, watched
from soak_world import Shelf

HERE = Path(__file__).resolve().parent
HALF = "/v1/models/half:predict"
BODY = b'{"instances": [1.0, 2.0, 5.0]}'
CROWD = 100
CONNECTIONS = 32
SHARE = 0.25  # of the highest rate
QUIET_S = 1.5
BUSY_S = 1.5  # of what can be repeated at will
REST_S = 0.3  # after a disturbance, before the next quiet stretch
LANDING_S = 60.0
CONFIG_BYTES = 5_000_000
WARMUP_RECORDS = 900
BALLAST_BYTES = 1 << 30  # more than two versions of the large model and their files
PIECE_BYTES = 16 << 20  # of a file, read at once
WARMUP_FILE = Path("assets.extra", "tf_serving_warmup_requests")


@dataclass(frozen=True)
class Stretch:
    """What happened from when to when, by `time.monotonic`."""

    what: str
    begin_s: float
    end_s: float


def put_ahead(pid: int) -> None:
    """Have a session served before all others of this machine; see `proc_pid_autogroup(5)`."""
    try:
        Path(f"/proc/{pid}/autogroup").write_text("-20")
    except OSError as error:
        print(f"not ahead of other processes: {error}", file=sys.stderr)


@dataclass
class Stage:
    """A server with its models, and what may happen to it."""

    root: Path
    models: Path
    cpus: frozenset[int]
    flags: Sequence[str] = ()
    is_ahead: bool = False
    server: Server = field(init=False)

    def __post_init__(self) -> None:
        self.shelf = Shelf(self.models, self.root, ())
        self._versions = itertools.count(2)
        self._now = dict.fromkeys(("heavy", "resnet", "warm"), 1)
        (self.root / "unfinished").mkdir()
        for name in ("half", *(f"crowd-{number}" for number in range(CROWD))):
            self.shelf.publish(name, 1, self.models / "half" / "1")
        # Of each of these something must be there, or the server goes on starting.
        for name in self._now:
            self.shelf.publish(name, self._now[name], self.models / "half" / "1")
        self._configure("begin")
        (self.root / "monitoring").write_text("prometheus_config { enable: true }\n")

    # -- the server ------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the server, and ask each model once."""
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, self.cpus)
        try:
            self.server = Server(
                [
                    f"--model_config_file={self.root / 'models.config'}",
                    "--model_config_file_poll_wait_seconds=1",
                    "--file_system_poll_wait_seconds=1",
                    "--allow_version_labels_for_unavailable_models",
                    f"--monitoring_config_file={self.root / 'monitoring'}",
                    *self.flags,
                ],
                self.root / "server.log",
            )
        finally:
            os.sched_setaffinity(0, before)
        if self.is_ahead:
            put_ahead(self.server.process.pid)
        for name in (*(f"crowd-{number}" for number in range(CROWD)), *self._now, "half"):
            self.server.until_answered(f"/v1/models/{name}:predict", BODY)
        for name, version in self._now.items():
            self._remove(name, version)

    def _configure(self, label: str, n_bytes: int = 0) -> None:
        """Write the configuration; `label` is a label of half_plus_two.

        Where it is to be long, it names versions of that model that do not exist, as many as are
        needed.
        """
        labels = f'version_labels {{ key: "{label}" value: 1 }}'
        wanted = "".join(f"versions: {10**8 + number}\n" for number in range(n_bytes // 20))
        entries = [self._entry("half", f"{labels} {_specific(wanted)}")]
        entries += [self._entry(f"crowd-{number}") for number in range(CROWD)]
        entries += [self._entry(name) for name in self._now]
        unfinished = self.root / "unfinished" / "models.config"
        unfinished.write_text(f"model_config_list {{ {''.join(entries)} }}\n")
        unfinished.rename(self.root / "models.config")

    def _entry(self, name: str, more: str = "") -> str:
        base = self.shelf.base(name)
        named = f'name: "{name}" base_path: "{base}" model_platform: "tensorflow"'
        return f"config {{ {named} {more} }}\n"

    def get(self, path: str) -> Any:
        """What a GET is answered; None when there is no such thing."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.rest_port, timeout=60)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            content = answer.read()
            if "metrics" in path:
                return content
            return json.loads(content) if answer.status == 200 else None
        finally:
            connection.close()

    def states(self, name: str) -> dict[int, str]:
        answer = self.get(f"/v1/models/{name}") or {"model_version_status": ()}
        return {int(s["version"]): s["state"] for s in answer["model_version_status"]}

    # -- disturbances ----------------------------------------------------------------------------

    # Each says what begins now: a stretch of quiet, of itself, or of what is not looked at.

    def load(self) -> Iterator[str]:
        source = self.models / "heavy" / "0"
        yield "rest"
        yield "quiet"
        yield "load"
        version = self._publish("heavy", source)
        yield "rest"
        yield "quiet"
        yield "unload"
        self._remove("heavy", version)
        yield "rest"

    def swap(self) -> Iterator[str]:
        source = self.models / "heavy"
        self._publish("heavy", source / "0")
        yield "rest"
        yield "quiet"
        yield "swap"
        version = self._publish("heavy", source / "1")
        self._remove("heavy", version - 1)
        yield "rest"
        self._remove("heavy", version)

    def resnet(self) -> Iterator[str]:
        self._publish("resnet", self.models / "resnet" / "1")
        body = json.dumps({"instances": np.zeros((1, 224, 224, 3)).tolist()}).encode()
        yield "rest"
        yield "quiet"
        yield "resnet"
        version = self._publish("resnet", self.models / "resnet" / "1")
        status, said = self.server.post("/v1/models/resnet:predict", body)
        if status != 200:
            raise RuntimeError(said[:300])
        self._remove("resnet", version - 1)
        yield "rest"
        self._remove("resnet", version)

    def warmup(self) -> Iterator[str]:
        yield "rest"
        yield "quiet"
        yield "warmup"
        version = self._publish("warm", self.models / "half" / "1", is_warm=True)
        yield "rest"
        self._remove("warm", version)

    def reload(self) -> Iterator[str]:
        label = f"label-{next(self._versions)}"
        yield "rest"
        yield "quiet"
        yield "reload"
        self._configure(label, CONFIG_BYTES)
        self._until(lambda: self._has_label(label))
        yield "rest"
        short = f"label-{next(self._versions)}"
        self._configure(short)
        self._until(lambda: self._has_label(short))
        yield "rest"

    def scrape(self) -> Iterator[str]:
        yield "rest"
        yield "quiet"
        yield "scrape"
        self._repeat("/monitoring/prometheus/metrics", 0.1)
        yield "rest"

    def status(self) -> Iterator[str]:
        yield "rest"
        yield "quiet"
        yield "status"
        self._repeat("/v1/models", 0.05)
        yield "rest"

    def copy(self) -> Iterator[str]:
        (file,) = (self.models / "heavy" / "0" / "variables").glob("*.data-*")
        yield "rest"
        yield "quiet"
        yield "copy"
        command = [sys.executable, "-E", "-S", HERE / "swaps_copy.py", file, str(PIECE_BYTES)]
        subprocess.run(["nice", "-n", "10", *map(str, command)], check=True)
        yield "rest"

    def _repeat(self, path: str, every_s: float) -> None:
        due_s = time.monotonic()
        until_s = due_s + BUSY_S
        while due_s < until_s:
            self.get(path)
            due_s = max(due_s + every_s, time.monotonic())
            time.sleep(max(0.0, due_s - time.monotonic()))

    def _has_label(self, label: str) -> bool:
        return self.server.post(f"/v1/models/half/labels/{label}:predict", BODY)[0] == 200

    def _publish(self, name: str, source: Path, *, is_warm: bool = False) -> int:
        self._now[name] += 1
        version = self._now[name]
        made = self.shelf.publish(name, version, source) if not is_warm else self._warm(version)
        assert made.exists()
        self._until(lambda: self.states(name).get(version) == "AVAILABLE")
        return version

    def _warm(self, version: int) -> Path:
        from salver.codecs.protobuf.model_spec import ModelSpec
        from salver.codecs.protobuf.prediction_log import LogKind, encode_prediction_log
        from salver.codecs.protobuf.request_messages import encode_predict_request
        from salver.codecs.protobuf.tfrecord import write_record

        request = encode_predict_request(ModelSpec("warm"), {"x": np.ones(3, np.float32)})
        record = write_record(encode_prediction_log(LogKind.PREDICT, request))
        source = self.root / "unfinished" / "warm-source"
        if not source.exists():
            made = self.shelf.publish("warm-source", 1, self.models / "half" / "1")
            (made / WARMUP_FILE).parent.mkdir()
            (made / WARMUP_FILE).write_bytes(record * WARMUP_RECORDS)
            made.rename(source)
        return self.shelf.publish("warm", version, source)

    def _remove(self, name: str, version: int) -> None:
        gone = self.root / "unfinished" / f"{name}-{version}-gone"
        (self.shelf.base(name) / str(version)).rename(gone)
        self._until(lambda: self.states(name).get(version) in (None, "END"))

    @staticmethod
    def _until(is_so: Callable[[], bool]) -> None:
        until_s = time.monotonic() + LANDING_S
        while not is_so():
            if time.monotonic() > until_s:
                raise RuntimeError("it does not come")
            time.sleep(0.02)


def _specific(versions: str) -> str:
    return f"model_version_policy {{ specific {{ versions: 1 {versions} }} }}"


DISTURBANCES = ("load", "swap", "resnet", "warmup", "reload", "scrape", "status", "copy")
"""Methods of `Stage`, which say in which window they are; `load` has two."""


@contextmanager
def loaded(
    port: int, rate: float, cpus: frozenset[int], *, is_first: bool, is_ahead: bool
) -> Iterator[list[Any]]:
    """The load; the list gets an array of what it saw, shape (requests, 3), at the end."""
    command = [sys.executable, HERE / "swaps_load.py", str(port), str(rate), str(CONNECTIONS)]

    def prepare() -> None:
        os.sched_setaffinity(0, cpus)
        if is_first:
            try:
                os.setpriority(os.PRIO_PROCESS, 0, -20)
            except OSError:
                print("the load may not be served before others here", file=sys.stderr)

    seen: list[Any] = []
    with tempfile.TemporaryFile() as out:
        load = subprocess.Popen(
            [*map(str, command)],
            stdin=subprocess.PIPE,
            stdout=out,
            start_new_session=True,
            preexec_fn=prepare,
        )
        if is_ahead:
            put_ahead(load.pid)
        try:
            yield seen
        finally:
            load.communicate()
        out.seek(0)
        seen.append(np.frombuffer(out.read(), np.float64).reshape(-1, 3))
    if load.returncode:
        raise RuntimeError("the load has failed")


def disturb(stage: Stage, names: Sequence[str]) -> Iterator[Stretch]:
    """Each disturbance after a quiet stretch, with memory at hand that is the machine's."""
    ballast = Ballast(BALLAST_BYTES)
    what, begin_s = "rest", time.monotonic()
    for name in names:
        for window in getattr(stage, name)():
            if what == "quiet":
                now_s = time.monotonic()
                yield Stretch(what, begin_s, now_s)
                what, begin_s = "rest", now_s
                ballast.drop()
            now_s = time.monotonic()
            yield Stretch(what, begin_s, now_s)
            what, begin_s = window, now_s
            if window == "rest":
                ballast.take()
            time.sleep({"rest": REST_S, "quiet": QUIET_S}.get(window, 0.0))
    ballast.drop()


def _summary(latencies: Any) -> dict[str, float]:
    if not len(latencies):
        return {"p50_ms": float("nan"), "p99_ms": float("nan"), "max_ms": float("nan"), "n": 0}
    p50, p99 = np.percentile(latencies, (50, 99), method="inverted_cdf")
    return {
        "p50_ms": 1e3 * float(p50),
        "p99_ms": 1e3 * float(p99),
        "max_ms": 1e3 * float(latencies.max()),
        "n": len(latencies),
    }


def under_way(seen: Any, still: Any) -> Any:
    """Which requests were under way while the machine stood still. Shape (requests,), bool."""
    due_s, ended_s = seen[:, 0], seen[:, 0] + seen[:, 1]
    was = np.zeros(len(seen), bool)
    for begin_s, end_s in still:
        was |= (due_s < end_s) & (ended_s > begin_s)
    return was


def judge(
    seen: Any, stretches: Sequence[Stretch], still: Any | None = None
) -> dict[str, dict[str, Any]]:
    """By what happened: the latencies of all its stretches, and each p99 over the quiet one's.

    Args:
        seen: what `swaps_load.py` writes.
        stretches: in their order.
        still: when the machine stood still, as `machine.watched` gives it; None: nobody looked.
    """
    parts = [seen[(seen[:, 0] >= each.begin_s) & (seen[:, 0] < each.end_s)] for each in stretches]
    ratios = _ratios(stretches, [part[:, 1] for part in parts])
    found: dict[str, dict[str, Any]] = {}
    for what in dict.fromkeys(each.what for each in stretches):
        if what == "rest":
            continue
        mine = [n for n, each in enumerate(stretches) if each.what == what]
        spans = [stretches[n].end_s - stretches[n].begin_s for n in mine]
        found[what] = {
            **_summary(np.concatenate([parts[n][:, 1] for n in mine])),
            **_spread("", ratios[what]),
            "times": len(mine),
            "seconds": statistics.median(spans),
        }
    if still is None:
        return found
    moving = [part[~under_way(part, still), 1] for part in parts]
    for what, of in _ratios(stretches, moving).items():
        standing = [_still_s(each, still) for each in stretches if each.what == what]
        found[what]["still_ms"] = 1e3 * statistics.median(standing)
        known = [ratio for ratio in of if math.isfinite(ratio)]  # else nothing was left
        if known:
            found[what] |= _spread("moving_", known)
    return found


def _still_s(stretch: Stretch, still: Any) -> float:
    total_s, until_s = 0.0, stretch.begin_s
    for begin_s, end_s in sorted(still.tolist()):  # of several processors, perhaps at once
        from_s, to_s = max(begin_s, until_s), min(end_s, stretch.end_s)
        if to_s > from_s:
            total_s += to_s - from_s
            until_s = to_s
    return total_s


def _ratios(stretches: Sequence[Stretch], latencies: Sequence[Any]) -> dict[str, list[float]]:
    """By what happened, each p99 over that of the quiet stretch before it."""
    ratios: dict[str, list[float]] = {}
    quiet_p99_ms = float("nan")
    for stretch, found in zip(stretches, latencies, strict=True):
        if stretch.what == "rest":
            continue
        p99_ms = _summary(found)["p99_ms"]
        if stretch.what == "quiet":
            quiet_p99_ms = p99_ms
        ratios.setdefault(stretch.what, []).append(p99_ms / quiet_p99_ms)
    return ratios


def _spread(prefix: str, ratios: Sequence[float]) -> dict[str, float]:
    return {
        f"{prefix}ratio": statistics.median(ratios),
        f"{prefix}lowest": min(ratios),
        f"{prefix}highest": max(ratios),
    }


def cpus_of(affinity: str) -> tuple[frozenset[int], frozenset[int], bool]:
    """CPUs of the server, CPUs of the load, and whether it is served first."""
    all_cpus = sorted(os.sched_getaffinity(0))
    both = frozenset(all_cpus[:2])
    if affinity == "shared":
        return both, both, False
    if len(all_cpus) > 2:
        return both, frozenset(all_cpus[2:3]), False
    return both, frozenset(all_cpus[1:2]), True


def measure(
    models: Path,
    root: Path,
    *,
    turns: int = 6,
    names: Sequence[str] = DISTURBANCES,
    affinity: str = "shared",
    rate: float = 0.0,
    flags: Sequence[str] = (),
    is_ahead: bool = False,
) -> dict[str, Any]:
    """One run.

    Args:
        models: where the models are, or are to be made.
        root: an empty directory.
        turns: how often each disturbance comes.
        names: of the disturbances.
        affinity: see the head of this module.
        rate: requests per second; 0 for a quarter of what wrk gets.
        flags: more of them, for the server.
        is_ahead: server and load come before all other processes of this machine, where others use
            it meanwhile. Needs rights.

    Returns:
        `rate`, `maximum`, `requests`, `failed`, `cpu_share` of the server, and `disturbances`: by
        name what `judge` gives.
    """
    make = [sys.executable, str(HERE / "swaps_models.py"), str(models)]
    if not (models / "resnet").exists():
        subprocess.run(make, check=True, capture_output=True)
    server_cpus, load_cpus, is_first = cpus_of(affinity)
    stage = Stage(root, models, server_cpus, flags, is_ahead)
    stage.start()
    stretches: list[Stretch] = []
    try:
        maximum = 0.0
        if not rate:
            (root / "body").write_bytes(BODY)
            url = f"http://127.0.0.1:{stage.server.rest_port}{HALF}"
            maximum = wrk(url, root / "body", 16, 3, root).rate
            rate = SHARE * maximum
        port = stage.server.rest_port
        with (
            watched(server_cpus | load_cpus) as still,
            loaded(port, rate, load_cpus, is_first=is_first, is_ahead=is_ahead) as seen,
        ):
            time.sleep(1.0)
            cpu_s, begun_s = stage.server.cpu_s(), time.monotonic()
            for _ in range(turns):
                stretches += disturb(stage, names)
            cpu_share = (stage.server.cpu_s() - cpu_s) / (time.monotonic() - begun_s)
    finally:
        status = stage.server.stop()
    if status:
        tail = stage.server.log.read_text(errors="replace")[-3000:]
        raise RuntimeError(f"the server ended with status {status}; its log ends:\n{tail}")
    (all_seen,) = seen
    return {
        "rate": rate,
        "maximum": maximum,
        "requests": len(all_seen),
        "failed": int((all_seen[:, 2] == 0).sum()),
        "cpu_share": cpu_share,
        "disturbances": judge(all_seen, stretches, still[0] if still else None),
    }


def report(found: Mapping[str, Any]) -> Iterator[str]:
    """The table."""
    yield (
        f"{found['rate']:,.0f} requests per second; {found['requests']:,} asked, "
        f"{found['failed']} failed; the server took {found['cpu_share']:.2f} cores"
    )
    yield (
        "| while | times | seconds | p50 | p99 | longest | p99 over the quiet one "
        "| the machine stood still | p99 without that, over the quiet one |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for what, of in found["disturbances"].items():
        ratio = _text(of, "") if what != "quiet" else ""
        moving = _text(of, "moving_") if what != "quiet" and "moving_ratio" in of else ""
        still = f"{of['still_ms']:.1f} ms" if "still_ms" in of else "not looked"
        yield (
            f"| {what} | {of['times']} | {of['seconds']:.2f} | {of['p50_ms']:.2f} ms "
            f"| {of['p99_ms']:.2f} ms | {of['max_ms']:.1f} ms | {ratio} | {still} | {moving} |"
        )


def _text(of: Mapping[str, float], prefix: str) -> str:
    lowest, ratio, highest = (of[f"{prefix}{name}"] for name in ("lowest", "ratio", "highest"))
    return f"{ratio:.2f} ({lowest:.2f} to {highest:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--only", default=",".join(DISTURBANCES), help="some of the disturbances")
    parser.add_argument("--affinity", choices=("shared", "apart"), default="shared")
    parser.add_argument("--ahead", action="store_true", help="of all else on this machine")
    parser.add_argument("--rate", type=float, default=0.0, help="requests per second")
    parser.add_argument("--models", type=Path, help="keep the generated models here")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments, flags = parser.parse_known_args()
    with tempfile.TemporaryDirectory(prefix="swaps-") as directory:
        root = Path(directory)
        models = arguments.models or root / "made"
        (root / "stage").mkdir()
        found = measure(
            models,
            root / "stage",
            turns=arguments.turns,
            names=arguments.only.split(","),
            affinity=arguments.affinity,
            rate=arguments.rate,
            flags=flags,
            is_ahead=arguments.ahead,
        )
    print("\n".join(report(found)))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=1))
    sys.exit(1 if found["failed"] else 0)


if __name__ == "__main__":
    main()
