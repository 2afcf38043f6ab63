"""ResNet-50: what a server costs a model that computes for tens of milliseconds."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from contestants import HERE, OURS, YARDSTICK, salver
from figures import Result, least
from stage import Stage, kinds
from tasks import Task, resnet
from turns import Lane, Sample, chart

CALLERS = (1, 2)
LONGER = 3  # than a lane of others: the call that is under way at its end does not count
IN_PROCESS = "C API in process"


def resnet50(stage: Stage) -> Result:
    """Images as tensor_content over gRPC, and as JSON, beside calls in process."""
    result = Result("resnet50")
    task = resnet(stage.models)
    groups = {}
    starts = {"Salver": salver(), **stage.others()}
    with stage.running(task, starts) as servers, ExitStack() as ending:
        for callers in CALLERS:
            lanes: dict[str, Lane] = {
                IN_PROCESS: ending.enter_context(in_process(task, callers, stage.scratch))
            }
            for name, one in servers.items():
                if one.grpc_port:
                    lanes[f"{name}, gRPC"] = one.grpc(callers, 1, stage.scratch)
                if one.rest_url:
                    lanes[f"{name}, JSON"] = one.rest(callers, stage.scratch)
            race = stage.race(lanes, stage.seconds if stage.is_quick else LONGER * stage.seconds)
            how = f"ResNet-50, {callers} {'callers' if callers > 1 else 'caller'}"
            for api, goal in (("gRPC", least(0.97)), ("JSON", None)):
                ratio = race.ratio(f"Salver, {api}", IN_PROCESS)
                result.add(f"{how}, {api}: rate beside the C API in process", ratio, goal=goal)
                ratio = race.ratio(f"Salver, {api}", IN_PROCESS, "cpu_ms")
                result.add(f"{how}, {api}: CPU beside the C API in process", ratio)
            result.add(f"{how}: {IN_PROCESS}", race.of(IN_PROCESS), "/s")
            known = {"Salver, gRPC": OURS, "Salver, JSON": OURS, IN_PROCESS: YARDSTICK}
            groups[f"{callers} at once"] = race.bars(kinds(lanes, known))
    title = "ResNet-50, one 224×224×3 image per request"
    result.charts.append(chart("performance-resnet50", title, "requests per second", groups))
    return result


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
