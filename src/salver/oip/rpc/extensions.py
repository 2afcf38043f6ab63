"""The calls of Triton's extensions about shared memory and settings; see `oip.extensions`."""

from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol

from salver.codecs.oip.service_messages import decode_request, encode_response
from salver.inference.serving import Serving, info_of
from salver.oip.extensions import (
    Kind,
    check_region,
    log_settings,
    refuse_region,
)
from salver.oip.rpc.infer import servable_of
from salver.protocols.actors import actor_of
from salver.protocols.methods import Call, MethodTable
from salver.vocabulary.access import Actor

__all__ = ["Settings", "extension_methods"]

_KINDS: Final[dict[str, Kind]] = {"System": "system", "Cuda": "cuda"}
_LOG_CHOICES: Final = {bool: "bool_param", int: "uint32_param", str: "string_param"}


class Settings(Protocol):
    """The settings of a server; see `ModelFacts`."""

    def trace_settings(self) -> Mapping[str, Any]: ...
    async def change_trace(
        self, settings: Mapping[str, Sequence[str]], actor: Actor, *, model: str
    ) -> None: ...
    async def change_log(self, settings: Mapping[str, object], actor: Actor) -> None: ...


def extension_methods(service: str, serving: Serving, settings: Settings) -> MethodTable:
    """Their part of the table.

    Args:
        service: its full name, `/inference.GRPCInferenceService`.
        serving: knows the models.
        settings: see there.
    """
    table: dict[str, Any] = {
        f"{service}/TraceSetting": partial(_trace_setting, serving, settings),
        f"{service}/LogSettings": partial(_log_settings, settings),
    }
    for prefix, kind in _KINDS.items():
        memory = f"{prefix}SharedMemory"
        table[f"{service}/{memory}Status"] = partial(_status, f"{memory}Status", kind)
        table[f"{service}/{memory}Register"] = partial(_register, f"{memory}Register", kind)
        table[f"{service}/{memory}Unregister"] = partial(_unregister, f"{memory}Unregister")
    return table


def _status(name: str, kind: Kind, data: bytes, _call: Call) -> bytes:
    check_region(kind, decode_request(f"{name}Request", data).name)
    return encode_response(f"{name}Response", {})


def _register(name: str, kind: Kind, data: bytes, _call: Call) -> bytes:
    raise refuse_region(kind, decode_request(f"{name}Request", data).name)


def _unregister(name: str, data: bytes, _call: Call) -> bytes:
    """There is none any more afterwards, as there was none before."""
    decode_request(f"{name}Request", data)
    return encode_response(f"{name}Response", {})


def _trace_setting(
    serving: Serving, settings: Settings, data: bytes, call: Call
) -> bytes | Coroutine[Any, Any, bytes]:
    request = decode_request("TraceSettingRequest", data)
    if request.settings:
        return _changed_trace(settings, request, actor_of(call))
    if request.model_name:
        info_of(serving, servable_of(request.model_name, ""))
    return _trace_settings_now(settings)


async def _changed_trace(settings: Settings, request: Any, actor: Actor) -> bytes:
    wanted = {name: list(each.value) for name, each in request.settings.items()}
    await settings.change_trace(wanted, actor, model=request.model_name)
    return _trace_settings_now(settings)


def _trace_settings_now(settings: Settings) -> bytes:
    values = {
        name: {"value": value if isinstance(value, list) else [value]}
        for name, value in settings.trace_settings().items()
    }
    return encode_response("TraceSettingResponse", {"settings": values})


def _log_settings(
    settings: Settings, data: bytes, call: Call
) -> bytes | Coroutine[Any, Any, bytes]:
    wanted = decode_request("LogSettingsRequest", data).settings
    if not wanted:
        return _log_settings_now()
    values = {name: _value_of(value) for name, value in wanted.items()}
    return _changed_log(settings, values, actor_of(call))


async def _changed_log(settings: Settings, wanted: Mapping[str, object], actor: Actor) -> bytes:
    await settings.change_log(wanted, actor)
    return _log_settings_now()


def _value_of(value: Any) -> object:
    choice = value.WhichOneof("parameter_choice")
    return None if choice is None else getattr(value, choice)


def _log_settings_now() -> bytes:
    values = {name: {_LOG_CHOICES[type(value)]: value} for name, value in log_settings().items()}
    return encode_response("LogSettingsResponse", {"settings": values})
