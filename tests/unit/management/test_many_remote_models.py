"""Thousands of models in a store, loaded when they are asked for."""

import logging
import os
import resource
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from tests.unit.management.test_lazy import INFO, Loader

from salver.config.models import ModelConfig
from salver.config.options import ServerOptions
from salver.instruments.cache import Cache
from salver.instruments.files import Footprint
from salver.lifecycle.loader import LoadOptions
from salver.lifecycle.placeholders import NotLoaded
from salver.management.core import CoreOptions, ServerCore
from salver.management.lazy import LazyModels
from salver.sources.by_scheme import Sources
from salver.sources.file_system import FileSystem
from salver.sources.protocol import Fetcher, Found, MonitoredServable, Stage, Version
from salver.vocabulary.requests import ServableRequest

COUNT = int(os.environ.get("SALVER_MANY_MODELS", "400"))
SIZE_BYTES = 1000
MAX_BYTES = 7 * SIZE_BYTES  # with what the cache notes about them, five
WAIT_S = 300.0


_log = logging.getLogger(__name__)


class Many:
    """A store with a version of whatever model it is asked for."""

    poll_wait_s = 0.5
    can_resume = False

    def __init__(self) -> None:
        self.polls = 0
        self.fetched: list[str] = []
        self._found: dict[str, Mapping[int, Version]] = {}

    @property
    def fetcher(self) -> Fetcher:
        return self

    def find(self, servables: Sequence[MonitoredServable]) -> Iterator[Found]:
        self.polls += 1
        for servable in servables:
            if servable.name not in self._found:
                version = Version(f"{servable.base_path}/1", Footprint(1, SIZE_BYTES, 0, 0))
                self._found[servable.name] = {1: version}
            yield servable, self._found[servable.name]

    def fetch(self, version: Version, into: Path, stage: Stage) -> None:
        self.fetched.append(version.location)
        (into / "saved_model.pb").write_bytes(bytes(SIZE_BYTES))
        stage.progress(SIZE_BYTES)


class Bench:
    def __init__(self, cache: Path) -> None:
        self.store = Many()
        self.loader = Loader()
        sources = Sources(
            FileSystem(3600),
            lambda: Cache(cache, max_bytes=MAX_BYTES),
            is_watching=False,
            make=lambda _scheme: self.store,
        )
        options = ServerOptions(max_loaded_models=2)
        self.lazy = LazyModels(self.loader, options, fetcher=sources, look=sources.look)
        self.core = ServerCore(
            self.lazy, ["tensorflow"], CoreOptions(LoadOptions()), sources, lazy=self.lazy
        )
        self.names = [f"m{number}" for number in range(COUNT)]

    def configure(self) -> None:
        models = [
            ModelConfig(name=n, base_path=f"many://bucket/{n}", model_platform="tensorflow")
            for n in self.names
        ]
        self.core.apply(tuple(models), is_awaited=False)
        assert self.core.wait_until_settled(self.names, WAIT_S)

    def ask(self, name: str) -> None:
        request = ServableRequest(name)
        try:
            self.core.acquire(request).release()
        except NotLoaded as not_loaded:
            with not_loaded.claim() as claim:
                claim.loading.result(WAIT_S)
                self.core.acquire(request).release()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path / "cache")
    yield bench
    assert bench.core.close(WAIT_S)


def test_none_is_fetched_before_it_is_asked_for_and_memory_and_disk_are_bounded(
    bench: Bench, tmp_path: Path
) -> None:
    begun_s, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
    bench.configure()
    ready_s = time.monotonic() - begun_s
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert bench.store.fetched == []
    assert not (tmp_path / "cache").exists()
    per_model = (after.ru_maxrss - before.ru_maxrss) * 1024 / COUNT
    _log.info("%d models ready in %.1f s, %d bytes each", COUNT, ready_s, per_model)
    assert per_model < 100_000
    assert INFO is bench.loader.info
    for name in bench.names[:12]:
        bench.ask(name)
        assert bench.lazy.residency.counts.resident <= 2
    assert len(bench.store.fetched) == 12
    entries = Cache(tmp_path / "cache").entries()
    assert sum(entry.size_bytes for entry in entries) <= MAX_BYTES
    bench.ask(bench.names[11])
    bench.ask(bench.names[9])  # out of memory by now, and on the disk still
    assert len(bench.store.fetched) == 12
    bench.ask(bench.names[0])
    assert len(bench.store.fetched) == 13


def test_polls_that_find_nothing_new_cost_little(bench: Bench) -> None:
    bench.configure()
    polls, begun_s = bench.store.polls, time.process_time()
    until_s = time.monotonic() + WAIT_S
    while bench.store.polls < polls + 4 and time.monotonic() < until_s:
        bench.core.wait_until_settled(["none"], 0.1)
    cpu_s = (time.process_time() - begun_s) / 4
    _log.info("%.1f ms of CPU for a poll of %d models", cpu_s * 1000, COUNT)
    # At the default pause of a minute, 1 % of a core would be 0.6 s.
    assert cpu_s < 0.6
