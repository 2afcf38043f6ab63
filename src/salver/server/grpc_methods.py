"""The gRPC methods of all APIs of a server, in one table."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from salver.errors import PermissionDenied, Unimplemented
from salver.inference.context import Interceptor
from salver.operations.reflection import reflection_methods
from salver.protocols import calls
from salver.protocols.api import Api
from salver.protocols.calls import served_methods
from salver.protocols.forwarding import Forwarder
from salver.protocols.methods import (
    OTHERS,
    Call,
    CallScreen,
    CallScreens,
    Method,
    MethodTable,
    Stream,
)
from salver.vocabulary.access import Access, Verb

__all__ = ["call_screens", "method_table"]


def method_table(
    apis: Sequence[Api],
    interceptors: Sequence[Interceptor],
    *,
    is_administered: bool = True,
    is_guarded: bool = False,
    is_administered_apart: bool = False,
    forwarder: Forwarder | None = None,
) -> MethodTable:
    """All methods, and reflection which tells of them.

    Args:
        apis: whose methods.
        interceptors: asked before each; see there.
        is_administered: False for a port that is open to more people than the gRPC port: what
            administers the server is refused there, and reflection does not tell of it.
        is_administered_apart: whether there is a port for administrators alone; see `Router`.
        is_guarded: tell strangers nothing, not even which methods there are.
        forwarder: see `served_methods`.
    """
    table: dict[str, Method] = {}
    names: set[str] = set()
    for api in apis:
        methods: dict[str, Method] = {}
        for path, method in api.methods.items():
            is_open = is_administered or not _administers(api, path, is_apart=is_administered_apart)
            where = "place of administrators" if is_administered_apart else "gRPC port"
            methods[path] = method if is_open else _refused(path, method, where)
            if is_open:
                names.add(path.split("/")[1])
        table.update(served_methods(replace(api, methods=methods), interceptors, forwarder))
    table.update(served_methods(_reflection(names), interceptors))
    if is_guarded:
        table.update(served_methods(_OTHER_METHODS, interceptors))
    return table


def call_screens(apis: Sequence[Api], interceptors: Sequence[Interceptor]) -> CallScreens:
    """What is asked before the message of a call is taken, of all methods of `method_table`.

    Args:
        apis: whose methods.
        interceptors: see `salver.protocols.calls.call_screens`.
    """
    screens: dict[str, CallScreen] = {}
    for api in (*apis, _reflection(()), _OTHER_METHODS):
        screens.update(calls.call_screens(api, interceptors))
    return screens


def _reflection(names: Iterable[str]) -> Api:
    methods = reflection_methods(sorted(names))
    return Api(
        methods=methods,
        verbs=dict.fromkeys(methods, Verb.METADATA),
        filtered=frozenset(methods),
    )


def _no_method(_data: bytes, _call: Call) -> bytes:
    raise Unimplemented("Method not found!")  # gRPC's own words


_OTHER_METHODS: Final = Api(methods={OTHERS: _no_method}, verbs={OTHERS: Access.KNOWN})


def _administers(api: Api, path: str, *, is_apart: bool) -> bool:
    return path.startswith(api.administrative) or (
        is_apart and api.need_of(path).verb is Verb.ADMIN
    )


def _refused(path: str, method: Method, where: str) -> Method:
    hint = "This port is that of the REST API"
    if where != "gRPC port":
        hint = "--admin_port and --admin_socket_path name it"

    def refuse(*_request: object) -> bytes:
        raise PermissionDenied(f"{path} is answered on the {where} only", hint=hint)

    async def refuse_stream(_requests: object, _call: Call) -> Any:
        refuse()
        yield b""

    if isinstance(method, Stream):
        return Stream(refuse_stream, is_request_single=method.is_request_single)
    return refuse
