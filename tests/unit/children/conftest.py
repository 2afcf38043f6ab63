import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests import mischief

from salver.backends.protocol import LoadStage
from salver.children.limits import ChildLimits, ChildSettings
from salver.children.model import ChildModel, Children, What
from salver.vocabulary.requests import Array
from salver.vocabulary.servable import ServableId

ROOT = Path(__file__).parents[3]
WAIT_S = 30.0


class World:
    """Children, and the models that the tests load into them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[str | None] = []
        self.children = Children(
            asyncio.get_running_loop(), note=lambda _id, text: self.notes.append(text)
        )
        self.models: list[ChildModel] = []
        self.ran = 0
        self.rejected = 0

    async def load(
        self,
        kind: type[mischief.Mischief] = mischief.SerialMischief,
        *,
        name: str = "m",
        load: str = "",
        stage: LoadStage | None = None,
        limits: ChildLimits | None = None,
        most_running: int = 4,
        most_queued: float = 1000,
        factor: float = 1.0,
        **settings: Any,
    ) -> ChildModel:
        base = self.path / f"{name}-{len(list(self.path.iterdir()))}"
        mischief.version(base, kind.name, load=load)
        if limits is not None:
            self.children.limit({name: limits})
        what = What(
            id=ServableId(name, 1),
            backend=kind(),
            options=mischief.Options(factor=factor),
            directory=base / "1",
            settings=ChildSettings(**settings),
            most_running=lambda: most_running,
            most_queued=lambda: most_queued,
            ran=self._ran,
            rejected=self._rejected,
        )
        given = LoadStage(id=what.id) if stage is None else stage
        model = await asyncio.to_thread(self.children.load, what, given)
        self.models.append(model)
        return model

    def _ran(self) -> None:
        self.ran += 1

    def _rejected(self) -> None:
        self.rejected += 1

    async def close(self) -> None:
        for model in self.models:
            await asyncio.to_thread(model.close)
        await asyncio.to_thread(self.children.close)


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    paths = [str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    made = World(tmp_path)
    yield made
    await made.close()


def feeds(word: str, *x: float) -> list[Array]:
    return [np.array([word.encode()], object), np.array(x or (1.0,))]


Start = Callable[..., "asyncio.Future[list[Array]]"]


def start(
    model: ChildModel, word: str, *x: float, timeout_s: float | None = WAIT_S
) -> "asyncio.Future[list[Array]]":
    """Begin a run."""
    program = model.program("serving_default")
    return program.start(feeds(word, *x), timeout_s=timeout_s, on_end=lambda: None)


async def pid_of(model: ChildModel) -> int:
    """Which process answers."""
    pids, _ = await start(model, "echo")
    return int(pids[0])


async def until(what: str, check: Callable[[], Any]) -> Any:
    """The first true value of `check`."""
    end = asyncio.get_running_loop().time() + WAIT_S
    while not (value := check()):
        assert asyncio.get_running_loop().time() < end, f"not in time: {what}"
        await asyncio.sleep(0.01)
    return value


def is_alive(pid: int) -> bool:
    """Whether there is such a process, which has not ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b") ")[2][:1] != b"Z"
    except OSError:
        return False
