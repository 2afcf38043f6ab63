"""ModelService: the states of models, and a new configuration for a running server.

Source: TensorFlow Serving, `model_servers/model_service_impl.cc` and `get_model_status_impl.cc`.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Final, Protocol

from salver.codecs.protobuf.service_messages import (
    VersionReport,
    decode_reload_request,
    decode_status_request,
    encode_reload_response,
    encode_status_response,
)
from salver.config.models import ModelConfig, check_models, from_message
from salver.errors import InvalidArgument, ResourceExhausted, ServingError
from salver.inference.serving import Serving
from salver.instruments.threads import InThread
from salver.lifecycle.callers import Caller
from salver.lifecycle.monitor import VersionStatus
from salver.protocols.actors import actor_of
from salver.protocols.methods import Call, MethodTable
from salver.tfs.rpc.calls import given_spec

__all__ = ["ApplyModels", "ModelService"]

_log = logging.getLogger(__name__)

_SERVICE: Final = "/tensorflow.serving.ModelService"

_MAX_WAITING: Final = 16  # each of them may hold a message of any size
_MAX_LOGGED: Final = 100  # entries of a list


class ApplyModels(Protocol):
    """What makes a list of models the configuration, in whichever thread."""

    def __call__(self, models: tuple[ModelConfig, ...], *, caller: Caller) -> None:
        """Apply it, and wait for models until they are there or the caller leaves.

        Raises:
            ServingError: it cannot be applied; or what became of its models.
        """
        ...


class ModelService:
    """Answers the two calls. Belongs to the loop."""

    def __init__(
        self,
        serving: Serving,
        apply: ApplyModels,
        in_control: InThread,
        *,
        totals: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        """Make the service.

        Args:
            serving: tells of the versions.
            apply: see there; it may wait for models as long as they take.
            in_control: see there; gets the next function when the configuration of the one before
                is in effect.
            totals: counters by their names, as they stand; called in the loop.
        """
        self._totals = totals
        self._serving = serving
        self._apply = apply
        self._in_control = in_control
        self._turn = asyncio.Lock()  # gives turns in the order in which they were asked for
        self._n_waiting = 0

    def methods(self) -> MethodTable:
        """Its part of the table."""
        return {
            f"{_SERVICE}/GetModelStatus": self.get_model_status,
            f"{_SERVICE}/HandleReloadConfigRequest": self.handle_reload_config_request,
        }

    def get_model_status(self, data: bytes, _call: Call) -> bytes:
        """GetModelStatus: one version, or all that were ever seen. A label is ignored.

        Raises:
            InvalidArgument: the request names nothing.
            NotFound: there is nothing to tell.
        """
        spec = given_spec(decode_status_request(data))
        statuses = self._serving.statuses(spec.name, spec.version)
        return encode_status_response([_report(status) for status in statuses])

    async def handle_reload_config_request(self, data: bytes, call: Call) -> bytes:
        """HandleReloadConfigRequest: another list of models, until those it adds are available.

        One at a time, until the configuration is in effect; who waits for models keeps nobody from
        the next. A client that leaves before its turn has asked for nothing; one that leaves later
        takes nothing back: as in the reference, what it asked for is done, and what ends is the
        wait.

        Raises:
            InvalidArgument: it is no list of models.
            ResourceExhausted: too many wait for their turn.
            ServingError: what applying it raises.
        """
        if self._n_waiting >= _MAX_WAITING:
            raise ResourceExhausted(
                f"{_MAX_WAITING} other reloads of the configuration wait for the one that is "
                "being applied: try again later"
            )
        self._n_waiting += 1
        try:
            await self._turn.acquire()
        finally:
            self._n_waiting -= 1
        turn = _Turn(self._turn)
        caller = Caller(on_taken=turn.over, actor=actor_of(call))
        message = [data]
        del data  # who waits for models holds no message meanwhile
        applying = asyncio.ensure_future(self._reload(message, turn, caller))
        try:
            return await asyncio.shield(applying)
        except asyncio.CancelledError:
            applying.add_done_callback(_log_unexpected)
            caller.leave()
            raise

    async def _reload(self, message: list[bytes], turn: "_Turn", caller: Caller) -> bytes:
        before = self._totals()
        try:
            names: tuple[str, ...] = await self._in_control(
                lambda: _reloaded(message, self._apply, caller)
            )
        except ServingError as error:
            _log.error("ReloadConfig failed: %s", error.message)
            raise
        finally:
            turn.release()
        return encode_reload_response(_growth(names, before, self._totals()))


class _Turn:
    """A lock that is held, to be released once."""

    def __init__(self, lock: asyncio.Lock) -> None:
        self._lock = lock
        self._loop = asyncio.get_running_loop()
        self._is_over = False

    def over(self) -> None:
        """Release it; from any thread."""
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self.release)

    def release(self) -> None:
        """Release it, unless that has been done; on the loop."""
        if not self._is_over:
            self._is_over = True
            self._lock.release()


def _reloaded(
    message: list[bytes],
    apply: ApplyModels,
    caller: Caller,
) -> tuple[str, ...]:
    """Apply a request, which is taken out of the list; returns the metrics it asks for."""
    request = decode_reload_request(message.pop())
    models = None if request.config is None else from_message(request.config)
    if models is None:
        raise InvalidArgument(
            "ServerModelConfig type not supported by HandleReloadConfigRequest. "
            "Only ModelConfigList is currently supported"
        )
    check_models(models)
    for index, model in enumerate(models[:_MAX_LOGGED]):
        _log.info(
            "\nConfig entry\n\tindex : %d\n\tpath : %s\n\tname : %s\n\tplatform : %s",
            *(index, model.base_path, model.name, model.model_platform),
        )
    if len(models) > _MAX_LOGGED:
        _log.info("and %d more config entries", len(models) - _MAX_LOGGED)
    names = tuple(request.metric_names)
    del request
    apply(models, caller=caller)
    return names


def _growth(
    names: Iterable[str], before: Mapping[str, int], after: Mapping[str, int]
) -> Iterable[tuple[str, int]]:
    """By how much each metric has grown, each once; 0 for a name that is no counter's.

    The reference tells this of some cell of the metric; here it is the sum of all.
    """
    return [(name, after.get(name, 0) - before.get(name, 0)) for name in dict.fromkeys(names)]


def _report(status: VersionStatus) -> VersionReport:
    error = status.error
    if error is None:
        return VersionReport(status.id.version, status.state)
    return VersionReport(status.id.version, status.state, error.code, error.message)


def _log_unexpected(applying: "asyncio.Future[bytes]") -> None:
    """Tell of what nobody waits for any more."""
    error = None if applying.cancelled() else applying.exception()
    if error is not None and not isinstance(error, ServingError):
        _log.error("ReloadConfig failed", exc_info=error)
