"""A function of Python: in a child process of ours, and behind servers that are made for that."""

import numpy as np
from contestants import OURS, salver
from figures import Result, least
from stage import PYTHON_FUNCTION, Stage, kinds
from tasks import Task, predict_request
from turns import chart

CONNECTIONS = (1, 16)
MODEL = """\
class Model:
    inputs = {"x": ("float32", [-1])}
    outputs = {"y": ("float32", [-1])}
    max_batch_size = 64

    def predict(self, inputs):
        return {"y": inputs["x"] * 0.5 + 2}
"""


def python_function(stage: Stage) -> Result:
    """half_plus_two as a function of numpy, over REST."""
    result = Result("python")
    task = function(stage)
    flags = (f"--trusted_model_paths={task.base_path}",)
    starts = {"Salver": salver(*flags), **stage.peers_of(is_python=True)}
    groups = {}
    with stage.running(task, starts) as servers:
        colours = kinds(servers, {"Salver": OURS})
        for connections in CONNECTIONS:
            race = stage.race(
                {name: one.rest(connections, stage.scratch) for name, one in servers.items()}
            )
            what = f"Python function, {connections} connection{'s' * (connections > 1)}"
            for name in starts:
                result.add(
                    f"{what}: {name.removesuffix(', ' + PYTHON_FUNCTION)}", race.of(name), "/s"
                )
                if name != "Salver":
                    short = name.removesuffix(f", {PYTHON_FUNCTION}")
                    result.add(
                        f"{what}: rate beside {short}", race.ratio("Salver", name), goal=least(1)
                    )
                    result.add(
                        f"{what}: CPU per request beside {short}",
                        race.ratio("Salver", name, "cpu_ms"),
                    )
            groups[what] = race.bars(colours)
    title = "REST, a function of Python"
    result.charts.append(chart("performance-python", title, "requests per second", groups))
    return result


def function(stage: Stage) -> Task:
    """The model, written where the others are made."""
    base = stage.scratch / "python_function"
    (base / "1").mkdir(parents=True, exist_ok=True)
    (base / "1" / "model.py").write_text(MODEL)
    rows = np.array([1.0, 2.0, 5.0], np.float32)
    body = b'{"instances": [1.0, 2.0, 5.0]}'
    return Task(base, "x", rows, body, predict_request("x", rows, is_content=False))
