import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.local_sources import local_sources
from tests.routers import answer_of
from tests.shelf import response_of

from salver.config.models import ModelConfig
from salver.config.options import ServerOptions
from salver.errors import InvalidArgument
from salver.management.core import CoreOptions, ServerCore
from salver.playground.api import make_playground
from salver.playground.page import Playground

ENABLED = ServerOptions(enable_playground=True, port=8500)


async def at_once(call: Callable[[], Any]) -> Any:
    return call()


@pytest.fixture
def core(tmp_path: Path) -> ServerCore:
    (tmp_path / "1" / "assets").mkdir(parents=True)
    (tmp_path / "1" / "assets" / "labels.txt").write_text("cat\ndog")

    def load(*_: object) -> Any:
        raise InvalidArgument("it does not load")

    return ServerCore(load, {"tensorflow"}, CoreOptions(), local_sources())


def made(core: ServerCore, options: ServerOptions) -> Playground | None:
    return make_playground(core, options, metrics_paths=("/a", "/metrics"), in_thread=at_once)


async def ask(page: Playground, target: str) -> Any:
    answer = answer_of(page.routes(), "GET", target)
    assert answer is not None
    return json.loads((await response_of(answer)).body)


def test_there_is_none_unless_it_is_enabled(core: ServerCore) -> None:
    assert made(core, ServerOptions()) is None


def test_a_labels_file_that_makes_no_sense_is_refused_either_way(core: ServerCore) -> None:
    for options in (ServerOptions(labels_file="m="), replace(ENABLED, labels_file="m=")):
        with pytest.raises(InvalidArgument):
            made(core, options)


async def test_it_tells_of_the_server(core: ServerCore) -> None:
    page = made(core, ENABLED)
    assert page is not None
    about = await ask(page, "/playground/about")
    assert (about["grpc_port"], about["metrics_path"]) == (8500, "/metrics")
    bare = make_playground(core, ENABLED, metrics_paths=(), in_thread=at_once)
    assert bare is not None
    assert (await ask(bare, "/playground/about"))["metrics_path"] == ""


async def test_it_finds_the_labels_of_the_models_that_are_configured(
    core: ServerCore, tmp_path: Path
) -> None:
    page = made(core, ENABLED)
    assert page is not None
    target = "/playground/labels?model=m&version=1"
    assert "no such model" in (await ask(page, target))["error"]
    model = ModelConfig(name="m", base_path=str(tmp_path), model_platform="tensorflow")
    core.apply((model,), is_awaited=False)
    try:
        assert await ask(page, target) == {"labels": ["cat", "dog"]}
    finally:
        core.close()
