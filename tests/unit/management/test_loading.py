import asyncio
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.shelf import FunctionModel, signature

from salver.about.config_file import MOST_INSTANCES, config_beside
from salver.backends.protocol import Backend, Capabilities, Listing, LoadStage, Match
from salver.backends.registry import Backends
from salver.backends.tensorflow.options import TensorFlowOptions
from salver.config.batching import BatchingParameters
from salver.config.model_options import LoadSettings, ModelOptions
from salver.config.models import ModelConfig
from salver.config.options import ServerOptions
from salver.config.start_up import read_configuration
from salver.errors import (
    DataLoss,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    Overloaded,
    ServingError,
    Unavailable,
)
from salver.inference.servable import Servable
from salver.instruments.served_links import PREFIX
from salver.management.loading import Loader
from salver.management.warming import Warming, service_maker
from salver.metrics.registry import Metrics
from salver.scheduling.run_pool import RunPool
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.model import InternalBatching, Merging, ModelInfo
from salver.vocabulary.requests import Array
from salver.vocabulary.servable import ServableId
from salver.warmup.replay import REQUESTS_FILE, Replay

WAIT_S = 10.0
ID = ServableId("m", 1)
X = (DataType.FLOAT32, (-1,))


def double(x: Array) -> Sequence[Array]:
    return [x * 2]


class Model:
    """Knows how often it was closed."""

    def __init__(
        self,
        batching: InternalBatching | None = None,
        function: Callable[[Array], Sequence[Array]] = double,
    ) -> None:
        self._functions = FunctionModel(
            {"serving_default": (signature({"x": X}, {"y": X}), function)}
        )
        self.signatures = self._functions.signatures
        self.definitions = self._functions.definitions
        self.graph = self._functions.graph
        self.program = self._functions.program
        self.batching = batching
        self.closings = 0

    def close(self) -> None:
        self.closings += 1


class Shelf(Backend):
    """A backend that has one model, whatever the files are."""

    name = "shelf"
    title = "Shelf"
    options = TensorFlowOptions
    capabilities = Capabilities(may_run_inline=True)

    def __init__(self) -> None:
        self.model = Model()
        self.error: ServingError | None = None
        self.stages: list[LoadStage] = []
        self.options_given: list[TensorFlowOptions] = []
        self.match = Match(files=())

    def detect(self, listing: Listing, options: TensorFlowOptions) -> Match:
        return self.match

    def load(self, directory: Path, options: TensorFlowOptions, stage: LoadStage) -> Model:
        self.stages.append(stage)
        self.options_given.append(options)
        if self.error is not None:
            raise self.error
        return self.model

    def inspect(self, directory: Path, options: TensorFlowOptions) -> ModelInfo:
        if self.error is not None:
            raise self.error
        return ModelInfo({})


@pytest.fixture
def backend(tmp_path: Path) -> Shelf:
    (tmp_path / "model").touch()
    return Shelf()


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
        describe: Callable[[ModelInfo], object] = lambda _: None,
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
            backends=Backends({"shelf": lambda: backend}),
        )

    return make


async def loaded(loader: Loader, directory: Path) -> list[float]:
    """Load a version, run it, close it."""
    servable = await asyncio.to_thread(loader, LoadSettings("tensorflow"), ID, str(directory))
    call = servable.call("serving_default")
    assert call is not None
    outputs = call.start([np.array([1.0, 2.0], np.float32)], timeout_s=10.0, on_end=lambda: None)
    if isinstance(outputs, asyncio.Future):
        outputs = await outputs
    await asyncio.to_thread(servable.close)
    await asyncio.to_thread(loader.close)
    return list(map(float, outputs[0]))


@pytest.mark.parametrize("is_batched", [False, True])
@pytest.mark.parametrize("inline_runs", ["auto", "never"])
async def test_short_runs_are_made_in_the_loop_unless_the_flag_says_never(
    make: Make, pool: RunPool, tmp_path: Path, inline_runs: str, is_batched: bool
) -> None:
    loader = make(enable_batching=is_batched, inline_runs=inline_runs)
    servable = await asyncio.to_thread(loader, LoadSettings("tensorflow"), ID, str(tmp_path))
    call = servable.call("serving_default")
    assert call is not None
    one = [np.array([1.0], np.float32)]
    # On a busy machine it may take some until one in a thread is seen to be short.
    for _ in range(50 if inline_runs == "never" else 2000):
        outputs = call.start(one, timeout_s=10.0, on_end=lambda: None)
        if isinstance(outputs, list):
            break
        await outputs
    await asyncio.to_thread(servable.close)
    await asyncio.to_thread(loader.close)
    counts = pool.run_counts["m"]
    assert (counts.inline > 0) is (inline_runs == "auto")
    assert (counts.batch > 0, counts.pool > 0) == (is_batched, not is_batched)


@pytest.mark.parametrize("is_batched", [False, True])
async def test_a_version_runs_with_and_without_batching(
    make: Make, backend: Shelf, tmp_path: Path, is_batched: bool
) -> None:
    assert await loaded(make(enable_batching=is_batched), tmp_path) == [2.0, 4.0]
    assert backend.model.closings == 1


async def test_code_is_loaded_from_trusted_paths_alone(
    make: Make, backend: Shelf, tmp_path: Path
) -> None:
    backend.match = Match(files=["model"], runs_code="a spell")
    loader = make()
    for look in (loader, lambda settings, _id, directory: loader.inspect(settings, directory)):
        with pytest.raises(FailedPrecondition, match="is a spell"):
            await asyncio.to_thread(look, LoadSettings("tensorflow"), ID, str(tmp_path))
    assert not backend.stages
    assert await loaded(make(trusted_model_paths=str(tmp_path)), tmp_path) == [2.0, 4.0]
    assert await loaded(make(typed_paths=(str(tmp_path),)), tmp_path) == [2.0, 4.0]


async def test_code_that_was_fetched_is_loaded_by_its_uri(
    make: Make, backend: Shelf, tmp_path: Path
) -> None:
    backend.match = Match(files=["model"], runs_code="a spell")
    loader = make(trusted_model_paths=f"s3://good,{tmp_path}")
    for origin in ("s3://evil/m/1", "s3://good/m/1"):
        settings = LoadSettings("tensorflow", origin=origin)
        try:
            await asyncio.to_thread(loader, settings, ID, str(tmp_path))
        except FailedPrecondition:
            assert origin == "s3://evil/m/1"
    assert len(backend.stages) == 1
    assert backend.stages[0].trusts(tmp_path / "model")


async def test_a_load_is_told_which_files_are_trusted(
    make: Make, backend: Shelf, tmp_path: Path
) -> None:
    await loaded(make(), tmp_path)
    assert not backend.stages[-1].trusts(tmp_path / "model")
    await loaded(make(trusted_model_paths=str(tmp_path / "model")), tmp_path)
    assert backend.stages[-1].trusts(tmp_path / "model")
    assert not backend.stages[-1].trusts(tmp_path / "other")


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
        lambda: loader(LoadSettings("tensorflow"), ID, str(version)),
        lambda: loader.inspect(LoadSettings("tensorflow"), str(version)),
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
    make: Make, backend: Shelf, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    is_serving = False
    replays: list[Replay] = []

    def warm(_warming: Warming, replay: Replay, *_what: object) -> None:
        replays.append(replay)

    monkeypatch.setattr(Warming, "warm", warm)
    await loaded(make(is_serving=lambda: is_serving), tmp_path)
    assert not any((backend.stages[0].is_serving(), replays[0].rests()))
    is_serving = True
    assert all((backend.stages[0].is_serving(), replays[0].rests()))


async def test_without_warmup_nobody_looks_at_the_warmup_file(make: Make, tmp_path: Path) -> None:
    (tmp_path / REQUESTS_FILE).parent.mkdir()
    (tmp_path / REQUESTS_FILE).write_bytes(b"no record " * 9)
    assert await loaded(make(enable_model_warmup=False), tmp_path) == [2.0, 4.0]


async def test_the_platforms_are_those_of_the_configuration_and_all_backends(make: Make) -> None:
    platforms = make().platforms
    assert list(platforms) == ["tensorflow", "shelf"]
    assert len(platforms) == 2
    assert "shelf" in platforms
    assert "caffe" not in platforms


async def test_an_option_that_no_backend_has_is_refused_by_its_name(
    make: Make, backend: Shelf, tmp_path: Path
) -> None:
    settings = LoadSettings("tensorflow", {"no_such_option": "1"})
    with pytest.raises(InvalidArgument, match="no_such_option"):
        await asyncio.to_thread(make(), settings, ID, str(tmp_path))


async def test_a_model_may_have_limits_of_its_own(make: Make, pool: RunPool) -> None:
    options = ModelOptions(max_concurrent_runs=1, max_queued_runs=1)
    make(enable_batching=True).limit([ModelConfig(name="m", base_path="/m", options=options)])
    may_go = threading.Event()
    lane = pool.lane("m")
    runs = [lane.submit(may_go.wait) for _ in range(2)]
    with pytest.raises(Overloaded):
        lane.submit(may_go.wait)
    may_go.set()
    assert all(run.result() for run in runs)


@pytest.mark.parametrize(
    ("capabilities", "is_merged", "threads"),
    [
        (Capabilities(may_run_inline=True), True, 0),
        (Capabilities(batches_itself=True), False, 0),
        (Capabilities(parallel_runs=False), True, 1),
    ],
)
async def test_requests_are_merged_as_the_backend_allows_it(
    capabilities: Capabilities,
    is_merged: bool,
    threads: int,
    make: Make,
    backend: Shelf,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Shelf, "capabilities", capabilities)
    caplog.set_level(logging.INFO)
    loader = make(enable_batching=True)
    servable = await asyncio.to_thread(loader, LoadSettings("tensorflow"), ID, str(tmp_path))
    call = servable.require_call("serving_default")
    answer = call.start([np.array([1.0], np.float32)], timeout_s=10.0, on_end=lambda: None)
    assert isinstance(answer, asyncio.Future)
    assert (await answer)[0].tolist() == [2.0]
    assert ("Wrapping session to perform batch processing" in caplog.messages) is is_merged
    own = [each for each in threading.enumerate() if each.name.startswith("shelf_batch_threads")]
    assert len(own) == threads
    await asyncio.to_thread(servable.close)
    await asyncio.to_thread(loader.close)


async def test_options_of_a_model_reach_its_backend_and_wrong_ones_keep_it_from_loading(
    make: Make, backend: Shelf, tmp_path: Path
) -> None:
    loader = make(saved_model_tags="a,b")
    for own, tags in (({}, ("a", "b")), ({"saved_model_tags": "c"}, ("c",))):
        loader(LoadSettings("tensorflow", own), ID, str(tmp_path)).close()
        assert backend.options_given[-1].saved_model_tags == tags
    with pytest.raises(InvalidArgument, match="There is no option tags of shelf"):
        loader(LoadSettings("tensorflow", {"tags": "c"}), ID, str(tmp_path))


async def test_beside_a_file_of_platforms_a_backend_may_be_named_and_runs_as_the_flags_say(
    make: Make, backend: Shelf, tmp_path: Path
) -> None:
    config = tmp_path / "platforms.txt"
    config.write_text(
        'platform_configs { key: "mine" value { source_adapter_config { '
        "[type.googleapis.com/tensorflow.serving.SavedModelBundleSourceAdapterConfig] { "
        'legacy_config { saved_model_tags: "gpu" } } } } }'
    )
    loader = make(platform_config_file=str(config), saved_model_tags="a")
    assert list(loader.platforms) == ["mine", "shelf"]
    for platform, tags in (("mine", ("gpu",)), ("shelf", ("a",))):
        loader(LoadSettings(platform), ID, str(tmp_path)).close()
        assert backend.options_given[-1].saved_model_tags == tags
    loader.close()


async def test_what_waits_when_the_server_gives_up_is_dropped(
    make: Make, backend: Shelf, tmp_path: Path
) -> None:
    has_begun, may_end = threading.Event(), threading.Event()

    def slowly(x: Array) -> Sequence[Array]:
        has_begun.set()
        assert may_end.wait(WAIT_S)
        return [x * 2]

    backend.model = Model(function=slowly)
    parameters = tmp_path / "batching.txt"
    parameters.write_text("num_batch_threads { value: 1 } max_batch_size { value: 1 }")
    loader = make(enable_batching=True, batching_parameters_file=str(parameters))
    servable = await asyncio.to_thread(loader, LoadSettings("tensorflow"), ID, str(tmp_path))
    call = servable.call("serving_default")
    assert call is not None
    runs, waits = (
        asyncio.ensure_future(started)
        for started in (
            call.start([np.ones(1, np.float32)], timeout_s=WAIT_S, on_end=lambda: None)
            for _ in range(2)
        )
        if isinstance(started, asyncio.Future)
    )
    assert await asyncio.to_thread(has_begun.wait, WAIT_S)
    loader.abandon()
    with pytest.raises(Unavailable):
        await waits
    assert not runs.done()
    may_end.set()
    assert (await runs)[0].tolist() == [2.0]


async def test_without_batches_there_is_nothing_to_give_up(make: Make, tmp_path: Path) -> None:
    loader = make()
    loader.abandon()
    assert await loaded(loader, tmp_path) == [2.0, 4.0]


async def most_rows(servable: Servable) -> int:
    """How many rows a request to a version may have, up to 16."""
    call = servable.require_call("serving_default")
    for count in range(16, 0, -1):
        feeds = [np.zeros(count, np.float32)]
        try:
            answer = call.start(feeds, timeout_s=WAIT_S, on_end=lambda: None)
        except InvalidArgument:
            continue
        if isinstance(answer, asyncio.Future):
            await answer
        return count
    return 0


def own(max_batch_size: int) -> ModelConfig:
    batching = BatchingParameters(max_batch_size=max_batch_size)
    return ModelConfig(name="m", base_path="/m", options=ModelOptions(batching=batching))


async def test_a_models_own_batching_counts_before_the_servers_and_as_it_changes(
    make: Make, tmp_path: Path
) -> None:
    loader = make(enable_batching=True)
    loader.limit([own(4)])
    servable = await asyncio.to_thread(loader, LoadSettings("tensorflow"), ID, str(tmp_path))
    assert await most_rows(servable) == 4
    loader.limit([own(8)])
    assert await most_rows(servable) == 8
    assert servable.report().merging == Merging(max_batch_size=8, delay_micros=0)
    loader.limit([ModelConfig(name="m", base_path="/m")])
    assert await most_rows(servable) == 16
    await asyncio.to_thread(servable.close)
    loader.limit([own(2)])  # of what is unloaded nothing is left to change
    assert not loader._own_batching._versions
    await asyncio.to_thread(loader.close)


async def test_without_batching_a_models_own_does_nothing_and_a_line_says_so(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loader = make()
    loader.limit([own(4)])
    servable = await asyncio.to_thread(loader, LoadSettings("tensorflow"), ID, str(tmp_path))
    assert await most_rows(servable) == 16
    assert "salver.batching of model m does nothing without --enable_batching" in caplog.messages
    await asyncio.to_thread(servable.close)
    await asyncio.to_thread(loader.close)


async def test_a_load_that_fails_leaves_no_batching_behind(make: Make, tmp_path: Path) -> None:
    def refuse(_info: ModelInfo) -> None:
        raise InvalidArgument("no")

    loader = make(refuse, enable_batching=True)
    with pytest.raises(InvalidArgument):
        await asyncio.to_thread(loader, LoadSettings("tensorflow"), ID, str(tmp_path))
    assert not loader._own_batching._versions
    await asyncio.to_thread(loader.close)


# -- a config.pbtxt beside the version -------------------------------------------------------------


@pytest.fixture
def version(tmp_path: Path) -> Path:
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "model").touch()
    return tmp_path / "m" / "1"


async def test_a_file_beside_a_version_has_its_requests_merged(
    make: Make, backend: Shelf, version: Path
) -> None:
    (version.parent / "config.pbtxt").write_text(
        "max_batch_size: 8 instance_group [ { count: 2 } ]\n"
        "dynamic_batching { preferred_batch_size: [ 2, 4 ] max_queue_delay_microseconds: 100 }"
    )
    loader = make()
    servable = await asyncio.to_thread(loader, LoadSettings("tensorflow"), ID, str(version))
    assert servable.info.backend == "shelf"
    assert servable.report().merging == Merging(
        max_batch_size=8, delay_micros=100, preferred_batch_sizes=(2, 4)
    )
    call = servable.require_call("serving_default")
    feeds = [np.arange(8, dtype=np.float32)]
    answer = call.start(feeds, timeout_s=10.0, on_end=lambda: None)
    assert isinstance(answer, asyncio.Future)
    outputs = await asyncio.wait_for(answer, WAIT_S)
    assert outputs[0].tolist() == (feeds[0] * 2).tolist()
    own = [each for each in threading.enumerate() if each.name.startswith("shelf_batch_threads")]
    assert len(own) == 2
    await asyncio.to_thread(servable.close)
    await asyncio.to_thread(loader.close)


@pytest.mark.parametrize("is_merging", [False, True])
async def test_a_request_with_more_rows_than_a_file_allows_is_refused(
    make: Make, version: Path, is_merging: bool
) -> None:
    text = "max_batch_size: 1" if not is_merging else "max_batch_size: 2 dynamic_batching {}"
    (version.parent / "config.pbtxt").write_text(text)
    loader, ended = make(), []
    servable = await asyncio.to_thread(loader, LoadSettings("tensorflow"), ID, str(version))
    call = servable.require_call("serving_default")
    most = 1 + is_merging
    with pytest.raises(InvalidArgument) as raised:
        call.start([np.zeros(most + 1, np.float32)], timeout_s=10.0, on_end=lambda: ended.append(1))
    assert raised.value.message == f"inference request batch-size must be <= {most} for 'm'"
    assert ended == [1]
    await asyncio.to_thread(servable.close)
    await asyncio.to_thread(loader.close)


async def test_the_servers_own_batching_goes_before_a_file_beside_a_version(
    make: Make, version: Path
) -> None:
    (version.parent / "config.pbtxt").write_text("max_batch_size: 8 dynamic_batching {}")
    loader = make(enable_batching=True)
    servable = await asyncio.to_thread(loader, LoadSettings("tensorflow"), ID, str(version))
    merging = servable.report().merging
    assert merging is not None
    assert merging.max_batch_size == 1000
    await asyncio.to_thread(servable.close)
    await asyncio.to_thread(loader.close)


async def test_instances_of_a_file_are_the_runs_at_a_time_where_nothing_else_says(
    make: Make, pool: RunPool, version: Path
) -> None:
    (version.parent / "config.pbtxt").write_text("instance_group { count: 1 }")
    settings, lane = LoadSettings("tensorflow"), pool.lane("m")
    loader = make()
    loader.limit([ModelConfig(name="m", base_path="/m")])
    await asyncio.to_thread(loader, settings, ID, str(version))
    assert lane.most_running == 1
    loader.limit(
        [ModelConfig(name="m", base_path="/m", options=ModelOptions(max_concurrent_runs=2))]
    )
    assert lane.most_running == 2
    loader.limit([ModelConfig(name="m", base_path="/m")])
    (version.parent / "config.pbtxt").unlink()
    await asyncio.to_thread(loader, settings, ID, str(version))
    assert lane.most_running > 1


async def test_what_of_a_file_is_not_obeyed_is_named_in_one_line(
    make: Make, version: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    (version.parent / "config.pbtxt").write_text(
        "model_warmup { name: 'w' } optimization {} instance_group { count: 1 gpus: [0] } "
        "model_warmup { name: 'v' } dynamic_batching { priority_levels: 2 }"
    )
    await loaded(make(), version)
    (line,) = [line for line in caplog.messages if "not obeyed" in line]
    assert line.endswith(
        "config.pbtxt are not obeyed: model_warmup, optimization, "
        "dynamic_batching.priority_levels, instance_group.gpus"
    )


@pytest.mark.parametrize(
    "text",
    ["{{{", "max_batch_size: -1", "instance_group { count: 0 }", "max_batch_size: 'x'",
     "max_batch_size: 2 dynamic_batching { preferred_batch_size: 4 }", "dynamic_batching: 3"],
)  # fmt: skip
async def test_a_file_that_is_wrong_keeps_no_model_from_being_served(
    make: Make, version: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    (version.parent / "config.pbtxt").write_text(text)
    assert await loaded(make(), version) == [2.0, 4.0]
    assert "What is beside {name: m version: 1} is not obeyed" in caplog.text


async def test_nobody_gets_many_processes_by_a_file(version: Path) -> None:
    (version.parent / "config.pbtxt").write_text("instance_group { count: 100000 }")
    config = config_beside(version)
    assert config is not None
    assert config.instances == MOST_INSTANCES


async def test_a_model_without_rows_is_not_merged(
    make: Make, backend: Shelf, version: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backend.model.signatures = {
        "serving_default": signature({"x": (DataType.FLOAT32, (2,))}, {"y": X})
    }
    (version.parent / "config.pbtxt").write_text("max_batch_size: 8 dynamic_batching {}")
    assert await loaded(make(), version) == [2.0, 4.0]
    assert "dynamic_batching" in caplog.text
