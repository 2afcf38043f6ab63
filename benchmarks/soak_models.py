"""One server of five kinds of models, while versions swap and child processes die.

    python benchmarks/soak_models.py [--minutes 10]

A TensorFlow, an ONNX and a LightGBM model live in the server, a scikit-learn and a Python model in
child processes. Each is asked all the time, over a connection of its own, and each answer is
checked. Meanwhile new versions of all of them take over, one after another, and a further Python
model dies: by its own hand at some of its requests, and by a signal now and then.

Exits with 1 when a request to a healthy model failed, when the dying one never came back, or when
the memory of the server and its children is not flat. (A run of less than two minutes does not
judge memory.)

Needs the extras tensorflow, onnxruntime, lightgbm and sklearn, and the package onnx, which makes
the model.
"""

import argparse
import http.client
import itertools
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tasks
from load import Server
from memory import Memory
from processes import family_of, parents

JUDGED_S = 120.0
SWAP_EACH_S = 3.0
KILL_EACH_S = 5.0
PAUSE_S = 0.005  # between the requests of one client: the machine is for all of them

MODEL = """\
import os


class Model:
    inputs = {"x": ("float32", [-1])}
    outputs = {"y": ("float32", [-1])}
    max_batch_size = 0

    def predict(self, inputs):
        if inputs["x"][0] < 0:
            os._exit(3)
        return {"y": inputs["x"] * 0.5 + 2}
"""


def half_plus_two(version: Path) -> None:
    """As an ONNX graph."""
    import onnx
    from onnx import TensorProto, helper

    floats = TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "a"], ["m"]), helper.make_node("Add", ["m", "b"], ["y"])],
        "half_plus_two",
        [helper.make_tensor_value_info("x", floats, ["n"])],
        [helper.make_tensor_value_info("y", floats, ["n"])],
        [helper.make_tensor("a", floats, [], [0.5]), helper.make_tensor("b", floats, [], [2.0])],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    onnx.save(made, version / "model.onnx")


def trees(version: Path) -> None:
    """A LightGBM model of a step."""
    import lightgbm

    rows = np.linspace(0, 1, 400).reshape(200, 2)
    data = lightgbm.Dataset(rows, (rows[:, 0] > 0.5).astype(float))
    booster = lightgbm.train({"objective": "regression", "verbose": -1, "seed": 1}, data, 5)
    booster.save_model(version / "model.txt")


def line(version: Path) -> None:
    """A scikit-learn regression."""
    import skops.io
    from sklearn.linear_model import LinearRegression

    rows = np.arange(20.0).reshape(10, 2)
    skops.io.dump(LinearRegression().fit(rows, rows.sum(axis=1)), version / "model.skops")


def python(version: Path) -> None:
    """half_plus_two, which dies of negative numbers."""
    (version / "model.py").write_text(MODEL)


@dataclass
class Kind:
    """A model, and a request to it.

    Attributes:
        make: writes a version.
        instances: what is asked.
        expected: what is answered.
    """

    make: Callable[[Path], None]
    instances: list[Any]
    expected: list[float] | None = None


@dataclass
class Asked:
    """What became of the requests to one model."""

    answers: int = 0
    failed: list[str] = field(default_factory=list)
    longest_s: float = 0.0


def kinds(models: Path) -> dict[str, Kind]:
    source = tasks.small(models).version
    return {
        "tensorflow": Kind(
            lambda version: shutil.copytree(source, version, dirs_exist_ok=True),
            [1.0, 2.0, 5.0],
            [2.5, 3.0, 4.5],
        ),
        "onnx": Kind(half_plus_two, [1.0, 2.0, 5.0], [2.5, 3.0, 4.5]),
        "lightgbm": Kind(trees, [[0.1, 0.1]]),
        "sklearn": Kind(line, [[1.0, 2.0]], [3.0]),
        "python": Kind(python, [1.0, 2.0, 5.0], [2.5, 3.0, 4.5]),
        "dying": Kind(python, [1.0, 2.0, 5.0], [2.5, 3.0, 4.5]),
    }


class Shelf:
    """The model directories. New versions appear whole, the oldest goes."""

    def __init__(self, place: Path, of: Mapping[str, Kind]) -> None:
        self._place = place
        self._numbers = {name: itertools.count(1) for name in of}
        for name, kind in of.items():
            made = place / "made" / name
            made.mkdir(parents=True)
            kind.make(made)
            self.publish(name)

    def publish(self, name: str) -> None:
        number = next(self._numbers[name])
        base = self._place / "models" / name
        base.mkdir(parents=True, exist_ok=True)
        staged = self._place / f"staged-{name}"
        shutil.copytree(self._place / "made" / name, staged)
        staged.rename(base / str(number))
        shutil.rmtree(base / str(number - 3), ignore_errors=True)

    def config(self) -> str:
        entries = "".join(
            f'  config {{ name: "{name}" base_path: "{self._place / "models" / name}"'
            f' model_platform: "{"python" if name in ("python", "dying") else "tensorflow"}" }}\n'
            for name in self._numbers
        )
        return f"model_config_list {{\n{entries}}}\n"


def post(connection: http.client.HTTPConnection, name: str, instances: list[Any]) -> Any:
    body = json.dumps({"instances": instances})
    connection.request("POST", f"/v1/models/{name}:predict", body)
    answer = connection.getresponse()
    data = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{answer.status} {data[:300]!r}")
    return json.loads(data)["predictions"]


def ask(port: int, name: str, kind: Kind, asked: Asked, is_over: threading.Event) -> None:
    """One client of one model, which asks again when it has its answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    expected = kind.expected
    while not is_over.wait(PAUSE_S):
        begun_s = time.monotonic()
        try:
            found = np.ravel(post(connection, name, kind.instances))
        except Exception as error:  # noqa: BLE001 - it is what is looked for
            asked.failed.append(f"{type(error).__name__}: {error}")
            connection.close()
        else:
            expected = list(found) if expected is None else expected
            if np.allclose(found, expected, atol=1e-5):
                asked.answers += 1
            else:
                asked.failed.append(f"wrong: {found}")
        asked.longest_s = max(asked.longest_s, time.monotonic() - begun_s)
    connection.close()


def swap(shelf: Shelf, names: list[str], is_over: threading.Event) -> None:
    for name in itertools.cycle(names):
        if is_over.wait(SWAP_EACH_S):
            return
        shelf.publish(name)


def kill(server: Server, port: int, deaths: list[str], is_over: threading.Event) -> None:
    """Have the dying model die, by its own hand and by a signal, in turns."""
    for turn in itertools.count():
        if is_over.wait(KILL_EACH_S):
            return
        if turn % 2:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            with suppress(Exception):
                post(connection, "dying", [-1.0])
            connection.close()
            deaths.append("exit")
        else:
            for pid in dying(server.process.pid):
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
                    deaths.append("kill")


def dying(server: int) -> Iterator[int]:
    """The child processes of the server that run the model which dies."""
    for pid in family_of(server, parents())[1:]:
        with suppress(OSError):
            if b"dying" in Path(f"/proc/{pid}/cmdline").read_bytes():
                yield pid


def soak(place: Path, models: Path, minutes: float) -> bool:
    of = kinds(models)
    shelf = Shelf(place, of)
    config = place / "models.config"
    config.write_text(shelf.config())
    flags = [
        f"--model_config_file={config}",
        f"--trusted_model_paths={place / 'models'}",
        "--file_system_poll_wait_seconds=1",
    ]
    server = Server(flags, place / "server.log")
    is_over, asked, deaths = threading.Event(), {name: Asked() for name in of}, list[str]()
    memory = Memory()
    try:
        for name, kind in of.items():
            body = json.dumps({"instances": kind.instances}).encode()
            server.until_answered(f"/v1/models/{name}:predict", body)
        jobs: list[tuple[Callable[..., None], tuple[Any, ...]]] = [
            (ask, (server.rest_port, name, kind, asked[name], is_over)) for name, kind in of.items()
        ]
        jobs += [
            (swap, (shelf, [*of], is_over)),
            (kill, (server, server.rest_port, deaths, is_over)),
        ]
        threads = [threading.Thread(target=target, args=given) for target, given in jobs]
        for thread in threads:
            thread.start()
        begun_s = time.monotonic()
        while (passed_s := time.monotonic() - begun_s) < 60 * minutes:
            memory.samples.append((passed_s, server.whole_mib()))
            time.sleep(1)
        is_over.set()
        for thread in threads:
            thread.join()
    finally:
        is_over.set()
        server.stop()
    return judged(asked, deaths, memory, minutes)


def judged(asked: Mapping[str, Asked], deaths: list[str], memory: Memory, minutes: float) -> bool:
    is_good = True
    for name, of in asked.items():
        print(
            f"{name}: {of.answers:,} answers, {len(of.failed)} failed,"
            f" the longest took {of.longest_s:.2f} s"
        )
        for text in of.failed[:3]:
            print(f"    {text}")
        is_good = is_good and of.answers > 0 and (name == "dying" or not of.failed)
    print(
        f"deaths: {len(deaths)} ({deaths.count('exit')} by itself, {deaths.count('kill')} killed)"
    )
    for line_of in memory.report():
        print(line_of)
    if 60 * minutes >= JUDGED_S:
        is_good = is_good and memory.growth() < 0.02
    return is_good and bool(deaths)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--models", type=Path, default=tasks.cache() / "models")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        is_good = soak(Path(place), chosen.models, chosen.minutes)
    sys.exit(0 if is_good else 1)


if __name__ == "__main__":
    main()
