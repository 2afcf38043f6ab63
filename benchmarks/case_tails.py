"""The tail of the latency while models load and swap: see `swaps.py`."""

import os
import shutil
import statistics
from collections.abc import Mapping

import swaps
from contestants import OURS, YARDSTICK
from figures import Bar, Result, most
from stage import Stage
from turns import chart

# With a core left for the load, and on two cores with the generator.
GOALS = {"apart": most(1.5), "shared": most(3.0)}
LOADS = ("load", "swap", "resnet")  # the others have no target
WORDS = {"copy": "another process reads 200 MB, nothing loads"}


def _values(of: Mapping[str, float], prefix: str) -> list[float]:
    return [of[f"{prefix}{each}"] for each in ("lowest", "ratio", "highest")]


def swapped(stage: Stage) -> Result:
    """p99 at a quarter of the highest rate, beside the quiet p99 before it."""
    result = Result("swaps")
    groups = {}
    turns = 1 if stage.is_quick else max(stage.turns - 1, 3)  # each is as long as many
    names = LOADS[1:2] if stage.is_quick else swaps.DISTURBANCES
    affinities = ["shared"] if stage.is_quick else list(GOALS)
    for affinity in affinities:
        goal = GOALS[affinity]
        root = stage.scratch / f"swaps-{affinity}"
        root.mkdir()
        found = swaps.measure(
            stage.models / "swaps", root, turns=turns, names=names, affinity=affinity
        )
        shutil.rmtree(root)
        where = "with a core for the load" if affinity == "apart" else "load on the same cores"
        bars = []
        for what, of in found["disturbances"].items():
            bars.append(Bar(what, (of["p99_ms"],), YARDSTICK if what == "quiet" else OURS))
            if what != "quiet":
                said = f"p99 while: {WORDS.get(what, what)}, {where}, beside the quiet p99"
                bound = goal if what in LOADS else None
                result.add(said, _values(of, ""), goal=bound)
                if "moving_ratio" in of and what in (*LOADS, "copy"):
                    aside = "without requests under way while the machine stood still"
                    result.add(f"{said}, {aside}", _values(of, "moving_"))
        groups[where] = tuple(bars)
        failed = 100 * found["failed"] / max(found["requests"], 1)
        text = f"failed requests of {found['requests']:,}, {where}"
        result.add(text, [failed], "%", most(0.0))
        result.add(f"rate of the load, {where}", [statistics.fmean([found["rate"]])], "/s")
    if len(os.sched_getaffinity(0)) < 3:
        result.notes.append(
            "With two cores the load that has a core for itself shares it with the server, and is "
            "served before others there, as a client on another machine would be."
        )
    title = "half_plus_two at a fixed rate while other models load and swap"
    result.charts.append(chart("performance-swaps", title, "p99, ms", groups))
    return result
