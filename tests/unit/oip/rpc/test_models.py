from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest
from tests.messages import method_types
from tests.shelf import response_of

from salver.errors import Code, ServingError, Unimplemented
from salver.oip.rpc.models import ModelMethods
from salver.protocols.methods import Call, Stream
from salver.vocabulary.access import Actor, Principal
from salver.vocabulary.requests import ServableRequest

SERVICE = "/inference.GRPCInferenceService"


class Repository:
    """A repository of one model, and what was asked of it."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    async def config(self, request: ServableRequest) -> dict[str, Any]:
        self.asked.append(request)
        return {
            "name": "m",
            "platform": "tensorflow_savedmodel",
            "max_batch_size": 8,
            "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [-1, 2]}],
            "version_policy": {"specific": {"versions": [1, 2]}},
            "dynamic_batching": {"max_queue_delay_microseconds": 100},
        }

    async def statistics(
        self, request: ServableRequest, principal: Principal | None = None
    ) -> list[dict[str, Any]]:
        assert principal is None
        self.asked.append(request)
        return [
            {
                "name": "m",
                "version": "7",
                "last_inference": 2**60,
                "inference_count": 3,
                "inference_stats": {"success": {"count": 3, "ns": 5_000}},
            }
        ]

    def index(
        self, *, is_ready_only: bool, principal: Principal | None = None
    ) -> list[dict[str, Any]]:
        assert principal is None
        self.asked.append(is_ready_only)
        return [{"name": "m", "version": "7", "state": "READY", "reason": ""}]

    def trace_settings(self) -> dict[str, Any]:
        return {"trace_level": ["OFF"]}

    async def change_trace(
        self, settings: Mapping[str, Sequence[str]], actor: Actor, *, model: str
    ) -> None:
        self.asked.append(("trace", settings, model))

    async def change_log(self, settings: Mapping[str, object], actor: Actor) -> None:
        self.asked.append(("log", settings))

    async def load(self, name: str, parameters: Iterable[str], actor: Actor) -> None:
        self.asked.append(("load", name, sorted(parameters)))
        if list(parameters):
            raise Unimplemented("a request cannot bring a model along")

    async def unload(self, name: str, parameters: Iterable[str], actor: Actor) -> None:
        self.asked.append(("unload", name, sorted(parameters)))


@pytest.fixture
def repository() -> Repository:
    return Repository()


async def ask(repository: Repository, method: str, /, **fields: Any) -> Any:
    request, response = method_types(f"{SERVICE}/{method}")
    answer = ModelMethods(repository).methods(SERVICE)[f"{SERVICE}/{method}"]
    assert not isinstance(answer, Stream)
    data = answer(request(**fields).SerializeToString(), Call())
    return response.FromString(await response_of(data))


async def test_a_configuration_is_told_as_a_message(repository: Repository) -> None:
    config = (await ask(repository, "ModelConfig", name="m", version="7")).config
    assert (config.name, config.platform, config.max_batch_size) == (
        "m", "tensorflow_savedmodel", 8,
    )  # fmt: skip
    assert config.input[0].data_type == 11  # TYPE_FP32
    assert list(config.input[0].dims) == [-1, 2]
    assert list(config.version_policy.specific.versions) == [1, 2]
    assert config.dynamic_batching.max_queue_delay_microseconds == 100
    assert repository.asked == [ServableRequest("m", 7)]


async def test_statistics_are_of_a_model_or_of_all(repository: Repository) -> None:
    for fields, asked in (
        ({}, ServableRequest("")),
        ({"name": "m"}, ServableRequest("m")),
        ({"name": "m", "version": "stable"}, ServableRequest("m", None, "stable")),
    ):
        [told] = (await ask(repository, "ModelStatistics", **fields)).model_stats
        assert (told.name, told.version, told.last_inference) == ("m", "7", 2**60)
        assert told.inference_stats.success.ns == 5_000
        assert repository.asked.pop() == asked


async def test_the_index_lists_models(repository: Repository) -> None:
    [told] = (await ask(repository, "RepositoryIndex", ready=True)).models
    assert (told.name, told.version, told.state) == ("m", "7", "READY")
    await ask(repository, "RepositoryIndex")
    assert repository.asked == [True, False]


async def test_models_are_loaded_and_unloaded(repository: Repository) -> None:
    await ask(repository, "RepositoryModelLoad", model_name="m")
    await ask(repository, "RepositoryModelUnload", model_name="m")
    assert repository.asked == [("load", "m", []), ("unload", "m", [])]


async def test_what_a_request_brings_along_is_handed_on_to_be_refused(
    repository: Repository,
) -> None:
    value = method_types(f"{SERVICE}/RepositoryModelLoad")[0]().parameters["x"]
    parameters = {
        "config": type(value)(string_param="{}"),
        "file:1/model.onnx": type(value)(bytes_param=b"\x00"),
        "nothing": type(value)(),
    }
    with pytest.raises(ServingError) as raised:
        await ask(repository, "RepositoryModelLoad", model_name="m", parameters=parameters)
    assert raised.value.code == Code.UNIMPLEMENTED
    assert repository.asked == [("load", "m", ["config", "file:1/model.onnx", "nothing"])]


@pytest.mark.parametrize(
    "method", ["RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload"]
)
async def test_a_repository_by_name_is_refused(repository: Repository, method: str) -> None:
    with pytest.raises(Unimplemented, match="'repository_name' specification is not supported"):
        await ask(repository, method, repository_name="any")
    assert not repository.asked
