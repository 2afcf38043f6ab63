"""Charts as SVG, written here, so that nothing need be installed for them. Pure.

Bars lie, because their labels are long; the whisker is the range of the turns. Light or dark as the
viewer is, like `salver bench --svg`.
"""

import math
import statistics
from collections.abc import Iterator
from html import escape
from typing import Final

from figures import Bar, Chart, number_text

_PANEL: Final = 440
_RIGHT: Final = 90  # for the number behind the longest bar
_LETTER: Final = 6.6  # how wide a letter is, about
_BAR: Final = 16
_ROW: Final = 24
_GROUP: Final = 30
_TOP: Final = 58
_LETTERS: Final = 110  # of a label; the rest is cut
_LOG_ABOVE: Final = 60  # bars that differ by more are drawn on a logarithmic axis
_STYLE: Final = """
svg { max-width: 100%; height: auto; background: #fff; font: 12px system-ui, sans-serif; }
text { fill: #333; } .title { font-size: 16px; font-weight: 600; } .note { fill: #666; }
.group { font-weight: 600; } .grid { stroke: #ddd; stroke-width: 1; fill: none; }
.one { stroke: #57606a; stroke-width: 1; stroke-dasharray: 4 3; fill: none; }
.range { stroke: #24292f; stroke-width: 1.5; fill: none; }
.k0 { fill: #2f81e0; } .k1 { fill: #9aa4af; } .k2 { fill: #d9822b; }
@media (prefers-color-scheme: dark) {
svg { background: #16181d; } text { fill: #ddd; } .note { fill: #999; } .grid { stroke: #3a3f47; }
.one { stroke: #8b949e; } .range { stroke: #e6edf3; }
.k0 { fill: #388bfd; } .k1 { fill: #6e7681; } .k2 { fill: #c9741f; }
}
"""


class Axis:
    """From 0, or where the values are too far apart logarithmic from below the least of them.

    Attributes:
        left: where it begins.
    """

    def __init__(self, values: list[float], left: float) -> None:
        self.left = left
        usable = [value for value in values if math.isfinite(value) and value > 0] or [1.0]
        self.most = max(usable)
        self.is_log = self.most / min(usable) > _LOG_ABOVE
        self.least = 10.0 ** math.floor(math.log10(min(usable)) - 0.3) if self.is_log else 0.0

    def at(self, value: float) -> float:
        """From 0 to 1; what cannot be drawn is 0."""
        if not math.isfinite(value) or value <= self.least:
            return 0.0
        if self.is_log:
            return math.log(value / self.least) / math.log(self.most / self.least)
        return value / self.most

    def ticks(self) -> list[float]:
        if self.is_log:
            first, last = round(math.log10(self.least)), math.floor(math.log10(self.most))
            return [10.0**power for power in range(first, last + 1)]
        step = 10.0 ** math.floor(math.log10(self.most))
        step *= next((part for part in (1.0, 0.5, 0.2) if self.most / (step * part) >= 4), 0.1)
        return [step * number for number in range(math.floor(self.most / step) + 1)]


def svg(chart: Chart) -> str:
    """An SVG document."""
    bars = [bar for group in chart.groups.values() for bar in group]
    left = max(
        160.0, 30 + _LETTER * max((min(len(bar.label), _LETTERS) for bar in bars), default=0)
    )
    axis = Axis([value for bar in bars for value in bar.values], left)
    width = round(left + _PANEL + _RIGHT)
    titled = sum(1 for name in chart.groups if name)
    body = _ROW * len(bars) + _GROUP * titled
    height = _TOP + body + 30 + (20 if chart.note else 0)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img">',
        f"<title>{escape(chart.title)}</title><style>{_STYLE}</style>",
        _text(16, 26, chart.title, "title"),
        _text(16, 44, chart.unit + (", logarithmic" if axis.is_log else ""), "note"),
    ]
    for tick in axis.ticks():
        x = _x(axis, tick)
        parts.append(f'<path class="grid" d="M{x:.1f} {_TOP}V{_TOP + body}"/>')
        parts.append(_text(x, _TOP + body + 16, f"{tick:,.6g}", "note", "middle"))
    if chart.name.endswith("targets"):
        parts.append(f'<path class="one" d="M{_x(axis, 1):.1f} {_TOP}V{_TOP + body}"/>')
    parts += _groups(chart, axis)
    if chart.note:
        parts.append(_text(16, height - 10, chart.note, "note"))
    return "\n".join([*parts, "</svg>", ""])


def _groups(chart: Chart, axis: Axis) -> Iterator[str]:
    y = float(_TOP)
    for name, bars in chart.groups.items():
        if name:
            yield _text(16, y + 19, name, "group")
            y += _GROUP
        for bar in bars:
            yield from _bar(bar, axis, y + (_ROW - _BAR) / 2)
            y += _ROW


def _bar(bar: Bar, axis: Axis, y: float) -> Iterator[str]:
    middle = statistics.median(bar.values)
    low, high = _x(axis, min(bar.values)), _x(axis, max(bar.values))
    label = bar.label.replace("`", "")
    label = label if len(label) <= _LETTERS else label[: _LETTERS - 1] + "…"
    yield _text(axis.left - 8, y + _BAR - 4, label, "", "end")
    left, width = axis.left, max(_x(axis, middle) - axis.left, 1.0)
    place = f'x="{left:.1f}" y="{y:.1f}" width="{width:.1f}" height="{_BAR}"'
    yield f'<rect class="k{bar.kind}" {place}/>'
    if high - low >= 1:
        across = y + _BAR / 2
        yield (f'<path class="range" d="M{low:.1f} {across - 4:.1f}v8m0 -4H{high:.1f}m0 -4v8"/>')
    yield _text(max(high, _x(axis, middle)) + 6, y + _BAR - 4, number_text(middle))


def _x(axis: Axis, value: float) -> float:
    return axis.left + axis.at(value) * _PANEL


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    of_kind = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{of_kind}>{escape(text)}</text>'
