"""Server reflection, in its two versions, from our own descriptors.

Source: https://github.com/grpc/grpc/blob/master/doc/server-reflection.md; the texts are those of
gRPC's C++ implementation.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from typing import Any, Final

from google.protobuf.message import DecodeError

from salver._pb import POOL, message_class
from salver.errors import InvalidArgument, NotFound, ServingError, Unimplemented
from salver.protocols.methods import Call, MethodTable, Stream

__all__ = ["reflection_methods"]

_PACKAGES: Final = ("grpc.reflection.v1", "grpc.reflection.v1alpha")


def reflection_methods(services: Iterable[str]) -> MethodTable:
    """Its part of the table.

    Args:
        services: full names of the services to tell of; reflection itself is added.
    """
    names = sorted({*services, *(f"{package}.ServerReflection" for package in _PACKAGES)})
    return {
        f"/{package}.ServerReflection/ServerReflectionInfo": Stream(
            _Reflection(package, names).answer_all
        )
        for package in _PACKAGES
    }


class _Reflection:
    """One version of the service: the messages of one package."""

    def __init__(self, package: str, names: list[str]) -> None:
        self._request_class: Any = message_class(f"{package}.ServerReflectionRequest")
        self._response_class: Any = message_class(f"{package}.ServerReflectionResponse")
        self._names = names

    async def answer_all(
        self, requests: AsyncIterator[bytes], _call: Call
    ) -> "AsyncGenerator[bytes, None]":
        """ServerReflectionInfo: one response to each request, in their order.

        Raises:
            InvalidArgument: a request is no ServerReflectionRequest.
        """
        async for data in requests:
            yield self._answer(data)

    def _answer(self, data: bytes) -> bytes:
        try:
            request = self._request_class.FromString(data)
        except DecodeError:
            raise InvalidArgument("could not parse request") from None
        response = self._response_class(valid_host=request.host, original_request=request)
        try:
            self._fill(request, response)
        except ServingError as error:
            response.error_response.error_code = int(error.code)
            response.error_response.error_message = error.message
        return bytes(response.SerializeToString())

    def _fill(self, request: Any, response: Any) -> None:
        kind = request.WhichOneof("message_request")
        if kind == "list_services":
            for name in self._names:
                response.list_services_response.service.add(name=name)
        elif kind == "file_by_filename":
            name = request.file_by_filename
            _add_files(response, _found(POOL.FindFileByName, name, "File not found."))
        elif kind == "file_containing_symbol":
            symbol = request.file_containing_symbol
            _add_files(response, _found(_file_declaring, symbol, "Symbol not found."))
        elif kind == "file_containing_extension":
            raise NotFound("Extension not found.")  # no message of ours can be extended
        elif kind == "all_extension_numbers_of_type":
            name = request.all_extension_numbers_of_type
            found = _found(POOL.FindMessageTypeByName, name, "Type not found.")
            response.all_extension_numbers_response.base_type_name = found.full_name
        else:
            raise Unimplemented("")


def _file_declaring(symbol: str) -> Any:
    try:
        return POOL.FindFileContainingSymbol(symbol)
    except KeyError:
        # The pool knows all symbols but methods.
        scope, _, name = symbol.rpartition(".")
        service = POOL.FindServiceByName(scope)
        if name not in service.methods_by_name:
            raise
        return service.file


def _found(find: Callable[[str], Any], name: str, text: str) -> Any:
    try:
        return find(name)
    except KeyError:
        raise NotFound(text) from None


def _add_files(response: Any, file: Any) -> None:
    files = {each.name: each.serialized_pb for each in _with_dependencies(file)}
    response.file_descriptor_response.file_descriptor_proto.extend(files.values())


def _with_dependencies(file: Any) -> Iterator[Any]:
    """The file, then what it imports, some of it more than once."""
    yield file
    for dependency in file.dependencies:
        yield from _with_dependencies(dependency)
