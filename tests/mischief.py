"""Backends whose models do what their requests say: crash, end, hang, leak, write, wait.

By `packages` they are what a server finds as packages of backends. Their file is `mischief.json`,
`mischief_serial.json` or `mischief_started.json`: `{"load": WHAT}`, where WHAT is empty or one of
the words of a request.
"""

import asyncio
import ctypes
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from salver.backends.options import option
from salver.backends.protocol import Backend, Capabilities, Listing, LoadStage, Match
from salver.errors import DataLoss, InvalidArgument
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import Signature, TensorSpec

NAMES = ("mischief", "mischief_serial", "mischief_started")
SIGNATURES = {
    "serving_default": Signature(
        {"do": TensorSpec(DataType.STRING, (-1,)), "x": TensorSpec(DataType.FLOAT64, (-1,))},
        {"pid": TensorSpec(DataType.INT64, (-1,)), "y": TensorSpec(DataType.FLOAT64, (-1,))},
    ),
    "strings": Signature(
        {"s": TensorSpec(DataType.STRING, (-1,))}, {"s": TensorSpec(DataType.STRING, (-1,))}
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Flags `--mischief_…`."""

    factor: float = option(1.0, "By which x is multiplied.")


def _crash(_x: Array) -> None:
    ctypes.string_at(0)


def _spin(_x: Array) -> None:
    while True:
        pass


def _stuck(x: Array) -> None:
    ctypes.PyDLL(None).sleep(int(x[0]))  # keeps the GIL


def _print(x: Array) -> None:
    for number in range(int(x[0])):
        print(f"line {number} of a chatty model")  # noqa: T201


def _write(x: Array) -> None:
    os.write(1, b"w" * int(x[0]))


def _log(_x: Array) -> None:
    logging.getLogger("mischief").warning("a warning\nof two lines")


def _raise(_x: Array) -> None:
    raise ValueError("raised on purpose")


def _refuse(_x: Array) -> None:
    raise InvalidArgument("refused on purpose", hint="Do not ask.")


def _subprocess(_x: Array) -> None:
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])


_DO: dict[str, Callable[[Array], object]] = {
    "": lambda _x: None,
    "echo": lambda _x: None,
    "crash": _crash,
    "exit": lambda _x: sys.exit(3),
    "kill": lambda _x: os.kill(os.getpid(), signal.SIGKILL),
    "sleep": lambda x: time.sleep(float(x[0])),
    "spin": _spin,
    "stuck": _stuck,
    "print": _print,
    "write": _write,
    "log": _log,
    "raise": _raise,
    "refuse": _refuse,
    "subprocess": _subprocess,
}


class Model:
    """See `salver.vocabulary.model.Model`."""

    definitions = None
    batching = None
    graph = None
    signatures = SIGNATURES

    def __init__(self, factor: float) -> None:
        self._factor = factor
        self._kept: list[Any] = []

    def program(self, signature_name: str, outputs: Sequence[str] | None = None) -> "_Program":
        names = outputs or tuple(SIGNATURES[signature_name].outputs)
        if signature_name == "strings":
            return _Program(lambda feeds: [feeds[0]])

        def run(feeds: Sequence[Array]) -> list[Array]:
            outputs = self.do(*feeds)
            return [outputs[name] for name in names]

        return _Program(run)

    def do(self, words: Array, x: Array) -> dict[str, Array]:
        word = words[0].decode()
        if word == "leak":
            self._kept.append(np.ones(int(x[0]) << 17))  # MB
        elif word == "keep":
            self._kept.append(x)
        elif word == "kept":
            x = self._kept[-1]
        elif word == "mask":
            x = np.array([float(len(os.sched_getaffinity(0)))])
        elif word == "threads":
            x = np.array([float(os.environ["OMP_NUM_THREADS"])])
        elif word == "blas":
            x = np.array([float(os.environ.get("OPENBLAS_NUM_THREADS", 0))])
        elif word == "tensorflow":
            maps = Path("/proc", str(os.getppid()), "maps").read_text()
            x = np.array([float("libtensorflow" in maps)])
        elif word == "numpy":
            x = np.array([float(word in sys.modules)])
        else:
            _DO[word](x)
        return {"pid": np.full(x.shape, os.getpid(), np.int64), "y": x * self._factor}

    def close(self) -> None:
        print("the model is closed")  # noqa: T201


class StartedModel(Model):
    """Also `StartableModel`: many runs at once, in a loop of its own."""

    def __init__(self, factor: float) -> None:
        super().__init__(factor)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        try:
            self._loop.run_forever()
        except SystemExit as error:  # a thread would only end itself
            os._exit(int(error.code or 0))

    def start(self, signature_name: str, feeds: Sequence[Array]) -> "Future[list[Array]]":
        return asyncio.run_coroutine_threadsafe(self._run(signature_name, feeds), self._loop)

    async def _run(self, signature_name: str, feeds: Sequence[Array]) -> list[Array]:
        if signature_name == "serving_default" and feeds[0][0] == b"sleep":
            try:
                await asyncio.sleep(float(feeds[1][0]))
            except asyncio.CancelledError:
                print("a run was cancelled")  # noqa: T201
                raise
            feeds = [np.array([b"echo"], object), feeds[1]]
        return self.program(signature_name).run(feeds)


class _Program:
    can_loop = False

    def __init__(self, run: Callable[[Sequence[Array]], list[Array]]) -> None:
        self.run = self.run_in_caller = self.run_inline = run


class Mischief(Backend):
    """Runs in several threads at once."""

    name: ClassVar[str] = "mischief"
    title: ClassVar[str] = "Mischief"
    options: ClassVar = Options
    capabilities: ClassVar[Capabilities] = Capabilities(needs_process=True)
    model: ClassVar[type[Model]] = Model

    def detect(self, listing: Listing, options: Options) -> Match | None:
        name = f"{self.name}.json"
        return Match(files=[name]) if name in listing.files else None

    def load(self, directory: Path, options: Options, stage: LoadStage) -> Model:
        stage.progress("reading", 0.5)
        try:
            said = json.loads((directory / f"{self.name}.json").read_text() or "{}")
        except ValueError as error:
            raise DataLoss(f"{directory} is no mischief", hint="Write JSON.") from error
        x = np.array([600.0])
        _DO[said.get("load", "")](x)
        return self.model(options.factor)


class SerialMischief(Mischief):
    """Makes one run at a time."""

    name: ClassVar[str] = "mischief_serial"
    capabilities: ClassVar[Capabilities] = Capabilities(keeps_gil=True, needs_process=True)


class StartedMischief(Mischief):
    """Starts its runs itself."""

    name: ClassVar[str] = "mischief_started"
    model: ClassVar[type[Model]] = StartedModel


def packages(directory: Path) -> Path:
    """Make a directory of packages in which this module is one, with backends."""
    shutil.copy(__file__, directory / "salver_mischief.py")
    described = directory / "salver_mischief-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: salver-mischief\nVersion: 1.0"
    )
    (described / "RECORD").touch()
    kinds = zip(NAMES, ("Mischief", "SerialMischief", "StartedMischief"), strict=True)
    lines = [f"{name} = salver_mischief:{kind}\n" for name, kind in kinds]
    (described / "entry_points.txt").write_text(f"[salver.backends]\n{''.join(lines)}")
    return directory


def version(base: Path, name: str = "mischief", number: int = 1, **said: str) -> Path:
    """Write a version of a model; gives its base path."""
    directory = base / str(number)
    directory.mkdir(parents=True)
    (directory / f"{name}.json").write_text(json.dumps(said))
    return base
