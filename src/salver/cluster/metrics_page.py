"""Many pages of metrics as one: the sums over all nodes, or every sample with its node's name.

Reads the text format of Prometheus and OpenMetrics, as servers of this kind write it. Counters,
histograms, and the sums and counts of summaries are added. So are gauges, which are amounts such as
memory. Of gauges that are moments, durations or shares the highest counts, or of the
starts of processes the earliest. Of histograms whose buckets differ between nodes, as they do while
servers of two releases run, the bounds that all have are kept: cumulative counts can be added there
and nowhere else.

A page comes from a server that may be broken or hostile, so that lines, names and samples are
bounded; what is wrong with one page is said, and the page left out whole.
"""

import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

__all__ = ["CONTENT_TYPE", "MOST_BYTES", "BadPage", "merged_page", "per_node_page"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

MOST_BYTES: Final = 16 << 20
"""Of one page. A server with 1,000 models writes about 4 MiB."""

_MOST_SAMPLES: Final = 200_000  # of one page
_MOST_LABELS: Final = 32
_LONGEST_LINE: Final = 8192
_NODE: Final = "node"

_NAME: Final = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_INSIDE: Final = r'[^"}]*(?:"(?:[^"\\]|\\.)*"[^"}]*)*'
_SAMPLE: Final = re.compile(
    rf"({_NAME})(?:\{{({_INSIDE})\}})?[ \t]+([^ \t{{}}#]+)"
    r"(?:[ \t]+-?[0-9.]+)?(?:[ \t]+#[ \t].*)?[ \t]*"
)
_LABEL: Final = re.compile(
    r'[ \t]*([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*"((?:[^"\\]|\\.)*)"[ \t]*(,|$)'
)
_TYPE: Final = re.compile(rf"# TYPE ({_NAME}) (\w+)[ \t]*")
_HELP: Final = re.compile(rf"# HELP ({_NAME}) (.*)")
_KINDS: Final = (
    "counter",
    "gauge",
    "histogram",
    "summary",
    "untyped",
    "unknown",
    "info",
    "gaugehistogram",
)
_OF_HISTOGRAMS: Final = ("_bucket", "_sum", "_count", "_created")
_LOWEST: Final = "_start_time_seconds"
_HIGHEST: Final = ("_seconds", "_ratio", "_info", "_created")
"""How names of gauges end that are moments, durations, shares or facts, which cannot be added."""

Labels = tuple[tuple[str, str], ...]
"""Names and values, in the order of the names."""


class BadPage(ValueError):
    """A page that is none; the text says where."""


@dataclass(slots=True)
class _Family:
    """A metric of one page or of many.

    Attributes:
        kind: as its TYPE line says; `untyped` without one.
        help: of its HELP line; empty without one.
        samples: name of the sample → labels → value.
    """

    kind: str = "untyped"
    help: str = ""
    samples: dict[str, dict[Labels, float]] = field(default_factory=dict)


def merged_page(pages: Mapping[str, bytes | str]) -> tuple[str, dict[str, str]]:
    """One page with the sums over all nodes.

    Args:
        pages: node → its page.

    Returns:
        The page, and of each node whose page was left out why.
    """
    return _joined(pages, lambda into, family, name, _node: _add(into, family, name))


def per_node_page(pages: Mapping[str, bytes | str]) -> tuple[str, dict[str, str]]:
    """One page with every sample of every node, which has the node's name as the label `node`.

    A label of that name which a sample has already becomes `exported_node`, as scrapers have it.

    Args:
        pages: node → its page.

    Returns:
        The page, and of each node whose page was left out why.
    """
    return _joined(pages, _label)


def _joined(
    pages: Mapping[str, bytes | str], join: Callable[[_Family, _Family, str, str], None]
) -> tuple[str, dict[str, str]]:
    """One page of many; `join` takes what a node has of a family into that of the page."""
    families, wrong = _read_all(pages)
    joined: dict[str, _Family] = {}
    for node in families:
        for name, family in families[node].items():
            into = joined.setdefault(name, _Family(family.kind, family.help))
            if into.kind != family.kind:
                wrong.setdefault(node, f"{name} is a {family.kind}, and a {into.kind} elsewhere")
                continue
            join(into, family, name, node)
    return _written(joined), wrong


def _label(into: _Family, family: _Family, _name: str, node: str) -> None:
    for sample, cells in family.samples.items():
        target = into.samples.setdefault(sample, {})
        for labels, value in cells.items():
            target[_with_node(labels, node)] = value


def _with_node(labels: Labels, node: str) -> Labels:
    renamed = [(f"exported_{_NODE}" if name == _NODE else name, value) for name, value in labels]
    return tuple(sorted([*renamed, (_NODE, node)]))


# -- adding --------------------------------------------------------------------------------------


def _add(into: _Family, family: _Family, name: str) -> None:
    buckets = f"{name}_bucket"
    if family.kind == "histogram" and buckets in family.samples and buckets in into.samples:
        _keep_common_bounds(into.samples[buckets], family.samples[buckets])
    is_gauge = family.kind in ("gauge", "info", "untyped", "unknown")
    for sample, cells in family.samples.items():
        target = into.samples.setdefault(sample, {})
        is_quantile = family.kind == "summary" and sample == name
        join: Callable[[float, float], float] = operator.add
        if is_gauge and sample.endswith(_LOWEST):
            join = min
        elif (is_gauge and sample.endswith(_HIGHEST)) or sample.endswith("_created") or is_quantile:
            join = max
        for labels, value in cells.items():
            target[labels] = join(target[labels], value) if labels in target else value


def _keep_common_bounds(one: dict[Labels, float], other: dict[Labels, float]) -> None:
    """Drop the buckets of a histogram that only one of two pages has."""
    of_one, of_other = _bounds(one), _bounds(other)
    for rest in of_one.keys() & of_other.keys():
        mine, theirs = of_one[rest], of_other[rest]
        for cells, bounds, lacking in ((one, mine, theirs), (other, theirs, mine)):
            for bound, labels in bounds.items():
                if bound not in lacking:
                    cells.pop(labels, None)
        for bound in mine.keys() & theirs.keys():  # 1 and 1.0 are one bound
            if mine[bound] != theirs[bound]:
                other[mine[bound]] = other.pop(theirs[bound])


def _bounds(cells: Mapping[Labels, float]) -> dict[Labels, dict[float, Labels]]:
    """Labels without `le` → bound → all labels."""
    found: dict[Labels, dict[float, Labels]] = {}
    for labels in cells:
        rest = tuple(pair for pair in labels if pair[0] != "le")
        bound = next((_number(value) for name, value in labels if name == "le"), None)
        if bound is not None:
            found.setdefault(rest, {})[bound] = labels
    return found


# -- reading -------------------------------------------------------------------------------------


def _read_all(
    pages: Mapping[str, bytes | str],
) -> tuple[dict[str, dict[str, _Family]], dict[str, str]]:
    families: dict[str, dict[str, _Family]] = {}
    wrong: dict[str, str] = {}
    for node in sorted(pages):
        found = _read_or_say_why(pages[node])
        if isinstance(found, str):
            wrong[node] = found
        else:
            families[node] = found
    return families, wrong


def _read_or_say_why(page: bytes | str) -> dict[str, _Family] | str:
    try:
        return _read(page)
    except BadPage as error:
        return str(error)


def _read(page: bytes | str) -> dict[str, _Family]:
    """The families of a page.

    Raises:
        BadPage: it is none, or too large.
    """
    if len(page) > MOST_BYTES:
        raise BadPage(f"the page is larger than {MOST_BYTES} bytes")
    try:
        text = page.decode() if isinstance(page, bytes) else page
    except UnicodeDecodeError:
        raise BadPage("the page is not UTF-8") from None
    families: dict[str, _Family] = {}
    count = 0
    for number, line in enumerate(_lines(text), 1):
        if not line or line.isspace():
            continue
        if line.startswith("#"):
            if line.rstrip() == "# EOF":
                break
            _read_comment(line, families, number)
            continue
        count += 1
        if count > _MOST_SAMPLES:
            raise BadPage(f"the page has more than {_MOST_SAMPLES} samples")
        name, labels, value = _sample(line, number)
        cells = _family_of(name, families).samples.setdefault(name, {})
        if labels in cells:
            raise BadPage(f"line {number}: {name} is there twice with these labels")
        cells[labels] = value
    return families


def _lines(text: str) -> Iterator[str]:
    at = 0
    while at < len(text):
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        if end - at > _LONGEST_LINE:
            raise BadPage(f"a line has more than {_LONGEST_LINE} characters")
        yield text[at:end].removesuffix("\r")
        at = end + 1


def _read_comment(line: str, families: dict[str, _Family], number: int) -> None:
    if (found := _TYPE.fullmatch(line)) is not None:
        name, kind = found.groups()
        if kind not in _KINDS:
            raise BadPage(f"line {number}: {name} is of no known type")
        family = families.setdefault(name, _Family())
        if family.samples or family.kind not in ("untyped", kind):
            raise BadPage(f"line {number}: the type of {name} comes late, or twice")
        family.kind = kind
    elif (found := _HELP.fullmatch(line)) is not None:
        families.setdefault(found[1], _Family()).help = found[2]


def _family_of(sample: str, families: dict[str, _Family]) -> _Family:
    """The family of a sample: of its own name, or without what histograms and counters add."""
    known = families.get(sample)
    if known is not None and known.kind not in ("histogram", "summary"):
        return known
    for ending in (*_OF_HISTOGRAMS, "_total", "_info"):
        if sample.endswith(ending):
            family = families.get(sample.removesuffix(ending))
            if family is not None and family.kind in _with_endings(ending):
                return family
    return families.setdefault(sample, _Family())


def _with_endings(ending: str) -> tuple[str, ...]:
    if ending == "_total":
        return ("counter",)
    if ending == "_info":
        return ("info",)
    if ending == "_created":
        return ("histogram", "summary", "counter")
    return ("histogram", "gaugehistogram") + (() if ending == "_bucket" else ("summary",))


def _sample(line: str, number: int) -> tuple[str, Labels, float]:
    found = _SAMPLE.fullmatch(line)
    if found is None:
        raise BadPage(f"line {number} is no sample")
    name, inside, value = found.groups()
    try:
        return name, _labels(inside or "", number), _number(value)
    except ValueError as error:
        if isinstance(error, BadPage):
            raise
        raise BadPage(f"line {number}: {value[:40]!r} is no number") from None


def _labels(inside: str, number: int) -> Labels:
    labels: dict[str, str] = {}
    at = 0
    while at < len(inside):
        found = _LABEL.match(inside, at)
        if found is None or found[1] in labels:
            raise BadPage(f"line {number}: its labels cannot be read")
        labels[found[1]] = found[2]  # escaped, as it is written again
        if len(labels) > _MOST_LABELS:
            raise BadPage(f"line {number} has more than {_MOST_LABELS} labels")
        at = found.end()
    return tuple(sorted(labels.items()))


def _number(text: str) -> float:
    if "_" in text:  # which Python reads, and nobody else
        raise ValueError(text)
    return float(text)


# -- writing -------------------------------------------------------------------------------------


def _written(families: Mapping[str, _Family]) -> str:
    parts: list[str] = []
    for name in sorted(families):
        family = families[name]
        if not family.samples:
            continue
        if family.help:
            parts.append(f"# HELP {name} {family.help}\n")
        exported = _named_as_text_format_has_it(name, family)
        if family.kind not in ("untyped", "unknown", "info", "gaugehistogram"):
            parts.append(f"# TYPE {exported} {family.kind}\n")
        for sample in sorted(family.samples):
            cells = family.samples[sample]
            for labels in sorted(cells, key=_order):
                said = ",".join(f'{label}="{value}"' for label, value in labels)
                parts.append(f"{sample}{{{said}}} {_text(cells[labels])}\n")
    return "".join(parts)


def _named_as_text_format_has_it(name: str, family: _Family) -> str:
    """With `_total` for a counter, whose type OpenMetrics tells of the name without it."""
    total = f"{name}_total"
    return total if family.kind == "counter" and total in family.samples else name


def _order(labels: Labels) -> tuple[Labels, float]:
    rest = tuple(pair for pair in labels if pair[0] != "le")
    return rest, next((_number(value) for name, value in labels if name == "le"), 0.0)


def _text(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
