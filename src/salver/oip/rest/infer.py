"""Inference over REST: bodies → arrays, arrays → bodies.

Most requests differ from an earlier one in their numbers alone; what the earlier one has told is
not parsed again, see `alike`. The other codec reads any request.
"""

from collections.abc import Callable, Coroutine, Sequence
from functools import lru_cache
from typing import Any, Final

from salver.codecs.oip.json_response import (
    WrittenOutput,
    write_binary,
    write_json,
    write_json_in_parts,
    write_number,
)
from salver.errors import InvalidArgument
from salver.inference.call import Codec, Inference, IsActive
from salver.inference.logged import LoggedCall, Tensors
from salver.inference.serving import Handle
from salver.instruments.threads import InPool
from salver.oip.asked import AnsweredOutput, Asked, GivenInput
from salver.oip.asking import Labels, OipRequest
from salver.oip.rest.alike import Alike, AlikeBodies
from salver.oip.rest.compression import compressed, wanted_coding
from salver.oip.rest.requests import (
    HEADER_LENGTH,
    KnownHeads,
    asked_of_body,
    asked_of_raw_body,
    header_length,
    raw_input,
)
from salver.protocols.version_header import version_headers
from salver.transport.messages import HttpRequest, HttpResponse, LargeResponse
from salver.vocabulary.requests import Array, ServableRequest
from salver.vocabulary.signature import Signature

__all__ = ["InferCalls"]

Answer = HttpResponse | Coroutine[Any, Any, HttpResponse]

_SHORT_BYTES: Final = 1 << 12
_LENGTH: Final = HEADER_LENGTH.lower().encode()


class InferCalls:
    """Answers `POST …/infer`. Belongs to the loop."""

    def __init__(self, inference: Inference, in_pool: InPool, labels: Labels | None = None) -> None:
        """Make it.

        Args:
            inference: answers what the codecs here read.
            in_pool: runs what takes long for the loop.
            labels: of classes.
        """
        self._answer = inference.answer
        self._in_pool = in_pool
        self._labels = labels
        self._alike = AlikeBodies()
        self._heads = KnownHeads()
        self.codecs: tuple[Codec[HttpResponse], ...] = (self._known, self._parsed)
        self._binary_codecs = (self._binary, self._parsed)

    def infer(self, request: HttpRequest) -> Answer:
        """POST /v2/models/M[/versions/V]/infer.

        Raises:
            ServingError: also out of the coroutine.
        """
        is_binary = request.headers.get(_LENGTH) is not None
        answer = self._answer(
            self._binary_codecs if is_binary else self.codecs,
            request.body,
            request,
            request.timeout_s,
            is_first_in_loop=is_binary,
        )
        accepted = request.headers.get(b"accept-encoding")
        if accepted is None:
            return answer
        coding = wanted_coding(accepted)
        return answer if coding is None else compressed(answer, coding, self._in_pool)

    # -- codecs: each reads a body, in the loop or in the pool -----------------------------------

    def _known(
        self, body: bytes, request: HttpRequest, is_active: IsActive | None
    ) -> "_KnownInfer | None":
        if is_active is not None:
            return None  # what is remembered belongs to the loop
        found = self._alike.find(body)
        if found is None:
            return None
        servable: Any = request.servable  # the path names it
        return _KnownInfer(servable, body, *found)

    def _binary(
        self, body: bytes, request: HttpRequest, is_active: IsActive | None
    ) -> "_Infer | None":
        """A short JSON text and raw bytes, which are not looked at."""
        length = header_length(request.headers.get(_LENGTH), len(body))
        if is_active is not None or not length or length > _SHORT_BYTES:
            return None
        return self._parsed(body, request, None)

    def _parsed(self, body: bytes, request: HttpRequest, is_active: IsActive | None) -> "_Infer":
        servable: Any = request.servable
        length = header_length(request.headers.get(_LENGTH), len(body))
        if length is not None and request.headers.has_several(_LENGTH):
            raise InvalidArgument(f"{HEADER_LENGTH} is there more than once")
        if length == 0:
            return _RawInfer(servable, asked_of_raw_body(), body, self._labels)
        asked = asked_of_body(body, length, is_active, self._heads)
        made = _Infer(servable, asked, body, self._labels)
        if is_active is None and length is None:
            made.alike = self._alike
        return made


class _Infer(OipRequest[HttpResponse]):
    """Any request.

    Attributes:
        alike: what remembers it once it is answered; None for nothing.
    """

    __slots__ = ("alike",)

    def __init__(
        self, servable: ServableRequest, asked: Asked, data: bytes, labels: Labels | None
    ) -> None:
        super().__init__(servable, asked, data, labels)
        self.alike: AlikeBodies | None = None

    def write(self, outputs: Sequence[AnsweredOutput]) -> HttpResponse:
        """See `OipRequest`."""
        name, version, id = self.servable.name, self.handle.id.version, self.asked.id
        text = None
        if len(outputs) == 1 and not self._is_binary(outputs[0]):
            text = write_number(name, version, outputs[0].name, outputs[0].array, id)
            if text is not None and self.alike is not None:
                self.alike.remember(self.data, self.asked, self.handle.id, self.call)
        if text is None:
            written = [self._written(of) for of in outputs]
            if any(of.is_binary for of in written):
                body, length = write_binary(name, version, id, written)
                return HttpResponse(
                    200, body, "application/octet-stream", _binary_headers(version, length)
                )
            text = write_json(name, version, id, written)
        return HttpResponse(200, text, "application/json", version_headers(version))

    def encode_large(self, outputs: list[Array], check: Callable[[], None]) -> HttpResponse:
        """See `InferenceRequest`."""
        name, version, id = self.servable.name, self.handle.id.version, self.asked.id
        answered = self.answered(outputs, check)
        written = [self._written(of) for of in answered]
        if any(of.is_binary for of in written):
            return self.write(answered)
        parts = write_json_in_parts(name, version, id, written, check)
        headers = version_headers(version)
        if len(parts) == 1:
            return HttpResponse(200, parts[0], "application/json", headers)
        return LargeResponse(200, parts, "application/json", headers)

    def _is_binary(self, output: AnsweredOutput) -> bool:
        requested = output.requested
        return self.asked.parameters.is_binary if requested is None else requested.is_binary

    def _written(self, output: AnsweredOutput) -> WrittenOutput:
        is_binary = self._is_binary(output)
        return WrittenOutput(output.name, output.datatype, output.array, is_binary=is_binary)

    def logged(
        self, outputs: list[Array], answer: HttpResponse, *, wants_bodies: bool
    ) -> LoggedCall:
        """See `InferenceRequest`. As a Predict of the same tensors: a log has no other form."""
        names = [alias for alias in self.call.output_names if alias in self._fetches]
        return _logged(self, dict(zip(names, outputs, strict=True)))


class _RawInfer(_Infer):
    """A body that is nothing but the bytes of the only input."""

    __slots__ = ()

    def inputs(self, signature: Signature) -> Sequence[GivenInput]:
        """See `OipRequest`."""
        return (raw_input(self.data, signature, self.servable.name),)


class _KnownInfer(OipRequest[HttpResponse]):
    """One of which all but its numbers is known."""

    __slots__ = ("_array", "_id", "_known")

    def __init__(
        self, servable: ServableRequest, body: bytes, known: Alike, array: Array, id: str
    ) -> None:
        self.servable = servable
        self.data = body
        self._known = known
        self._array = array
        self._id = id

    def decode(self, handle: Handle, is_active: IsActive | None) -> bool:
        """See `InferenceRequest`. False: it may mean something else to this version."""
        id = handle.id
        versions = self._known.checked.get(id.name)
        checked = None if versions is None else versions.get(id.version)
        if checked is None:
            return False
        call = handle.model.call(checked[0])
        if call is None or call.signature is not checked[1]:
            return False
        self.call = call
        self.handle = handle
        self.start = call.start
        self.feeds = [self._array]
        self.meter = call.meters[self.meter_key]
        return True

    def encode(self, outputs: list[Array]) -> HttpResponse:
        """See `InferenceRequest`."""
        version = self.handle.id.version
        text = None
        if len(outputs) == 1:
            text = write_number(
                self.servable.name, version, self.call.output_names[0], outputs[0], self._id
            )
        if text is None:
            return self._parsed().encode(outputs)
        return HttpResponse(200, text, "application/json", version_headers(version))

    def encode_large(self, outputs: list[Array], check: Callable[[], None]) -> HttpResponse:
        """See `InferenceRequest`."""
        return self._parsed().encode_large(outputs, check)

    def _parsed(self) -> _Infer:
        """The same request as the other codec makes it; of all its outputs, if it names any."""
        made = _Infer(self.servable, Asked((), id=self._id), self.data, None)
        made.call, made.handle = self.call, self.handle
        made._fetches = self.call.output_names
        return made

    def logged(
        self, outputs: list[Array], answer: HttpResponse, *, wants_bodies: bool
    ) -> LoggedCall:
        """See `InferenceRequest`."""
        return _logged(self, dict(zip(self.call.output_names, outputs, strict=True)))


def _logged(request: OipRequest[HttpResponse], outputs: dict[str, Array]) -> LoggedCall:
    call = request.call
    inputs = dict(zip(call.signature.inputs, request.feeds, strict=True))
    version = request.handle.id.version
    wanted = tuple(outputs) if len(outputs) < len(call.signature.outputs) else ()
    content = Tensors(inputs, outputs, wanted)
    return LoggedCall("predict", request.servable, version, call.name, content)


@lru_cache(maxsize=1024)
def _binary_headers(version: int, length: int) -> tuple[tuple[str, str], ...]:
    return (*version_headers(version), (HEADER_LENGTH, str(length)))
