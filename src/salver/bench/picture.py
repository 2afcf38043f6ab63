"""The report as a picture: SVG, written here, so that nothing need be installed for it. Pure.

Two panels: how often each latency came, and the latency at each percentile, on an axis on which
99, 99.9 and 99.99 are as far apart as they are rare (as HdrHistogram draws it).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

import numpy as np

from salver.bench.latencies import Latencies
from salver.bench.results import Report, rate_of
from salver.bench.terminal import duration_text

__all__ = ["picture"]

_WIDTH: Final = 960
_PANEL_WIDTH: Final = 400
_PANEL_HEIGHT: Final = 300
_LEFTS: Final = (60, 530)
_LINE: Final = 20  # of the legend
_BARS: Final = 60
_COLOURS: Final = 8
_STYLE: Final = """
svg { max-width: 100%; height: auto; background: #fff; font: 12px system-ui, sans-serif; }
text { fill: #333; } .title { font-size: 16px; font-weight: 600; } .note { fill: #666; }
.grid { stroke: #ddd; stroke-width: 1; } .curve { fill: none; stroke-width: 2; }
.c0 { stroke: #0969da; } .c1 { stroke: #d1570a; } .c2 { stroke: #1a7f37; } .c3 { stroke: #a626a4; }
.c4 { stroke: #9a6700; } .c5 { stroke: #cf222e; } .c6 { stroke: #0e7490; } .c7 { stroke: #57606a; }
@media (prefers-color-scheme: dark) {
svg { background: #16181d; } text { fill: #ddd; } .note { fill: #999; } .grid { stroke: #3a3f47; }
.c0 { stroke: #58a6ff; } .c1 { stroke: #ff9d57; } .c2 { stroke: #56d364; } .c3 { stroke: #d2a8ff; }
.c4 { stroke: #e3b341; } .c5 { stroke: #ff7b72; } .c6 { stroke: #39c5cf; } .c7 { stroke: #b1bac4; }
}
"""


@dataclass(frozen=True, slots=True)
class _Series:
    colour: int
    label: str
    latencies: Latencies


@dataclass(frozen=True, slots=True)
class _Panel:
    """Where a panel stands, and the latencies its axis spans, on a logarithmic scale."""

    left: float
    top: float
    least_s: float
    most_s: float

    def part(self, seconds: float) -> float:
        """From 0 to 1."""
        span = math.log(self.most_s / self.least_s)
        return math.log(min(max(seconds, self.least_s), self.most_s) / self.least_s) / span

    @property
    def bottom(self) -> float:
        return self.top + _PANEL_HEIGHT


def picture(report: Report, title: str) -> str:
    """An SVG document, in light or dark as its viewer is."""
    series = [
        _Series(index % _COLOURS, _label(report, index), measured.total.latencies)
        for index, measured in enumerate(report.all)
    ]
    shown = [each for each in series if each.latencies.count]
    top = 70 + _LINE * len(series)
    height = top + _PANEL_HEIGHT + 60
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" role="img">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
        _text(20, 30, title, "title"),
    ]
    for index, each in enumerate(series):
        y = 54 + _LINE * index
        parts.append(f'<path class="curve c{each.colour}" d="M20 {y - 4}h24"/>')
        parts.append(_text(52, y, each.label))
    if shown:
        least_s, most_s = _range(shown)
        parts += _histogram(shown, _Panel(_LEFTS[0], top, least_s, most_s))
        parts += _percentiles(shown, _Panel(_LEFTS[1], top, least_s, most_s))
    else:
        parts.append(_text(_WIDTH / 2, top + 100, "no answers", "note"))
    return "\n".join([*parts, "</svg>", ""])


def _label(report: Report, index: int) -> str:
    measured = report.all[index]
    total = measured.total
    name = f"{measured.target}, " if len(report.requests) > 1 else ""
    failed = f", {total.failed:,} failed" if total.failed else ""
    text = (
        f"{name}{measured.level.text}: {rate_of(total):,.0f} requests/s, "
        f"p50 {duration_text(total.latencies.percentile(50))}, "
        f"p99 {duration_text(total.latencies.percentile(99))}{failed}"
    )
    return text.replace(" us", " µs")


def _range(series: Sequence[_Series]) -> tuple[float, float]:
    """The ends of the axis: the next 1, 2 or 5 on either side."""
    least_s = min(each.latencies.least_s for each in series)
    most_s = max(each.latencies.most_s for each in series)
    steps = list(_steps())
    low = max((step for step in steps if step <= least_s), default=steps[0])
    high = min((step for step in steps if step > max(most_s, low)), default=steps[-1])
    return low, high


def _steps() -> Iterator[float]:
    for power in range(-9, 6):
        for digit in (1, 2, 5):
            yield digit * 10.0**power


def _ticks(panel: _Panel) -> list[float]:
    within = [s for s in _steps() if panel.least_s * 0.999 <= s <= panel.most_s * 1.001]
    every = -(-len(within) // 8)
    return within[::every]


def _histogram(series: Sequence[_Series], panel: _Panel) -> Iterator[str]:
    left, bottom = panel.left, panel.bottom
    yield _text(left, panel.top - 14, "share of the answers by latency")
    for tick in _ticks(panel):
        x = left + panel.part(tick) * _PANEL_WIDTH
        yield f'<path class="grid" d="M{x:.1f} {panel.top}V{bottom}"/>'
        yield _text(x, bottom + 18, _tick_text(tick), "note", "middle")
    edges = np.exp(np.linspace(math.log(panel.least_s), math.log(panel.most_s), _BARS + 1))
    shares = [_shares(each.latencies, edges) for each in series]
    most = max(float(of.max()) for of in shares)
    yield _text(left - 8, panel.top + 4, f"{most:.0%}", "note", "end")
    yield _text(left - 8, bottom + 4, "0", "note", "end")
    yield f'<path class="grid" d="M{left} {bottom}h{_PANEL_WIDTH}"/>'
    step = _PANEL_WIDTH / _BARS
    for each, of in zip(series, shares, strict=True):
        path = [f"M{left} {bottom}"]
        path += [f"V{bottom - share / most * _PANEL_HEIGHT:.1f}h{step:.2f}" for share in of]
        yield f'<path class="curve c{each.colour}" d="{"".join(path)}V{bottom}"/>'


def _shares(
    latencies: Latencies, edges: "np.ndarray[tuple[int], np.dtype[np.float64]]"
) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """The part of the latencies in each bar; those of a fine bucket are taken at its middle."""
    fine = latencies.bars(1 << 30)
    middles = np.array([math.sqrt(bar.from_s * bar.to_s) for bar in fine])
    counts = np.array([bar.count for bar in fine], np.float64)
    clipped = np.clip(middles, edges[0] * 1.0001, edges[-1] * 0.9999)
    found, _ = np.histogram(clipped, edges, weights=counts)
    return np.asarray(found / counts.sum())


def _percentiles(series: Sequence[_Series], panel: _Panel) -> Iterator[str]:
    left, bottom = panel.left, panel.bottom
    yield _text(left, panel.top - 14, "latency by percentile")
    for tick in _ticks(panel):
        y = bottom - panel.part(tick) * _PANEL_HEIGHT
        yield f'<path class="grid" d="M{left} {y:.1f}h{_PANEL_WIDTH}"/>'
        yield _text(left - 8, y + 4, _tick_text(tick), "note", "end")
    nines = max(2, math.ceil(math.log10(max(each.latencies.count for each in series))))
    nines = min(nines, 5)
    for at in range(nines + 1):
        percent = 100 * (1 - 10.0**-at)
        x = left + at / nines * _PANEL_WIDTH
        yield f'<path class="grid" d="M{x:.1f} {panel.top}V{bottom}"/>'
        yield _text(x, bottom + 18, f"{percent:.6g}", "note", "middle")
    for each in series:
        points = []
        for at in np.linspace(0, nines, 40 * nines + 1):
            if 10**at > each.latencies.count * 1.001:
                break  # of a thousand answers none is the 99.99th percentile
            seconds = each.latencies.percentile(100 * (1 - 10.0**-at))
            y = bottom - panel.part(seconds) * _PANEL_HEIGHT
            points.append(f"{left + at / nines * _PANEL_WIDTH:.1f} {y:.1f}")
        yield f'<path class="curve c{each.colour}" d="M{"L".join(points)}"/>'


def _tick_text(seconds: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e3)):
        if seconds * scale > 0.999:
            return f"{seconds * scale:g} {unit}"
    return f"{seconds * 1e6:g} µs"


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    of_kind = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{of_kind}>{escape(text)}</text>'
