"""ResNet-50: what a server costs a model that computes for tens of milliseconds."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from contestants import HERE, OURS, YARDSTICK, salver
from figures import Result, least
from stage import Stage, kinds
from tasks import Task, resnet
from turns import Lane, Race, Sample, chart, joined, take_turns

CALLERS = (1, 2)
LONGER = 3  # than a lane of others: the call that is under way at its end does not count
IN_PROCESS = "C API in process"


def resnet50(stage: Stage) -> Result:
    """Images as tensor_content over gRPC, and as JSON, beside calls in process.

    Each turn has processes of its own: how fast one runs this model differs by 4 % with where its
    memory happens to lie, and stays so for its life.
    """
    result = Result("resnet50")
    task = resnet(stage.models)
    races: dict[int, list[Race]] = {callers: [] for callers in CALLERS}
    for _ in range(stage.turns):
        for callers, race in _turn(stage, task):
            races[callers].append(race)
    groups = {}
    for callers in CALLERS:
        race = joined(races[callers])
        how = f"ResNet-50, {callers} {'callers' if callers > 1 else 'caller'}"
        for api, goal in (("gRPC", least(0.97)), ("JSON", None)):
            ratio = race.ratio(f"Salver, {api}", IN_PROCESS)
            result.add(f"{how}, {api}: rate beside the C API in process", ratio, goal=goal)
            ratio = race.ratio(f"Salver, {api}", IN_PROCESS, "cpu_ms")
            result.add(f"{how}, {api}: CPU beside the C API in process", ratio)
        result.add(f"{how}: {IN_PROCESS}", race.of(IN_PROCESS), "/s")
        known = {"Salver, gRPC": OURS, "Salver, JSON": OURS, IN_PROCESS: YARDSTICK}
        groups[f"{callers} at once"] = race.bars(kinds(race.samples, known))
    title = "ResNet-50, one 224×224×3 image per request"
    result.charts.append(chart("performance-resnet50", title, "requests per second", groups))
    result.notes.append(
        "Each turn has processes of its own: how fast one runs this model differs by some 4 % with "
        "where its memory happens to lie, and stays so for its life."
    )
    return result


def _turn(stage: Stage, task: Task) -> Iterator[tuple[int, Race]]:
    starts = {"Salver": salver(), **stage.others()}
    seconds = stage.seconds if stage.is_quick else LONGER * stage.seconds
    with stage.running(task, starts) as servers:
        for callers in CALLERS:
            with in_process(task, callers, stage.scratch) as bare:
                lanes: dict[str, Lane] = {IN_PROCESS: bare}
                for name, one in servers.items():
                    if one.grpc_port:
                        lanes[f"{name}, gRPC"] = one.grpc(callers, 1, stage.scratch)
                    if one.rest_url:
                        lanes[f"{name}, JSON"] = one.rest(callers, stage.scratch)
                yield callers, take_turns(lanes, 1, seconds, stage.warm_s)


@contextmanager
def in_process(task: Task, callers: int, scratch: Path) -> Iterator[Lane]:
    """A lane of `in_process.py`."""
    rows = scratch / "rows.npy"
    np.save(rows, task.rows)
    script = [str(HERE / "in_process.py"), str(task.version), str(rows), f"--callers={callers}"]
    with subprocess.Popen(
        [sys.executable, *script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        asking, answers = child.stdin, child.stdout
        answers.readline()

        def lane(seconds: float) -> Sample:
            asking.write(f"{seconds}\n")
            asking.flush()
            said = json.loads(answers.readline())
            return Sample(said["runs"] / said["seconds"], 1000 * said["cpu_s"] / said["runs"])

        try:
            yield lane
        finally:
            asking.close()
