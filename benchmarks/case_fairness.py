"""What slow models and hostile bodies cost a small model beside them: see `fairness.py`."""

import statistics

import fairness as made
from contestants import OURS, YARDSTICK
from figures import Bar, Result, most
from stage import Stage
from turns import chart

WORDS = {
    "waits": "64 calls of a model that waits",
    "computes": "64 calls of a model that computes",
    "leaves": "64 calls of it whose clients leave",
    "bodies": "8 bodies at a time that inflate to 90 MB",
    "strings": "4 bodies at a time of 3 million strings",
}


def fairness(stage: Stage) -> Result:
    """The small model's p99 and longest wait, with one process."""
    result = Result("fairness")
    turns = 1 if stage.is_quick else max(3, stage.turns - 1)
    names = made.DISTURBANCES[:1] if stage.is_quick else made.DISTURBANCES
    root = stage.scratch / "fairness"
    root.mkdir()
    found = made.measure(stage.models, root, turns=turns, names=names)
    bars = []
    for name, of in found["disturbances"].items():
        how = f"half_plus_two beside {WORDS[name]}"
        bound = most(3.0) if name == "waits" else None
        result.add(f"{how}: p99 of the quiet one", of["ratio"], goal=bound)
        bound = most(50.0) if name == "computes" else None
        result.add(f"{how}: p99", of["p99_ms"], "ms", goal=bound)
        bound = most(500.0) if name in ("bodies", "strings") else None
        result.add(f"{how}: longest wait", of["longest_ms"], "ms", goal=bound)
        bars += [
            Bar(f"{name}: quiet", (statistics.median(of["quiet_ms"]),), YARDSTICK),
            Bar(name, tuple(of["p99_ms"]), OURS),
        ]
    failed = 100 * found["failed"] / max(found["requests"], 1)
    result.add(f"failed requests of {found['requests']:,}", [failed], "%", most(0.0))
    title = "A small model beside slow models and hostile bodies"
    result.charts.append(chart("performance-fairness", title, "p99, ms", {"": tuple(bars)}))
    return result
