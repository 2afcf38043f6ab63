"""Warmup of a version while it is loaded: a gRPC service of its own, asked from the load thread.

The requests take the way of all requests, through the loop, the codecs, the runner and the batches.
So what they warm is what others will use: kernels, programs, how long these are known to take.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any

from salver.codecs.protobuf.model_spec import ModelSpec, encode_model_spec
from salver.codecs.protobuf.prediction_log import LogKind
from salver.codecs.protobuf.wire import length_delimited
from salver.config.options import ServerOptions
from salver.errors import STOPPING, Unavailable
from salver.inference.servable import Servable
from salver.inference.serving import Serving
from salver.instruments.threads import InPool
from salver.vocabulary.servable import ServableId
from salver.warmup.replay import Replay
from salver.warmup.serving import OneServable

if TYPE_CHECKING:
    from salver.tfs.rpc.prediction import (
        PredictionService,  # needed only where there is a warmup file
    )

__all__ = ["MakeService", "Warming", "service_maker"]


MakeService = Callable[[Serving], "PredictionService"]
"""Makes what answers gRPC for a serving map, with the options that gRPC has. Called in the loop."""


def service_maker(
    options: ServerOptions,
    in_pool: InPool,
    *,
    count_examples: Callable[[str, int], None] = lambda _model, _count: None,
) -> MakeService:
    """What makes such services.

    Args:
        options: the flags.
        in_pool: runs a function in the pool for large messages.
        count_examples: see `PredictionService`.
    """

    def make(serving: Serving) -> "PredictionService":
        from salver.tfs.rpc.prediction import PredictionService

        return PredictionService(
            serving,
            in_pool=in_pool,
            is_method_checked=options.enable_signature_method_name_check,
            as_content=options.enable_serialization_as_tensor_content,
            entrypoint="WARMUP",
            count_examples=count_examples,
        )

    return make


class Warming:
    """Warms the versions of one server."""

    def __init__(self, make_service: MakeService, loop: asyncio.AbstractEventLoop) -> None:
        """Begin with no version.

        Args:
            make_service: see there.
            loop: where requests are answered.
        """
        self._make_service = make_service
        self._loop = loop
        self._lock = threading.Lock()
        self._awaited: set[Future[Any]] = set()
        self._is_stopped = False

    def warm(self, replay: Replay, servable: Servable, id: ServableId, directory: str) -> None:
        """Replay the warmup file of a version, if it has one. Called from load threads.

        Args:
            replay: how.
            servable: the version; closed when this fails, unless the server stops with a run in it.
            id: its name and number.
            directory: where it is.

        Raises:
            Unavailable: `stop` was called meanwhile.
            ServingError: see `Replay`.
        """
        version = _Version(id, servable, self._make_service)
        try:
            replay(directory, lambda kind, request: self._ask(version, kind, request))
        except BaseException:
            if self._becomes_idle(version.serving):
                servable.close()
            raise
        if not self._becomes_idle(version.serving):
            raise Unavailable(STOPPING)

    def stop(self) -> None:
        """Give up whatever is being warmed, now and for ever; before the loop ends."""
        with self._lock:
            self._is_stopped = True
            awaited = list(self._awaited)
        for future in awaited:
            future.cancel()

    def _ask(self, version: "_Version", kind: LogKind, request: bytes) -> None:
        with self._lock:
            if self._is_stopped:  # and the loop, perhaps, closed
                raise Unavailable(STOPPING)
            answer = asyncio.run_coroutine_threadsafe(version.answer(kind, request), self._loop)
            self._awaited.add(answer)
        try:
            answer.result()
        except CancelledError:
            raise Unavailable(STOPPING) from None
        finally:
            self._forget(answer)

    def _becomes_idle(self, serving: OneServable) -> bool:
        """Wait until nothing runs in a version any more; False where the server stops before."""
        idle: Future[None] = Future()

        def drained() -> None:
            if idle.set_running_or_notify_cancel():
                idle.set_result(None)

        serving.entry.withdraw(drained)
        with self._lock:
            if self._is_stopped and not idle.done():
                idle.cancel()
            self._awaited.add(idle)
        try:
            idle.result()
        except CancelledError:
            return False
        finally:
            self._forget(idle)
        return True

    def _forget(self, future: "Future[Any]") -> None:
        with self._lock:
            self._awaited.discard(future)


class _Version:
    """A version that is asked, in the loop."""

    def __init__(self, id: ServableId, servable: Servable, make_service: MakeService) -> None:
        self.serving = OneServable(id, servable)
        self._make_service = make_service
        self._methods: dict[LogKind, Callable[[bytes], bytes | Awaitable[bytes]]] | None = None
        # In front of a request: a model name for one that has none, which warmup does not mind.
        self._name_field = length_delimited(1, encode_model_spec(ModelSpec(id.name)))

    async def answer(self, kind: LogKind, request: bytes) -> None:
        """Have a request answered.

        Raises:
            ServingError: it was not.
        """
        if self._methods is None:
            self._methods = self._make_methods()
        answer = self._methods[kind](request)
        if isinstance(answer, Coroutine):
            await answer

    def _make_methods(self) -> dict[LogKind, Callable[[bytes], bytes | Awaitable[bytes]]]:
        from salver.protocols.methods import Call

        service = self._make_service(self.serving)
        name_field = self._name_field
        return {
            LogKind.PREDICT: lambda request: service.predict(name_field + request, Call()),
            LogKind.CLASSIFY: lambda request: service.classify(name_field + request, Call()),
            LogKind.REGRESS: lambda request: service.regress(name_field + request, Call()),
            LogKind.MULTI_INFERENCE: lambda request: service.multi_inference(request, Call()),
        }
