"""SessionService: any tensors of a model's graph.

TensorFlow Serving describes this service (`apis/session_service.proto`); its stock server does not
offer it. The run options of a request are ignored, as it says there. Where nothing is said of an
error, the words are those of Predict.
"""

from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from salver.codecs.protobuf.model_spec import ModelSpec
from salver.codecs.protobuf.room import Room
from salver.codecs.protobuf.service_messages import (
    SessionRunRequest,
    decode_session_run_request,
    encode_session_run_response,
)
from salver.codecs.protobuf.tensor_proto import decode_tensor
from salver.errors import InvalidArgument
from salver.inference.call import IsActive
from salver.inference.logged import NO_LOGS, CallLogs
from salver.inference.predict import unknown_output, unknown_serving_signature
from salver.inference.servable import Servable
from salver.inference.serving import Handle, Serving
from salver.inference.traced import make_inference
from salver.instruments.threads import InPool
from salver.protocols.methods import Call, MethodTable
from salver.tfs.rpc.calls import (
    MessageRequest,
    given_spec,
    room_for,
    servable_request,
)
from salver.tracing.tracer import Tracer
from salver.vocabulary.model import TensorNames
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import DEFAULT_SIGNATURE

__all__ = ["SessionNames", "SessionService", "names_in_graph"]

_SERVICE: Final = "/tensorflow.serving.SessionService"


@dataclass(frozen=True, slots=True)
class SessionNames:
    """What is fed, fetched and run to.

    Attributes:
        feeds: tensors, in the graph `x:0` or `x`.
        fetches: tensors.
        targets: nodes; outputs of a signature, where these are its names.
    """

    feeds: Sequence[str]
    fetches: Sequence[str]
    targets: Sequence[str]


def names_in_graph(
    aliases: SessionNames, signature_name: str, names: Mapping[str, TensorNames]
) -> SessionNames:
    """The names in the graph of what a signature has its own names for.

    Args:
        aliases: of inputs and outputs.
        signature_name: whose they are.
        names: see `Graph.names`.

    Raises:
        FailedPrecondition: there is no such signature.
        InvalidArgument: the signature has no such input or output.
    """
    of_signature = names.get(signature_name)
    if of_signature is None:
        raise unknown_serving_signature(signature_name, names)
    targets = _outputs(of_signature.outputs, aliases.targets)
    return SessionNames(
        feeds=_inputs(of_signature.inputs, aliases.feeds),
        fetches=_outputs(of_signature.outputs, aliases.fetches),
        targets=tuple(tensor_name.partition(":")[0] for tensor_name in targets),
    )


def _inputs(names: Mapping[str, str], aliases: Sequence[str]) -> tuple[str, ...]:
    for alias in aliases:
        if alias not in names:
            raise InvalidArgument(
                f"input tensor alias not found in signature: {alias} Inputs expected to be in the "
                f"set {{{','.join(sorted(names))}}}."
            )
    return tuple(names[alias] for alias in aliases)


def _outputs(names: Mapping[str, str], aliases: Sequence[str]) -> tuple[str, ...]:
    for alias in aliases:
        if alias not in names:
            raise unknown_output(names, alias)
    return tuple(names[alias] for alias in aliases)


class SessionService:
    """Answers its one call. Belongs to the loop."""

    def __init__(
        self,
        serving: Serving,
        *,
        in_pool: InPool,
        as_content: bool = False,
        logs: CallLogs = NO_LOGS,
        tracer: Tracer | None = None,
    ) -> None:
        """Make the service.

        Args:
            serving: finds the servables.
            in_pool: runs a function in the run pool.
            as_content: `--enable_serialization_as_tensor_content`.
            logs: take the calls that are answered.
            tracer: takes notes of them; None where nobody does.
        """
        self._answer = make_inference(
            serving, in_pool, logs, is_deadline=True, tracer=tracer
        ).answer
        self._as_content = as_content
        self._codecs = (self._read,)

    def methods(self) -> MethodTable:
        """Its part of the table."""
        return {f"{_SERVICE}/SessionRun": self.session_run}

    def session_run(self, data: bytes, call: Call) -> bytes | Coroutine[Any, Any, bytes]:
        """SessionRun: feeds, fetches and targets, by their names in the graph or by aliases.

        Raises:
            ServingError: also out of the coroutine.
        """
        return self._answer(self._codecs, data, None, call.timeout_s)

    def _read(self, data: bytes, _context: Any, _is_active: IsActive | None) -> "_SessionRun":
        return _SessionRun(decode_session_run_request(data), data, as_content=self._as_content)


class _SessionRun(MessageRequest):
    __slots__ = ("_as_content", "_request", "_signature_name")

    method = "session_run"

    def __init__(self, request: SessionRunRequest, data: bytes, *, as_content: bool) -> None:
        spec = given_spec(request.spec)
        super().__init__(servable_request(spec), spec, data)
        self._request = request
        self._signature_name = spec.signature_name or DEFAULT_SIGNATURE if request.is_alias else ""
        self._as_content = as_content

    def decode(self, handle: Handle, is_active: IsActive | None) -> bool:
        """See `InferenceRequest`."""
        request, model = self._request, handle.model
        names = _names_in_graph(request, self._signature_name, model)
        self.start = model.program_in_graph(names.feeds, names.fetches, names.targets).start
        room = room_for(self.data, is_active)
        self.feeds = [_fed(name, tensor, room) for name, tensor in request.feeds]
        self.meter = model.meter("", "session_run", "GRPC")
        self.handle = handle
        return True

    def encode(self, outputs: list[Array]) -> bytes:
        """See `InferenceRequest`."""
        version = self.handle.id.version
        answered = ModelSpec(self.spec.name, version, None, self._signature_name)
        named = list(zip(self._request.fetches, outputs, strict=True))
        return encode_session_run_response(answered, named, as_content=self._as_content)


def _names_in_graph(
    request: SessionRunRequest, signature_name: str, servable: Servable
) -> SessionNames:
    names = SessionNames([name for name, _ in request.feeds], request.fetches, request.targets)
    return (
        names_in_graph(names, signature_name, servable.graph.names) if request.is_alias else names
    )


def _fed(name: str, tensor: bytes, room: Room) -> Array:
    try:
        return decode_tensor(tensor, room)
    except InvalidArgument as error:
        raise InvalidArgument(f"tensor parsing error: {name}", hint=error.message) from error
