import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from tests.local_sources import local_sources

from salver._pb import message_class
from salver.config.model_options import LoadSettings
from salver.config.options import ServerOptions
from salver.config.start_up import read_configuration
from salver.errors import InvalidArgument, PermissionDenied, Unauthenticated
from salver.inference.servable import Servable
from salver.management.core import CoreOptions, ServerCore
from salver.metrics.registry import Metrics
from salver.protocols.api import Api, ApiParts
from salver.protocols.methods import Call, MethodTable, Stream
from salver.server.apis import make_apis
from salver.server.grpc_methods import method_table
from salver.vocabulary.servable import ServableId

_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
_RELOAD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
_PREDICT = "/tensorflow.serving.PredictionService/Predict"
_SESSION = "/tensorflow.serving.SessionService/SessionRun"
_PROFILE = "/tensorflow.ProfilerService/Profile"
_CHECK = "/grpc.health.v1.Health/Check"
_WATCH = "/grpc.health.v1.Health/Watch"
_REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"


def _load(settings: LoadSettings, id: ServableId, directory: str) -> Servable:
    raise NotImplementedError


@pytest.fixture
def core() -> Iterator[ServerCore]:
    core = ServerCore(_load, ("tensorflow",), CoreOptions(), local_sources())
    yield core
    core.close()


async def _here(call: Callable[[], Any], size: int = 0) -> Any:
    return call()


class _Serving:
    is_serving = True


class _Services:
    """The APIs of a server, as tables of methods."""

    def __init__(self, core: ServerCore, serving: _Serving | None = None, **flags: Any) -> None:
        state = serving or _Serving()
        self.apis = make_apis(
            ApiParts(
                core,
                read_configuration(ServerOptions(**flags), ()),
                in_pool=_here,
                in_control=_here,
                unready=lambda: None,
                is_serving=lambda: state.is_serving,
                metrics=Metrics(),
            )
        )
        self.table = method_table(self.apis, ())

    def open_table(self) -> MethodTable:
        return method_table(self.apis, (), is_administered=False)

    def refresh(self) -> None:
        for api in self.apis:
            if api.refresh is not None:
                api.refresh()

    def close(self) -> None:
        for api in self.apis:
            if api.close is not None:
                api.close()


async def _answer(table: MethodTable, path: str, data: bytes = b"") -> bytes:
    method = table[path]
    if isinstance(method, Stream):
        return b"".join([part async for part in _stream(method, data)])
    answer = method(data, Call())
    return await answer if isinstance(answer, Awaitable) else answer


def _stream(method: Stream, *messages: bytes) -> AsyncGenerator[bytes, None]:
    async def requests() -> AsyncIterator[bytes]:
        for message in messages:
            yield message

    return method.method(requests(), Call())


async def _told(table: MethodTable) -> list[str]:
    request = message_class("grpc.reflection.v1.ServerReflectionRequest")(list_services="")
    data = await _answer(table, _REFLECTION, request.SerializeToString())
    response = message_class("grpc.reflection.v1.ServerReflectionResponse").FromString(data)
    return [found.name for found in response.list_services_response.service]


async def test_the_services_are_there_and_reflection_tells_of_them(core: ServerCore) -> None:
    services = _Services(core, enable_session_service=True)
    assert await _told(services.table) == [
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "inference.GRPCInferenceService",
        "tensorflow.ProfilerService",
        "tensorflow.serving.ModelService",
        "tensorflow.serving.PredictionService",
        "tensorflow.serving.SessionService",
    ]
    for path in (_PREDICT, _SESSION, _STATUS):
        with pytest.raises(InvalidArgument):
            await _answer(services.table, path)


async def test_sessions_the_profiler_and_health_follow_their_flags(core: ServerCore) -> None:
    plain = _Services(core)
    assert _SESSION not in plain.table
    assert _CHECK not in plain.table
    assert _PROFILE in plain.table
    other = _Services(core, enable_profiler=False, enable_grpc_healthcheck_service=True)
    assert _PROFILE not in other.table
    assert await _answer(other.table, _CHECK) == b"\x08\x01"
    assert "grpc.health.v1.Health" in await _told(other.table)


async def test_a_configuration_that_is_sent_is_applied(core: ServerCore) -> None:
    request = message_class("tensorflow.serving.ReloadConfigRequest")()
    request.config.model_config_list.SetInParent()
    assert core.applied is None
    await _answer(_Services(core).table, _RELOAD, request.SerializeToString())
    assert core.applied == ()


async def test_who_watches_is_told_what_changes_until_the_end(core: ServerCore) -> None:
    serving = _Serving()
    services = _Services(core, serving, enable_grpc_healthcheck_service=True)
    watch = services.table[_WATCH]
    assert isinstance(watch, Stream)
    answers = _stream(watch, b"")
    assert await anext(answers) == b"\x08\x01"
    serving.is_serving = False
    services.refresh()
    assert await anext(answers) == b"\x08\x02"
    services.close()
    with pytest.raises(StopAsyncIteration):
        await anext(answers)


async def test_without_health_there_is_nothing_to_refresh_or_to_end(core: ServerCore) -> None:
    services = _Services(core, enable_profiler=False)
    services.refresh()
    services.close()
    assert _CHECK not in services.table


class TestOpenTable:
    @pytest.fixture
    def services(self, core: ServerCore) -> _Services:
        return _Services(core, enable_session_service=True, enable_grpc_healthcheck_service=True)

    @pytest.mark.parametrize("path", [_RELOAD, _SESSION, _PROFILE])
    async def test_what_administers_is_refused(self, services: _Services, path: str) -> None:
        with pytest.raises(PermissionDenied, match=f"^{path} is answered on the gRPC port only$"):
            await _answer(services.open_table(), path)

    async def test_a_stream_that_administers_is_refused_too(self) -> None:
        async def echo(requests: AsyncIterator[bytes], _call: Call) -> AsyncIterator[bytes]:
            async for request in requests:
                yield request

        api = Api(methods={"/a.B/C": Stream(echo)}, administrative=("/a.B/",))  # type: ignore[arg-type]
        with pytest.raises(PermissionDenied):
            await _answer(method_table([api], (), is_administered=False), "/a.B/C")
        assert await _answer(method_table([api], ()), "/a.B/C", b"x") == b"x"

    async def test_what_predicts_and_tells_is_answered(self, services: _Services) -> None:
        table = services.open_table()
        assert await _answer(table, _CHECK) == b"\x08\x01"
        for path in (_PREDICT, _STATUS):
            with pytest.raises(InvalidArgument):
                await _answer(table, path)

    async def test_reflection_does_not_tell_of_what_is_refused_whole(
        self, services: _Services
    ) -> None:
        assert await _told(services.open_table()) == [
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
            "inference.GRPCInferenceService",
            "tensorflow.serving.ModelService",
            "tensorflow.serving.PredictionService",
        ]


async def test_a_watch_that_is_left_holds_nothing(core: ServerCore) -> None:
    services = _Services(core, enable_grpc_healthcheck_service=True)
    watch = services.table[_WATCH]
    assert isinstance(watch, Stream)
    answers = _stream(watch, b"")
    await anext(answers)
    await answers.aclose()
    services.close()
    assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


@pytest.mark.parametrize("is_administered", [True, False])
async def test_no_method_answers_without_the_interceptors(
    core: ServerCore, is_administered: bool
) -> None:
    def refuse(_context: object, _proceed: object, /) -> Any:
        raise Unauthenticated("no key")

    services = _Services(core, enable_session_service=True, enable_grpc_healthcheck_service=True)
    table = method_table(services.apis, [refuse], is_administered=is_administered)
    assert {_PREDICT, _SESSION, _PROFILE, _CHECK, _WATCH, _REFLECTION, _RELOAD} <= table.keys()
    for path in table:
        with pytest.raises(Unauthenticated):
            await _answer(table, path)
