"""What `soak.py` sees of its server from outside: /proc, the metrics page, the logs it wrote."""

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from load import Server, percentile
from memory import Memory
from soak_clients import Rest, Tally, expect
from soak_traffic import pause

SAMPLE = re.compile(r"^(?P<series>\S+?\{.*\}|\S+) (?P<value>\S+)$")


@dataclass
class Watched(Memory):
    """Resident memory of a server by time."""

    async def watch(self, server: Server, stop: asyncio.Event, begun_s: float) -> None:
        while not await pause(stop, 1.0):
            self.samples.append((time.monotonic() - begun_s, server.resident_mib()))


@dataclass
class Metrics:
    """The last metrics page, and whether a counter ever went back.

    Attributes:
        first_series: how many series the first page had.
    """

    values: dict[str, float] = field(default_factory=dict)
    first_series: int = 0

    async def scrape(self, rest: Rest) -> None:
        answer = await rest.ask("GET", "/monitoring/prometheus/metrics")
        expect(answer.status == 200, answer)
        values, counters = parse_page(answer.body.decode())
        for series in counters & values.keys() & self.values.keys():
            is_back = values[series] < self.values[series]
            expect(not is_back, f"{series} fell from {self.values[series]} to {values[series]}")
        self.values = values
        self.first_series = self.first_series or len(values)

    async def watch(self, rest: Rest, tally: Tally, stop: asyncio.Event) -> None:
        while not await pause(stop, 1.0):
            await tally.bad("scrape", self.scrape(rest))

    async def at_rest(self, rest: Rest) -> None:
        """When nobody asks anything, nothing may be under way: clients that left included."""
        await self.scrape(rest)
        held = {s: v for s, v in self.with_words("salver_in_flight_requests").items() if v}
        expect(not held, f"still under way: {held}")

    def report(self) -> Iterable[str]:
        if self.values:
            yield f"series on the metrics page: first {self.first_series}, last {len(self.values)}"
        for words in (("log", "drop"), ("request_log_count",), ("loop_lag", "_count")):
            yield from (f"{series} {value:g}" for series, value in self.with_words(*words).items())

    def with_words(self, *words: str) -> dict[str, float]:
        """Series whose name holds all of these."""
        return {
            series: value
            for series, value in self.values.items()
            if all(word in series for word in words) and "_bucket{" not in series
        }


def parse_page(text: str) -> tuple[dict[str, float], set[str]]:
    """Every series with its value, and which of them may only grow."""
    values: dict[str, float] = {}
    counters: set[str] = set()
    kind = ""
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            kind = line.split()[-1]
        found = None if line.startswith("#") else SAMPLE.match(line)
        if found is not None:
            values[found["series"]] = float(found["value"])
            if kind in {"counter", "histogram"}:
                counters.add(found["series"])
    return values, counters


def logged(prefix: Path) -> Counter[str]:
    """Records in the request logs of a prefix, each read whole."""
    from salver.codecs.protobuf.prediction_log import decode_prediction_log
    from salver.codecs.protobuf.tfrecord import read_records

    found: Counter[str] = Counter()
    for path in sorted(prefix.parent.glob(f"{prefix.name}*")):
        found["files"] += 1
        if "jsonl" in path.name or path.read_bytes()[:1] == b"{":
            found["records"] += sum(1 for line in path.open() if json.loads(line))
            continue
        with path.open("rb") as file:
            for record in read_records(file):
                entry = decode_prediction_log(record)
                expect(entry is not None and entry.request, "an empty record in the log")
                found["records"] += 1
    return found


def reference_lines(
    printed: Iterable[str], spans: Sequence[tuple[str, float, float]], begun_s: float
) -> tuple[list[str], int]:
    """The reference stream's latencies by what was loading meanwhile, and its wrong answers."""
    groups: dict[str, list[float]] = {"all": []}
    wrong = 0
    seconds: dict[int, str] = {}
    for what, begin_s, end_s in sorted(spans, key=lambda span: span[0] == "big"):
        group = "the 150 MiB model swaps" if what == "big" else "something else loads"
        seconds |= dict.fromkeys(range(int(begin_s), int(end_s) + 1), group)
    for line in printed:
        if line.startswith("#"):
            continue
        due_s, taken_s, is_right = map(float, line.split())
        wrong += not is_right
        if due_s < begun_s + 2:  # the first ones warm up
            continue
        group = seconds.get(int(due_s), "nothing loads")
        groups.setdefault(group, []).append(taken_s)
        groups["all"].append(taken_s)
    lines = ["| reference stream, in seconds in which | requests | p50 | p99 | longest |"]
    lines.append("|---|---|---|---|---|")
    for group, taken in groups.items():
        taken.sort()
        cells = [f"{1e3 * percentile(taken, percent):.2f} ms" for percent in (50, 99, 100)]
        lines.append("| " + " | ".join([group, f"{len(taken):,}", *cells]) + " |")
    return lines, wrong
