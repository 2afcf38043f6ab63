import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, cast

import pytest

from salver.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    ServingError,
    Unavailable,
    Unknown,
)
from salver.lifecycle.callers import Caller
from salver.lifecycle.monitor import VersionState, VersionStatus
from salver.oip.repository import Repository
from salver.protocols.api import Models
from salver.vocabulary.servable import ServableId

WAIT_S = 10


class Kept:
    """Models whose states the test sets."""

    def __init__(self) -> None:
        self.states: dict[str, list[VersionStatus]] = {"m": [], "n": []}
        self.set: list[tuple[str, bool]] = []
        self.error: ServingError | None = None
        self.callers: list[Caller] = []
        self.began = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def model_names(self) -> Sequence[str]:
        return tuple(self.states)

    def statuses(self, name: str) -> Sequence[VersionStatus]:
        if not self.states[name]:
            raise NotFound("none was ever seen")
        return self.states[name]

    def problem(self, name: str) -> str | None:
        return f"no {name} on disk" if name == "n" else None

    def set_loaded(self, name: str, *, is_loaded: bool, caller: Caller) -> None:
        self.set.append((name, is_loaded))
        self.callers.append(caller)
        self.began.set()
        assert self.gate.wait(WAIT_S)
        if self.error is not None:
            raise self.error


def in_control(call: Callable[[], Any]) -> Awaitable[Any]:
    return asyncio.to_thread(call)


@pytest.fixture
def models() -> Kept:
    return Kept()


def repository_of(models: Kept, *, is_explicit: bool = True) -> Repository:
    return Repository(cast("Models", models), in_control, is_explicit=is_explicit)


def status(version: int, state: VersionState, error: ServingError | None = None) -> VersionStatus:
    return VersionStatus(ServableId("m", version), state, error)


def test_the_index_has_all_versions_with_their_states_and_reasons(models: Kept) -> None:
    models.states["m"] = [
        status(6, VersionState.START),
        status(5, VersionState.LOADING),
        status(4, VersionState.AVAILABLE),
        status(3, VersionState.UNLOADING),
        status(2, VersionState.END, NotFound("no file")),
        status(1, VersionState.END),
    ]
    repository = repository_of(models)
    told = [(e.get("version"), e["state"], e["reason"]) for e in repository.index()]
    assert told == [
        ("1", "UNAVAILABLE", "unloaded"),
        ("2", "UNAVAILABLE", "no file"),
        ("3", "UNLOADING", ""),
        ("4", "READY", ""),
        ("5", "LOADING", ""),
        ("6", "LOADING", ""),
        (None, "UNAVAILABLE", "no n on disk"),
    ]
    (ready,) = repository.index(is_ready_only=True)
    assert (ready["name"], ready["version"]) == ("m", "4")
    assert repository.names() == ["m", "n"]


async def test_a_load_and_an_unload_are_the_cores_to_do(models: Kept) -> None:
    repository = repository_of(models)
    await repository.load("m")
    await repository.unload("m", ["unload_dependents"])
    assert models.set == [("m", True), ("m", False)]


async def test_without_permission_nothing_is_done(models: Kept) -> None:
    repository = repository_of(models, is_explicit=False)
    for act in (repository.load, repository.unload):
        with pytest.raises(Unavailable, match="explicit model load / unload is not allowed"):
            await act("m")
    assert models.set == []


@pytest.mark.parametrize("name", ["config", "file:1/model.onnx", "max_batch_size"])
async def test_what_is_brought_along_is_refused(models: Kept, name: str) -> None:
    repository = repository_of(models)
    for act in (repository.load, repository.unload):
        with pytest.raises(InvalidArgument, match=f"parameter '{name}' is not supported"):
            await act("m", [name])
    assert models.set == []


async def test_a_model_that_is_not_configured_is_refused_in_tritons_words(models: Kept) -> None:
    with pytest.raises(NotFound) as raised:
        await repository_of(models).load("other")
    assert raised.value.message == "failed to load 'other', failed to poll from model repository"
    with pytest.raises(NotFound) as raised:
        await repository_of(models).unload("other")
    assert raised.value.message == "failed to unload 'other', failed to poll from model repository"
    assert models.set == []


async def test_a_load_that_fails_tells_of_each_version(models: Kept) -> None:
    models.states["m"] = [status(2, VersionState.END, NotFound("no file"))]
    models.error = Unknown("1 model(s) did not become available")
    with pytest.raises(InvalidArgument) as raised:
        await repository_of(models).load("m")
    assert raised.value.message == (
        "load failed for model 'm': version 2 is at UNAVAILABLE state: no file;"
    )


async def test_a_model_without_versions_is_told_as_triton_does(models: Kept) -> None:
    models.error = NotFound("No version of model m is there")
    with pytest.raises(FailedPrecondition) as raised:
        await repository_of(models).load("m")
    assert raised.value.message == "failed to load 'm', no version is available"


async def test_who_leaves_is_waited_for_no_more(models: Kept) -> None:
    models.gate.clear()
    loading = asyncio.ensure_future(repository_of(models).load("m"))
    await asyncio.to_thread(models.began.wait, WAIT_S)
    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading
    assert models.callers[0].has_left
    models.gate.set()


async def test_only_so_many_wait_at_a_time(models: Kept) -> None:
    models.gate.clear()
    repository = repository_of(models)
    waiting = [asyncio.ensure_future(repository.load("m")) for _ in range(16)]
    await asyncio.sleep(0)
    with pytest.raises(ResourceExhausted):
        await repository.load("m")
    models.gate.set()
    await asyncio.gather(*waiting)
    await repository.load("m")


def test_the_states_are_all_there_are() -> None:
    from salver.oip import repository

    states: Mapping[VersionState, str] = repository._STATES
    assert set(states) == set(VersionState)
