"""`salver.admin.v1.AdminService`: what `/admin/v1/` answers, over gRPC."""

from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Final

from google.protobuf import json_format
from google.protobuf.message import DecodeError

from salver._pb import POOL, message_class
from salver.config.batching import from_message as parameters_of
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
from salver.config.model_documents import model_of
from salver.config.models import from_message
from salver.errors import InvalidArgument
from salver.operations.admin.calls import AdminCalls
from salver.protocols.actors import actor_of
from salver.protocols.administration import (
    Act,
    Action,
    Administered,
    AdminRequest,
    MakeChange,
    ReadAudit,
    ReadConfig,
    ReadModel,
    ReadRevisions,
)
from salver.protocols.methods import Call, MethodTable

__all__ = ["SERVICE", "AdminMethods"]

SERVICE: Final = "/salver.admin.v1.AdminService"
_PACKAGE: Final = "salver.admin.v1"
_MOST_ENTRIES: Final = 100
_MOST_NAME: Final = 256  # characters; REST has them in the path, which is bounded

_Method = Callable[[bytes, Call], Coroutine[Any, Any, bytes]]


class AdminMethods:
    """Answers them. Belongs to the loop."""

    def __init__(self, calls: AdminCalls) -> None:
        """Answer by `calls`."""
        self._calls = calls

    def methods(self) -> MethodTable:
        """Their table."""
        reading = {
            "GetConfig": ("Config", _get_config),
            "GetModel": ("Model", _get_model),
            "GetRevisions": ("Revisions", _get_revisions),
            "GetAudit": ("Audit", _get_audit),
        }
        changing: dict[str, Callable[[Any], Change]] = {
            "PutConfig": _put_config,
            "PutModel": _put_model,
            "DeleteModel": lambda m: DeleteModel(m.name),
            "PutLabel": lambda m: PutLabel(m.name, m.label, m.version),
            "DeleteLabel": lambda m: DeleteLabel(m.name, m.label),
            "PutBatching": lambda m: PutBatching(m.name, parameters_of(m.batching)),
            "DeleteBatching": lambda m: PutBatching(m.name, None),
        }
        acting: dict[str, Action] = {
            "ReloadModel": "reload",
            "LoadModel": "load",
            "UnloadModel": "unload",
            "ClearQuarantine": "clear_quarantine",
        }
        table: dict[str, _Method] = {}
        for name, (answer, read) in reading.items():
            table[name] = self._quick(f"{name}Request", answer, read)
        for name, change in changing.items():
            table[name] = self._quick(f"{name}Request", "Changed", _changing(change))
        for name, action in acting.items():
            table[name] = self._acting(action)
        return {f"{SERVICE}/{name}": method for name, method in table.items()}

    def _quick(self, request: str, answer: str, read: Callable[[Any], AdminRequest]) -> _Method:
        write = partial(_encoded, answer)

        async def method(data: bytes, call: Call) -> bytes:
            return await self._calls(lambda: read(_decoded(request, data)), actor_of(call), write)

        return method

    def _acting(self, action: Action) -> _Method:
        write = partial(_encoded, "Acted")

        async def method(data: bytes, call: Call) -> bytes:
            act, actor = Act(action, _decoded("ActRequest", data).name), actor_of(call)
            if action in ("load", "unload"):
                return await self._calls.wait_for_model(act, actor, write)
            return await self._calls(lambda: act, actor, write)

        return method


def _decoded(name: str, data: bytes) -> Any:
    try:
        message = message_class(f"{_PACKAGE}.{name}").FromString(data)
    except DecodeError:
        raise InvalidArgument("could not parse request") from None
    for field in ("name", "label"):
        _check_length(field, getattr(message, field, ""))
    return message


def _check_length(field: str, text: str) -> None:
    if len(text) > _MOST_NAME:
        raise InvalidArgument(f"The {field} has more than {_MOST_NAME} characters")


def _encoded(name: str, answer: Administered) -> bytes:
    message = message_class(f"{_PACKAGE}.{name}")()
    json_format.ParseDict(_for_message(answer.document), message, descriptor_pool=POOL)
    return bytes(message.SerializeToString())


def _for_message(document: Mapping[str, Any]) -> dict[str, Any]:
    """A document, whose configuration is that of the file's message rather than of YAML."""
    config = document.get("config")
    if not isinstance(config, Mapping) or "schema" not in config:
        return dict(document)
    listed = {"model_config_list": {"config": config["models"]}}
    if "revision" in document:  # one revision: the entry, and its models
        entry = {name: value for name, value in document.items() if name != "config"}
        return {"revisions": [entry], "config": listed}
    return {**document, "config": listed}


def _get_config(_message: Any) -> AdminRequest:
    return ReadConfig()


def _get_model(message: Any) -> AdminRequest:
    return ReadModel(message.name)


def _get_revisions(message: Any) -> AdminRequest:
    return ReadRevisions(message.revision or None)


def _get_audit(message: Any) -> AdminRequest:
    return ReadAudit(message.limit or _MOST_ENTRIES)


def _changing(change: Callable[[Any], Change]) -> Callable[[Any], AdminRequest]:
    def read(message: Any) -> AdminRequest:
        condition = Condition(tuple(message.condition.etags), is_new=message.condition.is_new)
        return MakeChange(change(message), condition, message.validate_only)

    return read


def _put_config(message: Any) -> Change:
    models = from_message(message.config)
    if models is None:
        raise InvalidArgument("The configuration has no list of models")
    return PutConfig(models)


def _put_model(message: Any) -> Change:
    _check_length("name", message.config.name)
    return PutModel(model_of(message.config, message.config.name))
