"""The standard health service.

Source: https://github.com/grpc/grpc/blob/master/doc/health-checking.md; the texts are those of the
service that gRPC's C++ server, and so the reference, brings along.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from typing import Any, Final

from google.protobuf.message import DecodeError

from salver._pb import message_class
from salver.errors import InvalidArgument, NotFound
from salver.protocols.api import Api
from salver.protocols.methods import Call, MethodTable, Stream
from salver.vocabulary.access import Verb

__all__ = ["Health", "make_health_api"]

_Request: Any = message_class("grpc.health.v1.HealthCheckRequest")
_Response: Any = message_class("grpc.health.v1.HealthCheckResponse")

_SERVING: Final[bytes] = _Response(status=_Response.SERVING).SerializeToString()
_NOT_SERVING: Final[bytes] = _Response(status=_Response.NOT_SERVING).SerializeToString()
_UNKNOWN: Final[bytes] = _Response(status=_Response.SERVICE_UNKNOWN).SerializeToString()


def make_health_api(services: Iterable[str], is_serving: Callable[[], bool]) -> Api:
    """See `Health`."""
    health = Health(services, is_serving)
    methods = health.methods()
    return Api(
        methods=methods,
        verbs=dict.fromkeys(methods, Verb.HEALTH),
        filtered=frozenset(methods),
        refresh=health.refresh,
        close=health.close,
    )


class Health:
    """Answers whether the services of this server may be used now. Belongs to the loop."""

    def __init__(
        self, services: Iterable[str], is_serving: Callable[[], bool], *, poll_every_s: float = 1.0
    ) -> None:
        """Make the service.

        Args:
            services: full names. Each is also known by what stands behind its last dot, which is
                how the reference calls them, and all together by the empty name.
            is_serving: asked at each check.
            poll_every_s: how often a watch polls for a change that no `refresh` has reported.
        """
        names = list(services)
        self._names = frozenset(["", *names, *(name.rpartition(".")[2] for name in names)])
        self._is_serving = is_serving
        self._poll_every_s = poll_every_s
        self._is_closed = False
        self._changed = asyncio.Event()

    def methods(self) -> MethodTable:
        """Its part of the table."""
        return {
            "/grpc.health.v1.Health/Check": self.check,
            "/grpc.health.v1.Health/Watch": Stream(self.watch, is_request_single=True),
        }

    def refresh(self) -> None:
        """Make every watch look at once."""
        self._changed.set()
        self._changed = asyncio.Event()

    def close(self) -> None:
        """Say what there is to say to every watch, and end it."""
        self._is_closed = True
        self.refresh()

    def check(self, data: bytes, _call: Call) -> bytes:
        """Health/Check.

        Raises:
            NotFound: no such service.
            InvalidArgument: the request is no HealthCheckRequest.
        """
        if _service(data) not in self._names:
            raise NotFound("service name unknown")
        return self._status()

    async def watch(
        self, requests: AsyncIterator[bytes], _call: Call
    ) -> "AsyncGenerator[bytes, None]":
        """Health/Watch: the status now, and again whenever it is another.

        Raises:
            InvalidArgument: the request is no HealthCheckRequest.
        """
        async for data in requests:  # there is one
            is_known = _service(data) in self._names
            reported = None
            while True:
                changed = self._changed
                status = self._status() if is_known else _UNKNOWN
                if status != reported:
                    reported = status
                    yield status
                if self._is_closed:
                    return
                waiting = asyncio.ensure_future(changed.wait())
                try:
                    await asyncio.wait((waiting,), timeout=self._poll_every_s)
                finally:
                    waiting.cancel()

    def _status(self) -> bytes:
        return _SERVING if self._is_serving() else _NOT_SERVING


def _service(data: bytes) -> str:
    try:
        return str(_Request.FromString(data).service)
    except DecodeError:
        raise InvalidArgument("could not parse request") from None
