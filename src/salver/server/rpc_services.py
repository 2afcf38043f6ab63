"""The gRPC services of a server, as tables of methods."""

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

from salver.config.models import ModelConfig
from salver.config.options import ServerOptions
from salver.errors import PermissionDenied
from salver.inference.logged import CallLogs
from salver.inference.serving import Serving
from salver.lifecycle.callers import Caller
from salver.metrics.registry import Metrics
from salver.rpc.counted import count_failures
from salver.rpc.health import Health
from salver.rpc.models import ModelService
from salver.rpc.patient import patient_methods
from salver.rpc.prediction import PredictionService
from salver.rpc.profiler import Profiler
from salver.rpc.reflection import reflection_methods
from salver.rpc.session import SessionService
from salver.rpc.table import Call, MethodTable, Stream
from salver.servable import ServableId
from salver.server.lazy import is_lazy
from salver.threads import InPool

__all__ = ["InThread", "RpcServices", "Served"]

InThread = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs a function in some other thread."""

_ADMINISTRATIVE: Final = (
    "/tensorflow.serving.ModelService/HandleReloadConfigRequest",
    "/tensorflow.serving.SessionService/",
    "/tensorflow.ProfilerService/",
)
"""Beginnings of the methods that change the server, look into it, or run any part of a graph."""


class Served(Serving, Protocol):
    """What the services ask of the models; a `ServerCore` and a worker's own have it."""

    def apply(
        self, models: tuple[ModelConfig, ...] | None, *, caller: Caller | None = None
    ) -> None:
        """Make `models` the configuration; waits for them, until the caller leaves."""
        ...

    def in_flight(self) -> Mapping[ServableId, int]:
        """How many requests hold each available version."""
        ...


class RpcServices:
    """All services of one server. Belongs to the loop.

    Attributes:
        table: every method.
    """

    def __init__(
        self,
        core: Served,
        options: ServerOptions,
        *,
        in_pool: InPool,
        in_control: InThread,
        is_serving: Callable[[], bool],
        metrics: Metrics,
        logs: CallLogs,
    ) -> None:
        """Build them.

        Args:
            core: the models.
            options: the flags.
            in_pool: runs a function in the run pool.
            in_control: runs a function that may wait for models.
            is_serving: what the health service says.
            metrics: count what is answered.
            logs: take the calls that are answered.
        """
        self._health: Health | None = None
        as_content = options.enable_serialization_as_tensor_content
        table: dict[str, Any] = {
            **PredictionService(
                core,
                in_pool=in_pool,
                is_method_checked=options.enable_signature_method_name_check,
                as_content=as_content,
                logs=logs,
                count_examples=metrics.examples_seen,
            ).methods(),
            **ModelService(core, core.apply, in_control, totals=metrics.totals).methods(),
        }
        if options.enable_session_service:
            sessions = SessionService(core, in_pool=in_pool, as_content=as_content, logs=logs)
            table.update(sessions.methods())
        if options.enable_grpc_healthcheck_service:
            self._health = Health(_services(table), is_serving)
            table.update(self._health.methods())
        self._profiler: Profiler | None = None
        if options.enable_profiler:
            self._profiler = Profiler(core.in_flight, now=time.time)  # noqa: TID251 - the clock
            table.update(self._profiler.methods())
        if is_lazy(options):
            table = dict(patient_methods(table))
        self._outcomes = metrics.outcomes
        self.table = self._finished(table)

    @property
    def has_profiler(self) -> bool:
        """Whether the profiler is one of them."""
        return self._profiler is not None

    def open_table(self) -> MethodTable:
        """The same for a port that is open to more people than the gRPC port.

        What administers the server is refused there, and reflection does not tell of it.
        """
        open_methods = {
            path: method
            for path, method in self.table.items()
            if not path.startswith((*_ADMINISTRATIVE, "/grpc.reflection."))
        }
        refused = {
            path: _refused(path, method)
            for path, method in self.table.items()
            if path.startswith(_ADMINISTRATIVE)
        }
        return {**refused, **self._finished(open_methods)}

    def refresh_health(self) -> None:
        """Look whether those who watch the health service are to be told something."""
        if self._health is not None:
            self._health.refresh()

    def close(self) -> None:
        """End what would otherwise go on for ever: watches of the health, profiles."""
        if self._health is not None:
            self._health.close()
        if self._profiler is not None:
            self._profiler.close()

    def _finished(self, table: Mapping[str, Any]) -> MethodTable:
        with_reflection = {**table, **reflection_methods(_services(table))}
        return count_failures(with_reflection, self._outcomes)


def _refused(path: str, method: object) -> Any:
    def refuse(*_asked: object) -> bytes:
        raise PermissionDenied(
            f"{path} is answered on the gRPC port only",
            hint="This port is that of the REST API",
        )

    async def refuse_stream(_requests: object, _call: Call) -> Any:
        refuse()
        yield b""

    if isinstance(method, Stream):
        return Stream(refuse_stream, is_request_single=method.is_request_single)
    return refuse


def _services(table: Mapping[str, object]) -> list[str]:
    return sorted({path.split("/")[1] for path in table})
