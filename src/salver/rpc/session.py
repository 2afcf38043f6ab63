"""SessionService: any tensors of a model's graph.

TensorFlow Serving describes this service (`apis/session_service.proto`); its stock server does not
offer it. The run options of a request are ignored, as it says there.
"""

from collections.abc import Coroutine
from typing import Any, Final

from salver.codecs.model_spec import ModelSpec
from salver.codecs.room import Room
from salver.codecs.service_messages import (
    SessionRunRequest,
    decode_session_run_request,
    encode_session_run_response,
)
from salver.codecs.tensor_proto import decode_tensor
from salver.errors import InvalidArgument
from salver.inference.logged import NO_LOGS, CallLogs, log_of_messages
from salver.inference.running import Prepared
from salver.inference.servable import Servable
from salver.inference.serving import Serving
from salver.inference.session_run import SessionNames, names_in_graph
from salver.requests import Array
from salver.rpc.calls import Answering, given_spec, servable_request
from salver.rpc.table import Call, MethodTable
from salver.signature import DEFAULT_SIGNATURE
from salver.threads import InPool

__all__ = ["SessionService"]

_SERVICE: Final = "/tensorflow.serving.SessionService"


class SessionService:
    """Answers its one call. Belongs to the loop."""

    def __init__(
        self,
        serving: Serving,
        *,
        in_pool: InPool,
        as_content: bool = False,
        logs: CallLogs = NO_LOGS,
    ) -> None:
        """Make the service.

        Args:
            serving: finds the servables.
            in_pool: runs a function in the run pool.
            as_content: `--enable_serialization_as_tensor_content`.
            logs: take the calls that are answered.
        """
        self._logs = logs
        self._serving = serving
        self._answer = Answering(in_pool)
        self._as_content = as_content

    def methods(self) -> MethodTable:
        """Its part of the table."""
        return {f"{_SERVICE}/SessionRun": self.session_run}

    def session_run(self, data: bytes, call: Call) -> bytes | Coroutine[Any, Any, bytes]:
        """SessionRun: feeds, fetches and targets, by their names in the graph or by aliases.

        Raises:
            ServingError: also out of the coroutine.
        """
        return self._answer(self._prepare, data, call)

    def _prepare(self, data: bytes, room: Room) -> Prepared[bytes]:
        request = decode_session_run_request(data)
        spec = given_spec(request.spec)
        handle = self._serving.acquire(servable_request(spec))
        signature_name = spec.signature_name or DEFAULT_SIGNATURE if request.is_alias else ""
        try:
            names = _names_in_graph(request, signature_name, handle.model)
            program = handle.model.program(names.feeds, names.fetches, names.targets)
            feeds = [_fed(name, tensor, room) for name, tensor in request.feeds]
        except BaseException:
            handle.release()
            raise
        answered = ModelSpec(spec.name, handle.id.version, None, signature_name)
        as_content = self._as_content

        def encode(outputs: list[Array]) -> bytes:
            named = list(zip(request.fetches, outputs, strict=True))
            return encode_session_run_response(answered, named, as_content=as_content)

        log = None
        if self._logs.loggers:
            asked = servable_request(spec)
            log = log_of_messages(
                self._logs, "session_run", asked, handle.id.version, spec.signature_name, data
            )
        meter = handle.model.meter("", "session_run", "GRPC")
        return Prepared(handle, program.start, feeds, encode, meter, log=log)


def _names_in_graph(
    request: SessionRunRequest, signature_name: str, servable: Servable
) -> SessionNames:
    names = SessionNames([name for name, _ in request.feeds], request.fetches, request.targets)
    return names_in_graph(names, signature_name, servable.signatures) if request.is_alias else names


def _fed(name: str, tensor: bytes, room: Room) -> Array:
    try:
        return decode_tensor(tensor, room)
    except InvalidArgument as error:
        raise InvalidArgument(f"tensor parsing error: {name}", hint=error.message) from error
