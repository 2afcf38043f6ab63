"""The report as lines of text. Pure."""

import math
from collections.abc import Iterator, Sequence
from typing import Final

from salver.bench.loops import Tally
from salver.bench.results import PERCENTILES, Report, rate_of
from salver.vocabulary.hints import without_nodes

__all__ = ["duration_text", "report_lines"]

_EIGHTHS: Final = " ▏▎▍▌▋▊▉█"
_BARS: Final = 16
_MOST_BAR: Final = 80
_HEAD: Final = ("", "requests/s", "mean", "p50", "p90", "p99", "p99.9", "max", "in MB/s", "failed")


def report_lines(report: Report, width: int, *, is_ascii: bool) -> Iterator[str]:
    """A table, the ratios, what failed, what is doubtful, and a histogram of each.

    Args:
        report: whole or not.
        width: columns of the terminal.
        is_ascii: draw with nothing else.
    """
    letters = {name: chr(ord("A") + index % 26) for index, name in enumerate(report.requests)}
    has_rivals = len(report.requests) > 1
    for name, description in report.requests.items():
        prefix = f"{letters[name]}  " if has_rivals else ""
        yield _plain(f"{prefix}{name}: {description}", is_ascii)
    if not report.all:
        yield "nothing was measured"
        return
    yield ""
    titles = {
        id(measured): f"{letters[measured.target]}  {measured.level.text}"
        if has_rivals
        else measured.level.text
        for measured in report.all
    }
    totals = {id(measured): measured.total for measured in report.all}
    rows = [_row(titles[id(each)], totals[id(each)]) for each in report.all]
    yield from _table([_HEAD, *rows])
    yield from _ratios(report, letters)
    for measured in report.all:
        total, title = totals[id(measured)], titles[id(measured)]
        yield from _failures(title, total, is_ascii)
        for doubt in measured.doubts(total):
            yield f"{title}: careful, {doubt}"
    for measured in report.all:
        yield ""
        total = totals[id(measured)]
        yield f"{titles[id(measured)]}: latencies, and the generator used {_cpu(total)}"
        yield from _histogram(total, width, is_ascii=is_ascii)


def duration_text(seconds: float) -> str:
    """With three digits and the unit that fits: `1.23 ms`; `-` for NaN."""
    if not math.isfinite(seconds):
        return "-"
    for unit, scale in (("s", 1.0), ("ms", 1e3)):
        if seconds * scale >= 0.9995:
            return f"{_three(seconds * scale)} {unit}"
    return f"{_three(seconds * 1e6)} us"


def _three(value: float) -> str:
    if value >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def _plain(text: str, is_ascii: bool) -> str:
    return text.encode("ascii", "replace").decode() if is_ascii else text


def _row(title: str, total: Tally) -> Sequence[str]:
    latencies = total.latencies
    percentiles = [duration_text(latencies.percentile(percent)) for percent in PERCENTILES]
    rate = rate_of(total)
    received = total.received_bytes / total.seconds / 1e6 if total.seconds else math.nan
    return (
        title,
        f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}",
        duration_text(latencies.mean_s),
        *percentiles,
        duration_text(latencies.most_s),
        f"{received:.2f}",
        f"{total.failed:,}",
    )


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[at]) for row in rows) for at in range(len(_HEAD))]
    for title, *cells in rows:
        padded = [f"{cell:>{size}}" for cell, size in zip(cells, widths[1:], strict=True)]
        yield "  ".join([f"{title:<{widths[0]}}", *padded])


def _ratios(report: Report, letters: dict[str, str]) -> Iterator[str]:
    """Of each target to the first, with the least and the most of the turns."""
    for group in report.groups:
        first, *others = group
        for measured in others:
            if not measured.turns:
                continue
            parts = [
                f"{name} {ratio.median:.2f} ({ratio.least:.2f} to {ratio.most:.2f})"
                for name, ratio in measured.ratios(first).items()
                if math.isfinite(ratio.median)
            ]
            if parts:
                pair = f"{letters[measured.target]} / {letters[first.target]}"
                turns = f"median of {len(measured.turns)} turns, least to most"
                yield f"{pair}  {measured.level.text}: {', '.join(parts)}; {turns}"


def _failures(title: str, total: Tally, is_ascii: bool) -> Iterator[str]:
    for status, failure in sorted(total.failures.items(), key=lambda item: -item[1].count):
        words, nodes = without_nodes(failure.message)
        text = " ".join(f"{words} {nodes}".split())
        yield _plain(f"{title}: {failure.count:,} failed with {status}, first: {text}", is_ascii)


def _cpu(total: Tally) -> str:
    share = total.cpu_s / total.seconds if total.seconds else 0.0
    return f"{share:.0%} of a CPU"


def _histogram(total: Tally, width: int, *, is_ascii: bool) -> Iterator[str]:
    bars = total.latencies.bars(_BARS)
    if not bars:
        return
    labels = [duration_text(bar.from_s) for bar in bars]
    counts = [f"{bar.count:,}" for bar in bars]
    left, right = max(map(len, labels)), max(map(len, counts))
    room = min(max(width - left - right - 5, 1), _MOST_BAR)
    most = max(bar.count for bar in bars)
    for label, count, bar in zip(labels, counts, bars, strict=True):
        drawn = _drawn(bar.count / most * room, is_ascii=is_ascii)
        yield f"  {label:>{left}} {drawn:<{room}} {count:>{right}}".rstrip()


def _drawn(length: float, *, is_ascii: bool) -> str:
    """A bar; something that is not nothing can be seen."""
    if is_ascii:
        return "#" * (max(1, round(length)) if length else 0)
    eighths = max(1, round(length * 8)) if length else 0
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
