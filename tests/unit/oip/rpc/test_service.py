import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pytest
from tests.messages import method_types
from tests.shelf import FLOATS, HALF_PLUS_TWO, FunctionModel, Shelf, response_of, signature

from salver import __version__
from salver._pb import POOL
from salver.errors import Code, NotFound, ServingError
from salver.inference.call import Inference
from salver.lifecycle.monitor import VersionState
from salver.oip.rpc.service import SERVICE, inference_methods
from salver.oip.serving import OipServing
from salver.protocols.methods import Call, Stream
from salver.scheduling.run_pool import RunPool
from salver.vocabulary.access import Actor, Principal
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.requests import ServableRequest

OF_STREAMS = {f"{SERVICE}/ModelStreamInfer"}


class Repository:
    """A repository of nothing."""

    async def config(self, request: ServableRequest) -> dict[str, Any]:
        raise NotFound(request.name)

    async def statistics(
        self, request: ServableRequest, principal: Principal | None = None
    ) -> list[dict[str, Any]]:
        return []

    def index(
        self, *, is_ready_only: bool, principal: Principal | None = None
    ) -> list[dict[str, Any]]:
        return []

    async def load(self, name: str, parameters: Iterable[str], actor: Actor) -> None:
        raise NotFound(name)

    unload = load

    def trace_settings(self) -> dict[str, Any]:
        return {"trace_level": ["OFF"]}

    async def change_trace(
        self, settings: Mapping[str, Sequence[str]], actor: Actor, *, model: str
    ) -> None:
        raise NotFound(model)

    async def change_log(self, settings: Mapping[str, object], actor: Actor) -> None:
        raise NotFound(str(settings))


class Served:
    """The methods of a server of some models."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.problem: str | None = None
        serving = OipServing(shelf)
        inference = Inference(serving, shelf.in_pool, is_deadline=True)
        self.table = inference_methods(serving, inference, lambda: self.problem, Repository())

    def ask(self, method: str, /, **fields: Any) -> Any:
        request, response = method_types(f"{SERVICE}/{method}")
        answer = self.table[f"{SERVICE}/{method}"]
        assert not isinstance(answer, Stream)

        async def answered() -> bytes:
            return await response_of(answer(request(**fields).SerializeToString(), Call()))

        return response.FromString(asyncio.run(answered()))

    def refusal(self, method: str, /, **fields: Any) -> ServingError:
        with pytest.raises(ServingError) as raised:
            self.ask(method, **fields)
        return raised.value


@pytest.fixture
def served() -> Iterator[Served]:
    pool = RunPool(1)
    shelf = Shelf(pool)
    shelf.put("m", 7, HALF_PLUS_TWO)
    shelf.put("m", 8, HALF_PLUS_TWO)
    yield Served(shelf)
    pool.close()


def test_the_server_says_that_it_lives_and_whether_it_is_ready(served: Served) -> None:
    assert served.ask("ServerLive").live
    assert served.ask("ServerReady").ready
    served.problem = "it drains"
    assert not served.ask("ServerReady").ready
    assert served.ask("ServerLive").live


def test_a_model_is_ready_while_a_version_of_it_answers(served: Served) -> None:
    assert served.ask("ModelReady", name="m").ready
    assert served.ask("ModelReady", name="m", version="7").ready
    served.shelf.publish("m", 7, VersionState.END)
    assert not served.ask("ModelReady", name="m", version="7").ready
    assert served.ask("ModelReady", name="m").ready


@pytest.mark.parametrize(("name", "version"), [("other", ""), ("", ""), ("m", "9"), ("m", "no")])
def test_an_unknown_model_is_not_ready(served: Served, name: str, version: str) -> None:
    assert not served.ask("ModelReady", name=name, version=version).ready


def test_the_server_says_what_it_is(served: Served) -> None:
    told = served.ask("ServerMetadata")
    assert (told.name, told.version) == ("salver", __version__)
    assert {"classification", "binary_tensor_data"} <= set(told.extensions)


def test_a_model_says_what_it_takes_and_gives(served: Served) -> None:
    of = signature({"b": (DataType.STRING, None), "a": (DataType.BFLOAT16, (-1, 2))}, {"y": FLOATS})
    served.shelf.put("n", 1, FunctionModel({"serving_default": (of, lambda a, b: [a])}))
    told = served.ask("ModelMetadata", name="n")
    assert (told.name, list(told.versions)) == ("n", ["1"])
    found = [(each.name, each.datatype, list(each.shape)) for each in told.inputs]
    assert found == [("a", "BF16", [-1, 2]), ("b", "BYTES", [-1])]
    assert [(each.name, each.datatype) for each in told.outputs] == [("y", "FP32")]
    assert list(served.ask("ModelMetadata", name="m", version="7").versions) == ["7", "8"]


@pytest.mark.parametrize(
    ("method", "fields"),
    [("ModelMetadata", {"name": "other"}), ("ModelInfer", {"model_name": "other"})],
)
def test_an_unknown_model_is_refused_in_words_that_clients_match_on(
    served: Served, method: str, fields: dict[str, str]
) -> None:
    error = served.refusal(method, **fields)
    assert isinstance(error, NotFound)
    assert error.message == "Request for unknown model: 'other' is not found"


def test_what_is_no_message_is_refused(served: Served) -> None:
    for name in ("ModelReady", "ModelMetadata", "ServerMetadata"):
        method = served.table[f"{SERVICE}/{name}"]
        assert not isinstance(method, Stream)
        with pytest.raises(ServingError) as raised:
            method(b"\x0a\x05", Call())
        assert raised.value.code == Code.INTERNAL


def test_each_method_of_the_service_is_served(served: Served) -> None:
    described = POOL.FindServiceByName(SERVICE[1:]).methods_by_name
    paths = {f"{SERVICE}/{name}" for name in described}
    assert served.table.keys() | OF_STREAMS == paths
