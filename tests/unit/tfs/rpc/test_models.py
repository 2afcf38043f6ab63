import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf import text_format
from tests.messages import method_types, spec
from tests.shelf import HALF_PLUS_TWO, WAIT_S, Shelf, cancelled, response_of

from salver._pb import POOL, message_class
from salver.config.model_options import ModelOptions
from salver.config.models import ModelConfig
from salver.errors import (
    Code,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    ServingError,
)
from salver.lifecycle.callers import Caller
from salver.lifecycle.monitor import VersionState
from salver.protocols.methods import Call
from salver.tfs.rpc.models import ModelService
from salver.vocabulary.servable import All, Latest, Specific

SERVICE = "/tensorflow.serving.ModelService/"
STATUS = "GetModelStatus"
RELOAD = "HandleReloadConfigRequest"
ONLY_A_LIST = (
    "ServerModelConfig type not supported by HandleReloadConfigRequest. "
    "Only ModelConfigList is currently supported"
)


class Control:
    """Presence configurations are applied: notes them, and does it when told to."""

    def __init__(self) -> None:
        self.applied: list[tuple[ModelConfig, ...]] = []
        self.callers: list[Caller] = []
        self.errors: list[Exception] = []
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()
        self.running = 0

    async def in_control(self, call: Callable[[], Any]) -> Any:
        assert not self.running
        self.running += 1
        try:
            await self.may_go_on.wait()
            return call()
        finally:
            self.running -= 1

    def apply(self, models: tuple[ModelConfig, ...], *, caller: Caller) -> None:
        self.applied.append(models)
        self.callers.append(caller)
        if self.errors:
            raise self.errors.pop()


class Client:
    """Asks the service by messages."""

    def __init__(self, shelf: Shelf) -> None:
        self.control = Control()
        self.totals: dict[str, int] = {}
        self._table = ModelService(
            shelf,
            self.control.apply,
            self.control.in_control,
            totals=lambda: dict(self.totals),
        ).methods()

    def begin(self, name: str, **request: Any) -> Any:
        request_type, _ = method_types(SERVICE + name)
        return self.send(name, request_type(**request).SerializeToString())

    def send(self, name: str, data: bytes) -> Any:
        method = self._table[SERVICE + name]
        assert callable(method)
        return method(data, Call(-1.0))  # neither call has a deadline

    async def __call__(self, name: str, **request: Any) -> Any:
        _, response_type = method_types(SERVICE + name)
        return response_type.FromString(await response_of(self.begin(name, **request)))


@pytest.fixture
async def client(shelf: Shelf) -> Client:
    return Client(shelf)


async def refused(answer: Any) -> tuple[Code, str]:
    with pytest.raises(ServingError) as raised:
        await answer
    return raised.value.code, raised.value.message


# -- GetModelStatus --------------------------------------------------------------------------------


def reported(response: Any) -> list[tuple[int, int, int, str]]:
    for entry in response.model_version_status:
        assert entry.HasField("status")
    return [
        (entry.version, entry.state, entry.status.error_code, entry.status.error_message)
        for entry in response.model_version_status
    ]


@pytest.mark.parametrize("wanted", [spec("m"), spec("m", label="any"), spec("m", "signature")])
async def test_all_versions_are_told_highest_first_and_a_label_is_ignored(
    shelf: Shelf, client: Client, wanted: Any
) -> None:
    shelf.put("m", 7, HALF_PLUS_TWO)
    shelf.publish("m", 8, VersionState.LOADING)
    shelf.publish("m", 6, VersionState.END)
    shelf.publish("m", 5, VersionState.END, NotFound("gone"))
    shelf.publish("m", 4, VersionState.UNLOADING)
    shelf.publish("m", 3, VersionState.START)
    assert reported(await client(STATUS, model_spec=wanted)) == [
        (8, 20, 0, ""),
        (7, 30, 0, ""),
        (6, 50, 0, ""),
        (5, 50, 5, "gone"),
        (4, 40, 0, ""),
        (3, 10, 0, ""),
    ]


async def test_one_version_is_told_alone(shelf: Shelf, client: Client) -> None:
    for version in (0, 7):
        shelf.put("m", version, HALF_PLUS_TWO)
    for version in (0, 7):
        response = await client(STATUS, model_spec=spec("m", version=version))
        assert reported(response) == [(version, 30, 0, "")]


async def test_status_of_nothing_is_refused(client: Client) -> None:
    assert await refused(client(STATUS)) == (Code.INVALID_ARGUMENT, "Missing ModelSpec")
    for name in ("", "nope"):
        assert await refused(client(STATUS, model_spec=spec(name))) == (
            Code.NOT_FOUND,
            f"Could not find any versions of model {name}",
        )


@pytest.mark.parametrize("name", [STATUS, RELOAD])
async def test_bytes_that_are_no_message_are_refused(client: Client, name: str) -> None:
    with pytest.raises(Internal):
        await client.send(name, b"\xff")


# -- HandleReloadConfigRequest ---------------------------------------------------------------------


def config_of(*models: dict[str, Any]) -> Any:
    made = message_class("tensorflow.serving.ModelServerConfig")()
    made.model_config_list.SetInParent()
    for model in models:
        made.model_config_list.config.add(**model)
    return made


ONE = {"name": "m", "base_path": "/models/m", "model_platform": "tensorflow"}


async def test_a_list_of_models_is_applied(client: Client) -> None:
    config = config_of(
        {**ONE, "version_labels": {"stable": 3, "canary": 4}},
        {"name": "n", "base_path": "/n", "model_type": 1},
        {"name": "o", "base_path": "/o"},
    )
    listed = config.model_config_list.config
    listed[0].model_version_policy.specific.versions.extend([3, 4])
    listed[1].model_version_policy.all.SetInParent()
    response = await client(RELOAD, config=config)
    assert response.HasField("status")
    assert (response.status.error_code, response.status.error_message) == (0, "")
    assert not response.metric
    assert client.control.applied == [
        (
            ModelConfig(
                name="m",
                base_path="/models/m",
                model_platform="tensorflow",
                version_policy=Specific((3, 4)),
                names_versions=True,
                version_labels={"canary": 4, "stable": 3},
            ),
            ModelConfig(
                name="n",
                base_path="/n",
                model_type=1,
                version_policy=All(),
                names_versions=True,
            ),
            ModelConfig(name="o", base_path="/o", version_policy=Latest(1)),
        )
    ]


async def test_a_list_without_models_is_applied(client: Client) -> None:
    await client(RELOAD, config=config_of())
    assert client.control.applied == [()]


async def test_each_model_is_logged(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "salver.tfs.rpc.models")
    await client(RELOAD, config=config_of(ONE, {"name": "n", "base_path": "/n"}))
    assert caplog.messages == [
        "\nConfig entry\n\tindex : 0\n\tpath : /models/m\n\tname : m\n\tplatform : tensorflow",
        "\nConfig entry\n\tindex : 1\n\tpath : /n\n\tname : n\n\tplatform : ",
    ]


async def test_of_a_long_list_only_the_first_models_are_logged(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "salver.tfs.rpc.models")
    await client(RELOAD, config=config_of(*[{**ONE, "name": f"m{i}"} for i in range(103)]))
    assert len(caplog.messages) == 101
    assert "index : 99" in caplog.messages[-2]
    assert caplog.messages[-1] == "and 3 more config entries"
    assert len(client.control.applied[0]) == 103


async def test_a_list_that_is_wrong_is_not_logged(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "salver.tfs.rpc.models")
    text = "Illegal to list model m multiple times in config list"
    answer = client(RELOAD, config=config_of(ONE, ONE))
    assert await refused(answer) == (Code.INVALID_ARGUMENT, text)
    assert caplog.messages == [f"ReloadConfig failed: {text}"]
    assert not client.control.applied


def custom() -> Any:
    made = message_class("tensorflow.serving.ModelServerConfig")()
    made.custom_model_config.SetInParent()
    return made


@pytest.mark.parametrize("config", [None, {}, custom()], ids=["none", "empty", "custom"])
async def test_what_is_no_list_of_models_is_refused(
    client: Client, config: Any, caplog: pytest.LogCaptureFixture
) -> None:
    answer = client(RELOAD, **({} if config is None else {"config": config}))
    assert await refused(answer) == (Code.INVALID_ARGUMENT, ONLY_A_LIST)
    assert caplog.messages == [f"ReloadConfig failed: {ONLY_A_LIST}"]
    assert not client.control.applied


async def test_a_configuration_that_fails_fails_the_call(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    client.control.errors.append(FailedPrecondition("not now"))
    answer = client(RELOAD, config=config_of(ONE), metric_names=["/any"])
    assert await refused(answer) == (Code.FAILED_PRECONDITION, "not now")
    assert caplog.messages == ["ReloadConfig failed: not now"]


async def test_metrics_that_are_not_known_have_not_grown(client: Client) -> None:
    names = ["/tensorflow/serving/request_count", "/other", "/tensorflow/serving/request_count"]
    response = await client(RELOAD, config=config_of(), metric_names=names)
    assert [(metric.name, metric.int64_value_increase) for metric in response.metric] == [
        ("/tensorflow/serving/request_count", 0),
        ("/other", 0),
    ]
    assert all(metric.HasField("int64_value_increase") for metric in response.metric)


async def test_metrics_have_grown_by_what_was_counted_while_the_configuration_was_applied(
    client: Client,
) -> None:
    client.totals.update({"/a": 5, "/c": 1})
    client.control.may_go_on.clear()
    task = asyncio.ensure_future(client(RELOAD, config=config_of(ONE), metric_names=["/a", "/b"]))
    await turns()
    client.totals.update({"/a": 12, "/b": 2, "/c": 9})
    client.control.may_go_on.set()
    response = await task
    assert [(metric.name, metric.int64_value_increase) for metric in response.metric] == [
        ("/a", 7),
        ("/b", 2),
    ]


async def test_the_call_lasts_until_the_configuration_is_applied(client: Client) -> None:
    client.control.may_go_on.clear()
    task = asyncio.ensure_future(client(RELOAD, config=config_of(ONE)))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    client.control.may_go_on.set()
    assert (await task).status.error_code == 0


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("error", "logged"),
    [
        (None, []),
        (InvalidArgument("wrong"), ["ReloadConfig failed: wrong"]),
        (RuntimeError("broken"), ["ReloadConfig failed"]),
    ],
)
async def test_what_a_client_asked_for_is_done_when_it_has_left(
    client: Client, error: Exception | None, logged: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    client.control.may_go_on.clear()
    client.control.errors += [error] if error is not None else []
    task = asyncio.ensure_future(client(RELOAD, config=config_of(ONE)))
    await turns()
    await cancelled(task)
    client.control.may_go_on.set()
    await turns()
    assert len(client.control.applied) == 1
    assert caplog.messages == logged
    if isinstance(error, RuntimeError):
        assert caplog.records[0].exc_info is not None
        assert caplog.records[0].exc_info[1] is error


async def test_what_fails_unexpectedly_fails_the_call_and_the_next_one_has_its_turn(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    client.control.errors.append(RuntimeError("broken"))
    with pytest.raises(RuntimeError):
        await client(RELOAD, config=config_of(ONE))
    assert not caplog.messages  # whoever answers the call tells of it
    await client(RELOAD, config=config_of(ONE))
    assert len(client.control.applied) == 2


def named(name: str) -> Any:
    return config_of({**ONE, "name": name})


async def test_one_configuration_is_applied_at_a_time_in_the_order_in_which_they_came(
    client: Client,
) -> None:
    client.control.may_go_on.clear()
    tasks = [asyncio.ensure_future(client(RELOAD, config=named(name))) for name in "abc"]
    await turns()
    assert client.control.running == 1
    client.control.may_go_on.set()
    await asyncio.gather(*tasks)
    assert [models[0].name for models in client.control.applied] == ["a", "b", "c"]


async def test_the_next_configuration_has_its_turn_once_the_one_before_waits_for_models(
    shelf: Shelf,
) -> None:
    applied: list[str] = []
    callers: list[Caller] = []
    gate = threading.Event()

    def apply(models: tuple[ModelConfig, ...], *, caller: Caller) -> None:
        applied.append(models[0].name)
        callers.append(caller)
        if len(applied) == 1:
            caller.taken()
            assert gate.wait(WAIT_S)

    async def in_control(call: Callable[[], Any]) -> Any:
        return await asyncio.to_thread(call)

    service = ModelService(shelf, apply, in_control)
    request_type, _ = method_types(SERVICE + RELOAD)

    def begin(name: str) -> "asyncio.Future[bytes]":
        data = request_type(config=named(name)).SerializeToString()
        return asyncio.ensure_future(service.handle_reload_config_request(data, Call()))

    first = begin("a")
    await begin("b")
    assert not first.done()
    await begin("c")  # that it was taken and then ended has given one turn, and not two
    gate.set()
    await first
    assert applied == ["a", "b", "c"]
    assert not any(caller.has_left for caller in callers)


async def test_what_waits_is_told_that_its_client_has_left(client: Client) -> None:
    client.control.may_go_on.clear()
    task = asyncio.ensure_future(client(RELOAD, config=config_of(ONE)))
    await turns()
    await cancelled(task)
    client.control.may_go_on.set()
    await turns()
    assert [caller.has_left for caller in client.control.callers] == [True]


async def test_a_configuration_whose_client_leaves_before_its_turn_is_never_applied(
    client: Client,
) -> None:
    client.control.may_go_on.clear()
    tasks = [asyncio.ensure_future(client(RELOAD, config=named(name))) for name in "abc"]
    await turns()
    await cancelled(tasks.pop(1))
    client.control.may_go_on.set()
    await asyncio.gather(*tasks)
    assert [models[0].name for models in client.control.applied] == ["a", "c"]


async def test_only_so_many_configurations_wait(client: Client) -> None:
    client.control.may_go_on.clear()
    tasks = [asyncio.ensure_future(client(RELOAD, config=named("m"))) for _ in range(17)]
    await turns()
    assert await refused(client(RELOAD, config=named("m"))) == (
        Code.RESOURCE_EXHAUSTED,
        "16 other reloads of the configuration wait for the one that is being applied: "
        "try again later",
    )
    await cancelled(tasks.pop())
    tasks.append(asyncio.ensure_future(client(RELOAD, config=named("last"))))
    await turns()
    client.control.may_go_on.set()
    await asyncio.gather(*tasks)
    assert len(client.control.applied) == 17
    assert client.control.applied[-1][0].name == "last"


async def test_a_server_that_stops_takes_a_queued_configuration_back(shelf: Shelf) -> None:
    futures: list[asyncio.Future[Any]] = []

    def in_control(_: Callable[[], Any]) -> "asyncio.Future[Any]":
        futures.append(asyncio.get_running_loop().create_future())
        return futures[0]

    def apply(models: tuple[ModelConfig, ...], *, caller: Caller) -> None:
        raise AssertionError

    request_type, _ = method_types(SERVICE + RELOAD)
    data = request_type(config=config_of(ONE)).SerializeToString()
    answer = ModelService(shelf, apply, in_control).handle_reload_config_request(data, Call())
    task = asyncio.ensure_future(answer)
    await turns()
    futures[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def _reload_with(model: str, text: str = "") -> bytes:
    request: Any = message_class("tensorflow.serving.ReloadConfigRequest")()
    text_format.Parse(
        f'config {{ model_config_list {{ config {{ name: "{model}" base_path: "/m" {text} }} }} }}',
        request,
        descriptor_pool=POOL,
    )
    data: bytes = request.SerializeToString()
    return data


def _with_options(name: str, **options: Any) -> ModelConfig:
    return ModelConfig(name=name, base_path="/m", options=ModelOptions(**options))


async def test_a_request_may_set_the_limits_of_a_model(client: Client) -> None:
    await client.send(RELOAD, _reload_with("m", "salver { max_queued_runs: 5 }"))
    assert client.control.applied == [(_with_options("m", max_queued_runs=5),)]
