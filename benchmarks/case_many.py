"""A thousand small models in one server: see `many_models.py`."""

import shutil

import many_models as many
from figures import Result, most
from stage import Stage
from tasks import small

COUNT = 1000
WAYS = {"eager": "all loaded", "lazy": "loaded when asked for, a tenth at a time"}
RATIOS = {
    "ready_s": "time to ready",
    "cpu_s": "CPU until ready",
    "resident_mib": "memory",
}
ABSOLUTE = {
    "ready_s": ("time to ready", "s"),
    "resident_mib": ("memory", "MiB"),
    "list_ms": ("list of all", "ms"),
    "status_ms": ("status of one", "ms"),
    "metrics_ms": ("metrics page", "ms"),
    "predict_ms": ("one prediction", "ms"),
    "add_one_s": ("one more by the configuration file, polled each second", "s"),
}


def many_models(stage: Stage) -> Result:
    """Time to ready, memory per model, CPU when idle, and how fast it says how it is."""
    result = Result("many_models")
    count = 100 if stage.is_quick else COUNT
    # Its models are hard links, which do not cross file systems.
    source = stage.scratch / "source"
    shutil.copytree(small(stage.models).version, source)
    found = many.many_models(source, stage.scratch, count=count, limit=count // 10)
    what = f"{count:,} models"
    for way, how in WAYS.items():
        figures, bare = found[way], found[f"{way}_to_bare"]
        idle = figures["idle_percent_of_a_core"]
        result.add(f"{what}, {how}: CPU when idle, of one core", [idle], "%", most(1.0))
        for key, text in RATIOS.items():
            name = f"{what}, {how}: {text} beside a process that only loads them"
            result.add(name, [bare[key]])
        for key, (text, unit) in ABSOLUTE.items():
            result.add(f"{what}, {how}: {text}", [figures[key]], unit)
    result.add("memory of one model more", [found["kib_per_model"]], "KiB")
    return result
