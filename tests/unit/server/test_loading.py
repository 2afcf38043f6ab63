import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.shelf import FunctionModel, signature

from salver.backends.registry import BackendOptions, InternalBatching
from salver.batching.run_pool import RunPool
from salver.config.options import ServerOptions
from salver.config.start_up import read_configuration
from salver.dtypes import DataType
from salver.errors import DataLoss, Internal, InvalidArgument, ServingError
from salver.metrics.registry import Metrics
from salver.requests import Array
from salver.servable import ServableId
from salver.served_links import PREFIX
from salver.server.loading import Loader
from salver.server.warming import Warming, service_maker
from salver.warmup.replay import REQUESTS_FILE, Replay

ID = ServableId("m", 1)
X = (DataType.FLOAT, (-1,))


def double(x: Array) -> Sequence[Array]:
    return [x * 2]


class Model:
    """Knows how often it was closed."""

    def __init__(self, internal_batching: InternalBatching | None = None) -> None:
        self._functions = FunctionModel(
            {"serving_default": (signature({"x": X}, {"y": X}), double)}
        )
        self.signatures = self._functions.signatures
        self.signature_def_map = self._functions.signature_def_map
        self.program = self._functions.program
        self.internal_batching = internal_batching
        self.closings = 0

    def close(self) -> None:
        self.closings += 1


class Shelf:
    """A backend that has one model."""

    def __init__(self) -> None:
        self.model = Model()
        self.error: ServingError | None = None

    def load(self, directory: str, id: ServableId | None = None) -> Model:
        if self.error is not None:
            raise self.error
        return self.model

    def inspect(self, directory: str) -> bytes | None:
        if self.error is not None:
            raise self.error
        return b""

    def stop(self) -> None:
        pass


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    shelf = Shelf()

    def open_backend(platform: str, options: BackendOptions) -> Shelf:
        return shelf

    monkeypatch.setattr("salver.server.loading.open_backend", open_backend)
    return shelf


@pytest.fixture
def pool() -> Iterator[RunPool]:
    made = RunPool(2)
    yield made
    made.close()


Make = Callable[..., Loader]


@pytest.fixture
async def make(backend: Shelf, pool: RunPool) -> Make:
    loop = asyncio.get_running_loop()

    async def in_pool(call: Callable[[], Any], size: int = 0) -> Any:
        return await asyncio.wrap_future(pool.submit(call))

    def make(
        describe: Callable[[bytes], object] = lambda _: None,
        is_serving: Callable[[], bool] = lambda: True,
        **flags: object,
    ) -> Loader:
        options = replace(
            ServerOptions(port=1, model_name="m", model_base_path="/m"),
            **flags,  # type: ignore[arg-type]
        )
        return Loader(
            read_configuration(options),
            pool,
            warming=Warming(service_maker(options, in_pool), loop),
            metrics=Metrics(lambda _: True),
            describe=describe,
            is_serving=is_serving,
        )

    return make


async def loaded(loader: Loader, directory: Path) -> list[float]:
    """Load a version, run it, close it."""
    servable = await asyncio.to_thread(loader, "tensorflow", ID, str(directory))
    call = servable.call("serving_default")
    assert call is not None
    outputs = call.start([np.array([1.0, 2.0], np.float32)], timeout_s=10.0, on_end=lambda: None)
    if isinstance(outputs, asyncio.Future):
        outputs = await outputs
    await asyncio.to_thread(servable.close)
    await asyncio.to_thread(loader.close)
    return list(map(float, outputs[0]))


@pytest.mark.parametrize("is_batched", [False, True])
async def test_a_version_runs_with_and_without_batching(
    make: Make, backend: Shelf, tmp_path: Path, is_batched: bool
) -> None:
    assert await loaded(make(enable_batching=is_batched), tmp_path) == [2.0, 4.0]
    assert backend.model.closings == 1


async def test_a_model_that_batches_by_itself_is_batched_by_its_own_rules(
    make: Make, backend: Shelf, tmp_path: Path
) -> None:
    rules = InternalBatching(
        max_batch_size=1, max_execution_batch_size=1, max_enqueued_batches=5, num_batch_threads=1
    )
    backend.model = Model(rules)
    with pytest.raises(InvalidArgument, match="Task size 2 is larger"):
        await loaded(make(), tmp_path)
    backend.model = Model(replace(rules, max_batch_size=2))
    assert await loaded(make(), tmp_path) == [2.0, 4.0]
    assert backend.model.closings == 1


async def test_a_version_whose_parameters_are_wrong_does_not_load_and_is_closed(
    make: Make, backend: Shelf, tmp_path: Path
) -> None:
    (tmp_path / "batching_params.pbtxt").write_text("max_batch_size { value: 0 }")
    loader = make(enable_batching=True, enable_per_model_batching_parameters=True)
    with pytest.raises(InvalidArgument, match="input_batch_size_limit must be positive; was 0"):
        await loaded(loader, tmp_path)
    assert backend.model.closings == 1


async def test_an_error_names_the_path_that_was_given(
    make: Make, backend: Shelf, tmp_path: Path
) -> None:
    version = tmp_path / f"{PREFIX}x" / "1"
    version.parent.mkdir()
    version.symlink_to("/home/you/net")
    backend.error = DataLoss(f"Can't parse {version}/saved_model.pb")
    loader = make()
    for attempt in (
        lambda: loader("tensorflow", ID, str(version)),
        lambda: loader.inspect("tensorflow", str(version)),
    ):
        with pytest.raises(DataLoss) as caught:
            await asyncio.to_thread(attempt)
        assert caught.value.message == "Can't parse /home/you/net/saved_model.pb"


async def test_a_version_that_cannot_be_described_is_closed(
    make: Make, backend: Shelf, tmp_path: Path
) -> None:
    def refuse(_: bytes) -> None:
        raise Internal("no")

    with pytest.raises(Internal, match="no"):
        await loaded(make(refuse), tmp_path)
    assert backend.model.closings == 1


async def test_a_version_whose_warmup_fails_is_closed(
    make: Make, backend: Shelf, tmp_path: Path
) -> None:
    (tmp_path / REQUESTS_FILE).parent.mkdir()
    (tmp_path / REQUESTS_FILE).write_bytes(b"no record " * 9)
    with pytest.raises(DataLoss):
        await loaded(make(), tmp_path)
    assert backend.model.closings == 1


async def test_a_load_is_told_whether_anybody_is_served(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    is_serving = False
    told: list[BackendOptions] = []
    replays: list[Replay] = []

    def open_backend(platform: str, options: BackendOptions) -> Shelf:
        told.append(options)
        return Shelf()

    def warm(_warming: Warming, replay: Replay, *_what: object) -> None:
        replays.append(replay)

    monkeypatch.setattr("salver.server.loading.open_backend", open_backend)
    monkeypatch.setattr(Warming, "warm", warm)
    await loaded(make(is_serving=lambda: is_serving), tmp_path)
    assert not any((told[0].is_serving(), replays[0].rests()))
    is_serving = True
    assert all((told[0].is_serving(), replays[0].rests()))


async def test_without_warmup_nobody_looks_at_the_warmup_file(make: Make, tmp_path: Path) -> None:
    (tmp_path / REQUESTS_FILE).parent.mkdir()
    (tmp_path / REQUESTS_FILE).write_bytes(b"no record " * 9)
    assert await loaded(make(enable_model_warmup=False), tmp_path) == [2.0, 4.0]


async def test_the_platforms_are_those_of_the_configuration(make: Make) -> None:
    assert make().platforms == ("tensorflow",)


async def test_what_waits_when_the_server_gives_up_is_dropped(make: Make) -> None:
    make(enable_batching=True).abandon()
    make().abandon()
