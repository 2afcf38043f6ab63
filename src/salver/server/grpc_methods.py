"""The gRPC methods of all APIs of a server, in one table."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from salver.errors import PermissionDenied, Unimplemented
from salver.inference.context import Interceptor
from salver.operations.reflection import reflection_methods
from salver.protocols.api import Api
from salver.protocols.calls import served_methods
from salver.protocols.forwarding import Forwarder
from salver.protocols.methods import OTHERS, Call, Method, MethodTable, Stream
from salver.vocabulary.access import Access, Verb

__all__ = ["method_table"]


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
    methods_told = reflection_methods(sorted(names))
    reflection = Api(
        methods=methods_told,
        verbs=dict.fromkeys(methods_told, Verb.METADATA),
        filtered=frozenset(methods_told),
    )
    table.update(served_methods(reflection, interceptors))
    if is_guarded:
        others = Api(methods={OTHERS: _no_method}, verbs={OTHERS: Access.KNOWN})
        table.update(served_methods(others, interceptors))
    return table


def _no_method(_data: bytes, _call: Call) -> bytes:
    raise Unimplemented("Method not found!")  # gRPC's own words


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
