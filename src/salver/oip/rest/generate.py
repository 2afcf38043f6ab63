"""Triton's generate extension: one JSON object in, one or several out.

`generate` has exactly one answer; `generate_stream` any number, as server-sent events. An error
before the model was begun is an answer like any other error. After that it is an event, and the
status of the whole answer is that of the first event.

Source: Triton's `docs/protocol/extension_generate.md`, and `http_server.cc` (GenerateRequestClass).
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, Final

from salver.codecs.oip.dtypes import datatype_name
from salver.codecs.oip.generate import array_of_member, read_members, write_answer
from salver.codecs.protobuf.room import Room
from salver.errors import Internal, InvalidArgument, Overloaded
from salver.inference.call import Inference, IsActive
from salver.inference.serving import Handle
from salver.oip.asked import AnsweredOutput, Asked, GivenInput
from salver.oip.asking import Labels, OipRequest, default_signature
from salver.oip.parameters import read_parameters
from salver.oip.rest.routes import MODEL, QUERY, servable_of
from salver.protocols.api import RestRoute
from salver.protocols.version_header import version_headers
from salver.transport.messages import HttpRequest, HttpResponse, StreamedResponse
from salver.vocabulary.access import Verb
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.requests import Array, ServableRequest
from salver.vocabulary.signature import Signature

__all__ = ["GenerateCalls"]

Failed = Callable[[HttpRequest, BaseException], HttpResponse]

_EVENTS: Final = "text/event-stream; charset=utf-8"
# Events are for who waits for them now: nothing on the way is to keep them.
_HEADERS: Final = (("Cache-Control", "no-cache"), ("X-Accel-Buffering", "no"))
_PROBE: Final = b":\n\n"  # a comment
_ID: Final = "id"
_NOT_ONE: Final = (
    "generate expects model to produce exactly 1 response, use generate stream for model that "
    "generates various number of responses"
)


class GenerateCalls:
    """Answers `POST …/generate` and `POST …/generate_stream`. Belongs to the loop."""

    def __init__(self, inference: Inference, failed: Failed, labels: Labels | None = None) -> None:
        """Make it.

        Args:
            inference: answers what the codec here reads.
            failed: makes the answer of a request that fails, and counts it.
            labels: of classes.
        """
        self._inference = inference
        self._failed = failed
        self._labels = labels

    def routes(self) -> Sequence[RestRoute]:
        """Both routes."""
        return (
            RestRoute(
                f"{MODEL}/generate{QUERY}",
                self.generate,
                ("POST",),
                servable_of,
                verb=Verb.PREDICT,
            ),
            RestRoute(
                f"{MODEL}/generate_stream{QUERY}",
                self.generate_stream,
                ("POST",),
                servable_of,
                verb=Verb.PREDICT,
            ),
        )

    async def generate(self, request: HttpRequest) -> HttpResponse:
        """POST /v2/models/M[/versions/V]/generate.

        Raises:
            ServingError: the request has failed, or the model has not given exactly one answer.
        """
        read: list[_Generate] = []
        answers = self._answers(request, read)
        answer: bytes | None = None
        try:
            async for each in answers:
                if answer is not None:
                    raise _not_one(read)
                answer = each
        finally:
            await answers.aclose()
        if answer is None:
            raise _not_one(read)
        headers = version_headers(read[0].handle.id.version)
        return HttpResponse(200, answer, "application/json", headers)

    async def generate_stream(self, request: HttpRequest) -> HttpResponse:
        """POST /v2/models/M[/versions/V]/generate_stream.

        Raises:
            ServingError: the model was not begun.
        """
        read: list[_Generate] = []
        answers = self._answers(request, read)
        first: bytes | None = None
        status = 200
        try:
            first = await anext(answers, None)
        except Exception as error:
            if not read or not read[0].has_begun or isinstance(error, Overloaded):
                raise
            failure = self._failed(request, error)
            status, first = failure.status, _in_one_line(failure)
        headers = (*version_headers(read[0].handle.id.version), *_HEADERS)
        events = self._events(request, first, answers)
        return StreamedResponse(status, events, _EVENTS, headers, probe=_PROBE)

    def _answers(
        self, request: HttpRequest, read: "list[_Generate]"
    ) -> "AsyncGenerator[bytes, None]":
        context = (request.servable, read)
        return self._inference.stream((self._read,), request.body, context, request.timeout_s)

    async def _events(
        self, request: HttpRequest, first: bytes | None, answers: "AsyncGenerator[bytes, None]"
    ) -> "AsyncGenerator[bytes, None]":
        try:
            if first is not None:
                yield b"data: %b\n\n" % first
            async for answer in answers:
                yield b"data: %b\n\n" % answer
        except Exception as error:  # noqa: BLE001 - the request ends here, with a last event
            yield b"data: %b\n\n" % _in_one_line(self._failed(request, error))
        except (GeneratorExit, asyncio.CancelledError):
            self._failed(request, asyncio.CancelledError())
            raise
        finally:
            await answers.aclose()

    def _read(self, body: bytes, context: Any, is_active: IsActive | None) -> "_Generate":
        """The codec: reads any body."""
        servable, read = context
        made = _Generate(servable, read_members(body, is_active), body, self._labels)
        read.append(made)
        return made


class _Generate(OipRequest[bytes]):
    """One request: members by name, which are inputs or parameters as the model has it.

    Attributes:
        has_begun: whether the model, or what waits for it, has the request.
    """

    __slots__ = ("_members", "has_begun")

    def __init__(
        self,
        servable: ServableRequest,
        members: Mapping[str, Any],
        data: bytes,
        labels: Labels | None,
    ) -> None:
        super().__init__(servable, Asked(()), data, labels)
        self._members = members
        self.has_begun = False

    def decode(self, handle: Handle, is_active: IsActive | None) -> bool:
        """See `InferenceRequest`; raises as that of `OipRequest`."""
        members = self._members
        name = members.get("signature_name")
        if type(name) is not str:
            name = default_signature(handle.model.signatures)
        call = handle.model.call(name)
        inputs: Mapping[str, Any] = {} if call is None else call.signature.inputs
        more = {key: value for key, value in members.items() if key not in inputs}
        id = more.pop(_ID, "")
        if type(id) is not str:
            raise InvalidArgument(f"Unable to parse '{_ID}'", hint="It is a string")
        for key, value in more.items():
            if type(value) not in (bool, int, float, str):
                raise InvalidArgument(
                    f"parameter '{key[:200]}' has invalid type. It should be either 'int', "
                    "'bool', or 'string'.",
                    hint=f"The inputs are: {', '.join(inputs)}",
                )
        self.asked.id = id
        self.asked.parameters = read_parameters(more)
        self.has_begun = super().decode(handle, is_active)
        return self.has_begun

    def inputs(self, signature: Signature) -> Sequence[GivenInput]:
        """See `OipRequest`."""
        return [
            self._given(name, value, signature)
            for name, value in self._members.items()
            if name in signature.inputs
        ]

    def _given(self, name: str, value: Any, signature: Signature) -> GivenInput:
        spec = signature.inputs[name]
        array = array_of_member(value, spec.dtype, spec.shape or None, name)

        def read(_dtype: DataType, _shape: tuple[int, ...], _name: str, _room: Room) -> Array:
            return array

        return GivenInput(name, datatype_name(spec.dtype), array.shape, read)

    def write(self, outputs: Sequence[AnsweredOutput]) -> bytes:
        """See `OipRequest`."""
        written = [(each.name, each.array) for each in outputs]
        return write_answer(self.servable.name, self.handle.id.version, self.asked.id, written)


def _in_one_line(failure: HttpResponse) -> bytes:
    """The JSON of an error as the data of an event, which a line break would cut."""
    return b" ".join([line.strip() for line in failure.whole().splitlines()])


def _not_one(read: "list[_Generate]") -> Internal:
    error = Internal(_NOT_ONE, hint="POST …/generate_stream gives each answer.")
    if read:
        error.version = read[0].handle.id.version
    return error
