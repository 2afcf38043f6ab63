import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from tests.messages import method_types
from tests.shelf import HALF_PLUS_TWO, Shelf

from salver.errors import Code, ServingError, Unimplemented
from salver.oip.extensions import refuse_log_settings, refuse_trace_settings, trace_settings
from salver.oip.rpc.extensions import extension_methods
from salver.protocols.methods import Call, MethodTable, Stream
from salver.scheduling.run_pool import RunPool
from salver.tracing.sampling import Sampling
from salver.vocabulary.access import Actor, Principal, Role

SERVICE = "/inference.GRPCInferenceService"


class Fixed:
    """Settings that are written down, and may be changed where that is permitted."""

    def __init__(self, *, is_permitted: bool = False) -> None:
        self.is_permitted = is_permitted
        self.changed: list[Any] = []

    def trace_settings(self) -> Mapping[str, Any]:
        return trace_settings(Sampling(0.25) if self.is_permitted else None)

    async def change_trace(
        self, settings: Mapping[str, Sequence[str]], actor: Actor, *, model: str
    ) -> None:
        if not self.is_permitted:
            raise refuse_trace_settings()
        self.changed.append((settings, actor.name, model))

    async def change_log(self, settings: Mapping[str, object], actor: Actor) -> None:
        if not self.is_permitted:
            raise refuse_log_settings()
        self.changed.append((settings, actor.name))


@pytest.fixture
def table() -> Iterator[MethodTable]:
    pool = RunPool(1)
    shelf = Shelf(pool)
    shelf.put("m", 7, HALF_PLUS_TWO)
    yield extension_methods(SERVICE, shelf, Fixed())
    pool.close()


def ask(table: MethodTable, name: str, /, **fields: Any) -> Any:
    request, response = method_types(f"{SERVICE}/{name}")
    method = table[f"{SERVICE}/{name}"]
    assert not isinstance(method, Stream)
    answer = method(request(**fields).SerializeToString(), Call())
    assert isinstance(answer, bytes)
    return response.FromString(answer)


def refusal(table: MethodTable, name: str, /, **fields: Any) -> ServingError:
    with pytest.raises(ServingError) as raised:
        ask(table, name, **fields)
    return raised.value


@pytest.mark.parametrize("kind", ["System", "Cuda"])
def test_there_is_no_shared_memory(table: MethodTable, kind: str) -> None:
    assert not ask(table, f"{kind}SharedMemoryStatus").regions
    error = refusal(table, f"{kind}SharedMemoryStatus", name="r")
    assert error.code == Code.NOT_FOUND
    assert error.message == f"Unable to find {kind.lower()} shared memory region: 'r'"


@pytest.mark.parametrize("kind", ["System", "Cuda"])
def test_shared_memory_cannot_be_registered(table: MethodTable, kind: str) -> None:
    error = refusal(table, f"{kind}SharedMemoryRegister", name="r", byte_size=64)
    assert error.code == Code.UNIMPLEMENTED
    spelled = {"System": "system", "Cuda": "CUDA"}[kind]
    assert error.message.startswith(f"failed to register {spelled} shared memory region: 'r', ")


@pytest.mark.parametrize("kind", ["System", "Cuda"])
@pytest.mark.parametrize("name", ["", "r"])
def test_who_cleans_up_before_he_starts_may(table: MethodTable, kind: str, name: str) -> None:
    ask(table, f"{kind}SharedMemoryUnregister", name=name)


@pytest.mark.parametrize("model", ["", "m"])
def test_nothing_is_traced(table: MethodTable, model: str) -> None:
    settings = ask(table, "TraceSetting", model_name=model).settings
    assert list(settings["trace_level"].value) == ["OFF"]
    assert list(settings["trace_rate"].value) == ["1000"]


def test_there_is_no_trace_of_a_model_that_is_not_there(table: MethodTable) -> None:
    assert refusal(table, "TraceSetting", model_name="other").code == Code.NOT_FOUND


def ada() -> Call:
    call = Call()
    call.principal = Principal("ada", "api_key", Role("operator"))
    return call


def trace_request(model: str = "", **settings: list[str]) -> bytes:
    request = method_types(f"{SERVICE}/TraceSetting")[0]
    made = {name: request.SettingValue(value=value) for name, value in settings.items()}
    data: bytes = request(settings=made, model_name=model).SerializeToString()
    return data


@pytest.mark.parametrize("values", [["TIMESTAMPS"], []])
async def test_trace_settings_cannot_be_changed_where_nothing_is_traced(
    table: MethodTable, values: list[str]
) -> None:
    method: Any = table[f"{SERVICE}/TraceSetting"]
    with pytest.raises(Unimplemented, match="does not support tracing"):
        await method(trace_request(trace_level=values), Call())


async def test_trace_settings_are_changed_where_it_is_permitted() -> None:
    settings = Fixed(is_permitted=True)
    method: Any = extension_methods(SERVICE, Shelf(RunPool(1)), settings)[f"{SERVICE}/TraceSetting"]
    answer = await method(trace_request("m", trace_rate=["10"], trace_level=[]), ada())
    assert settings.changed == [({"trace_rate": ["10"], "trace_level": []}, "ada", "m")]
    told = method_types(f"{SERVICE}/TraceSetting")[1].FromString(answer).settings
    assert list(told["trace_rate"].value) == ["4"]


@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO, logging.ERROR])
def test_log_settings_say_what_is_logged(
    table: MethodTable, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(level, "salver")
    settings = ask(table, "LogSettings").settings
    assert settings["log_info"].bool_param == (level <= logging.INFO)
    assert settings["log_warning"].bool_param == (level <= logging.WARNING)
    assert settings["log_error"].bool_param
    assert settings["log_verbose_level"].uint32_param == (level <= logging.DEBUG)
    assert settings["log_file"].string_param == ""


def log_settings(**settings: Any) -> Any:
    request = method_types(f"{SERVICE}/LogSettings")[0]
    choices = {bool: "bool_param", int: "uint32_param", str: "string_param"}
    made = {
        name: request.SettingValue(**{choices[type(value)]: value})
        for name, value in settings.items()
    }
    return request(settings=made).SerializeToString()


async def test_log_settings_cannot_be_changed_where_nobody_permits_it(table: MethodTable) -> None:
    method: Any = table[f"{SERVICE}/LogSettings"]
    with pytest.raises(Unimplemented, match="can not be updated"):
        await method(log_settings(log_verbose_level=1), Call())


async def test_log_settings_are_changed_where_it_is_permitted() -> None:
    settings = Fixed(is_permitted=True)
    method: Any = extension_methods(SERVICE, Shelf(RunPool(1)), settings)[f"{SERVICE}/LogSettings"]
    answer = await method(log_settings(log_verbose_level=1, log_info=True, log_file=""), ada())
    wanted = {"log_verbose_level": 1, "log_info": True, "log_file": ""}
    assert settings.changed == [(wanted, "ada")]
    assert method_types(f"{SERVICE}/LogSettings")[1].FromString(answer).settings["log_error"]


def test_what_is_no_message_is_refused(table: MethodTable) -> None:
    for path, method in table.items():
        assert not isinstance(method, Stream)
        with pytest.raises(ServingError) as raised:
            method(b"\x0a\x05", Call())
        assert raised.value.code == Code.INTERNAL, path
