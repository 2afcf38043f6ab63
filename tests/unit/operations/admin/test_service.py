from collections.abc import Callable, Mapping
from typing import Any

import pytest
from tests.shelf import response_of

from salver._pb import POOL, message_class
from salver.config.batching import BatchingParameters
from salver.config.changes import (
    Change,
    Condition,
    DeleteLabel,
    DeleteModel,
    PutBatching,
    PutConfig,
    PutLabel,
    PutModel,
)
from salver.config.models import ModelConfig
from salver.errors import InvalidArgument
from salver.lifecycle.callers import Caller
from salver.operations.admin.calls import AdminCalls
from salver.operations.admin.service import SERVICE, AdminMethods
from salver.protocols.administration import (
    Act,
    Administered,
    AdminRequest,
    MakeChange,
    ReadAudit,
    ReadConfig,
    ReadModel,
    ReadRevisions,
)
from salver.protocols.methods import Call, Stream

PLAIN = {"name": "m", "base_path": "/m", "model_platform": "tensorflow"}
M = ModelConfig(name="m", base_path="/m", model_platform="tensorflow")


class Server:
    """Answers what it is to, and remembers what was asked."""

    def __init__(self) -> None:
        self.asked: list[AdminRequest] = []
        self.document: Mapping[str, Any] = {}

    def administer(self, request: AdminRequest, _caller: Caller) -> Administered:
        self.asked.append(request)
        return Administered.of(self.document)

    async def in_control(self, call: Callable[[], Administered]) -> Administered:
        return call()

    async def ask(self, method: str, /, **fields: Any) -> Any:
        described = POOL.FindServiceByName(SERVICE[1:]).methods_by_name[method]
        request = message_class(described.input_type.full_name)(**fields)
        answer = self.methods()[f"{SERVICE}/{method}"]
        assert not isinstance(answer, Stream)
        data = await response_of(answer(request.SerializeToString(), Call()))
        return message_class(described.output_type.full_name).FromString(data)

    def methods(self) -> Mapping[str, Any]:
        return AdminMethods(AdminCalls(self.administer, self.in_control)).methods()


@pytest.fixture
async def server() -> Server:
    return Server()


async def test_each_method_of_the_service_is_served(server: Server) -> None:
    service = POOL.FindServiceByName(SERVICE[1:])
    assert {f"{SERVICE}/{each.name}" for each in service.methods} == set(server.methods())


ASKED: list[tuple[str, dict[str, Any], AdminRequest]] = [
    ("GetConfig", {}, ReadConfig()),
    ("GetModel", {"name": "m"}, ReadModel("m")),
    ("GetRevisions", {}, ReadRevisions()),
    ("GetRevisions", {"revision": 2}, ReadRevisions(2)),
    ("GetAudit", {}, ReadAudit(100)),
    ("GetAudit", {"limit": 3}, ReadAudit(3)),
    ("ReloadModel", {"name": "m"}, Act("reload", "m")),
    ("LoadModel", {"name": "m"}, Act("load", "m")),
    ("UnloadModel", {"name": "m"}, Act("unload", "m")),
    ("ClearQuarantine", {"name": "m"}, Act("clear_quarantine", "m")),
]
CHANGED: list[tuple[str, dict[str, Any], Change]] = [
    (
        "PutConfig",
        {"config": {"model_config_list": {"config": [PLAIN]}}},
        PutConfig((M,)),
    ),
    ("PutModel", {"config": {"name": "m", "base_path": "/m"}}, PutModel(M)),
    ("DeleteModel", {"name": "m"}, DeleteModel("m")),
    ("PutLabel", {"name": "m", "label": "l", "version": 2}, PutLabel("m", "l", 2)),
    ("DeleteLabel", {"name": "m", "label": "l"}, DeleteLabel("m", "l")),
    (
        "PutBatching",
        {"name": "m", "batching": {"max_batch_size": {"value": 4}}},
        PutBatching("m", BatchingParameters(max_batch_size=4)),
    ),
    ("DeleteBatching", {"name": "m"}, PutBatching("m", None)),
]  # fmt: skip


@pytest.mark.parametrize(("method", "fields", "asked"), ASKED)
async def test_requests_are_those_of_rest(
    server: Server, method: str, fields: dict[str, Any], asked: AdminRequest
) -> None:
    await server.ask(method, **fields)
    assert server.asked == [asked]


@pytest.mark.parametrize(("method", "fields", "change"), CHANGED)
async def test_changes_may_have_conditions_and_be_tried(
    server: Server, method: str, fields: dict[str, Any], change: Change
) -> None:
    await server.ask(method, **fields)
    condition = {"etags": ["a"], "is_new": True}
    await server.ask(method, **fields, condition=condition, validate_only=True)
    assert server.asked == [
        MakeChange(change),
        MakeChange(change, Condition(("a",), is_new=True), is_dry_run=True),
    ]


async def test_documents_become_messages(server: Server) -> None:
    server.document = {
        "etag": "x",
        "config": {
            "schema": 1,
            "models": [
                {"name": "m", "salver": {"batching": {"max_batch_size": 4}, "max_queued_runs": 0}}
            ],
        },
        "is_changed": True,
        "flags": [{"name": "port", "value": 8500, "source": "default"}],
        "models": [{"name": "m", "etag": "y", "settings": []}],
        "unloaded": ["m"],
        "persistence": "…",
    }
    config = await server.ask("GetConfig")
    (model,) = config.config.model_config_list.config
    assert model.salver.batching.max_batch_size.value == 4
    assert model.salver.HasField("max_queued_runs")
    assert config.flags[0].value.number_value == 8500
    server.document = {"number": 3, "revision": 2, "config": {"schema": 1, "models": []}}
    revisions = await server.ask("GetRevisions", revision=2)
    assert (revisions.revisions[0].revision, revisions.HasField("config")) == (2, True)


async def test_what_is_no_request_is_refused(server: Server) -> None:
    for name in ("GetModel", "LoadModel"):
        with pytest.raises(InvalidArgument, match="could not parse request"):
            await response_of(server.methods()[f"{SERVICE}/{name}"](b"\xff", Call()))
    with pytest.raises(InvalidArgument, match="no list of models"):
        await server.ask("PutConfig")


LONG = "é" * 257
NAMED = [
    *((method, fields | {"name": LONG}) for method, fields, *_ in [*ASKED, *CHANGED]
      if "name" in fields),
    ("PutLabel", {"name": "m", "label": LONG, "version": 2}),
    ("DeleteLabel", {"name": "m", "label": LONG}),
    ("PutModel", {"config": {"name": LONG, "base_path": "/m"}}),
]  # fmt: skip


@pytest.mark.parametrize(("method", "fields"), NAMED)
async def test_a_name_that_is_very_long_is_refused(
    server: Server, method: str, fields: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArgument, match="has more than 256 characters"):
        await server.ask(method, **fields)
    assert server.asked == []


async def test_a_name_of_256_characters_is_taken(server: Server) -> None:
    await server.ask("ReloadModel", name=LONG[1:])
    assert server.asked == [Act("reload", LONG[1:])]
