"""The client of programs with a loop."""

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from salver.client.address import Address, Tls, headers_with_key, parse_address
from salver.client.answers import (
    ListedModel,
    ModelMetadata,
    ModelStatus,
    Outputs,
    ScoredClass,
)
from salver.client.attempts import Retries
from salver.client.blocking import (
    DEFAULT_RETRIES,
    DEFAULT_TIMEOUT_S,
    READY_TIMEOUT_S,
    Protocol,
    which_of,
    wire_of,
)
from salver.client.exchange import Pause, Reply, Send, Steps
from salver.client.features import Examples
from salver.client.operations import Operations
from salver.errors import hints_in_text
from salver.vocabulary.requests import Array

if TYPE_CHECKING:
    from salver.client.cluster import AsyncClusterTransport
    from salver.client.grpc_transport import AsyncGrpcTransport
    from salver.client.http_transport import AsyncHttpTransport

__all__ = ["AsyncClient"]

T = TypeVar("T")


class AsyncClient:
    """`Client`, with calls that are awaited. Belongs to the loop of its first call.

    Example:
        >>> async with salver.AsyncClient("http://127.0.0.1:8501") as client:
        ...     answers = await asyncio.gather(
        ...         *[client.predict("half_plus_two", [float(x)]) for x in range(100)]
        ...     )
    """

    @hints_in_text
    def __init__(
        self,
        url: str,
        *,
        protocol: Protocol = "tfs",
        timeout_s: float | None = DEFAULT_TIMEOUT_S,
        retries: int = DEFAULT_RETRIES,
        headers: Mapping[str, str] | None = None,
        api_key: str | None = None,
        tls: Tls | None = None,
        cluster: bool = False,
    ) -> None:
        """See `Client`."""
        self._is_cluster = cluster
        self._cluster: AsyncClusterTransport | None = None
        self.url = url
        self._address = parse_address(url)
        self._tls = tls
        self._headers = headers_with_key(headers, api_key)
        wire = wire_of(is_grpc=self._address.is_grpc, protocol=protocol)
        self._operations = Operations(wire, Retries(retries), timeout_s)
        self._transport: AsyncHttpTransport | AsyncGrpcTransport | None = None

    async def predict(
        self,
        model: str,
        inputs: Any,
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str | None = None,
        outputs: Sequence[str] | None = None,
        timeout_s: float | None = None,
    ) -> Outputs:
        """See `Client.predict`."""
        which = which_of(model, version, label)
        steps = self._operations.predict(which, inputs, signature, outputs, timeout_s)
        return await self._take(steps, model)

    async def classify(
        self,
        model: str,
        examples: Examples,
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str | None = None,
        timeout_s: float | None = None,
    ) -> list[list[ScoredClass]]:
        """See `Client.classify`."""
        which = which_of(model, version, label)
        return await self._take(
            self._operations.classify(which, examples, signature, timeout_s), model
        )

    async def regress(
        self,
        model: str,
        examples: Examples,
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str | None = None,
        timeout_s: float | None = None,
    ) -> Array:
        """See `Client.regress`."""
        which = which_of(model, version, label)
        return await self._take(
            self._operations.regress(which, examples, signature, timeout_s), model
        )

    async def status(
        self, model: str, *, version: int | None = None, timeout_s: float | None = None
    ) -> ModelStatus:
        """See `Client.status`."""
        return await self._take(
            self._operations.status(which_of(model, version, None), timeout_s), model
        )

    async def metadata(
        self,
        model: str,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout_s: float | None = None,
    ) -> ModelMetadata:
        """See `Client.metadata`."""
        which = which_of(model, version, label)
        steps = self._operations.metadata(which, timeout_s)
        return await self._take(steps, model)

    async def models(self, *, timeout_s: float | None = None) -> tuple[ListedModel, ...]:
        """See `Client.models`."""
        return await self._take(self._operations.models(timeout_s))

    async def wait_ready(
        self,
        model: str | None = None,
        *,
        version: int | None = None,
        timeout_s: float = READY_TIMEOUT_S,
    ) -> None:
        """See `Client.wait_ready`."""
        which = None if model is None else which_of(model, version, None)
        await self._take(self._operations.wait_ready(which, timeout_s), model or "")

    async def close(self) -> None:
        """Close the connections."""
        transport, self._transport = self._transport, None
        cluster, self._cluster = self._cluster, None
        for each in (transport, cluster):
            if each is not None:
                await each.close()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncClient({self.url!r})"

    def _made(self, address: Address) -> "AsyncHttpTransport | AsyncGrpcTransport":
        if address.is_grpc:
            from salver.client.grpc_transport import AsyncGrpcTransport

            return AsyncGrpcTransport(address, self._tls, self._headers)
        from salver.client.http_transport import AsyncHttpTransport

        return AsyncHttpTransport(address, self._tls, self._headers)

    async def _send(self, step: Send, model: str) -> Reply:
        """Send; the transport is made in the loop, to which it belongs."""
        if self._is_cluster:
            if self._cluster is None:
                from salver.client.cluster import AsyncClusterTransport

                self._cluster = AsyncClusterTransport(self._address, self._made, self._made)
            return await self._cluster.send(step.exchange, step.timeout_s, model)
        if self._transport is None:
            self._transport = self._made(self._address)
        return await self._transport.send(step.exchange, step.timeout_s)

    async def _take(self, steps: Steps[T], model: str = "") -> T:
        """Take the steps of a call, which is about a model, or about none."""
        with hints_in_text:
            return await self._taken(steps, model)

    async def _taken(self, steps: Steps[T], model: str) -> T:
        try:
            step = next(steps)
            while True:
                if isinstance(step, Pause):
                    await asyncio.sleep(step.seconds)
                    step = next(steps)
                    continue
                try:
                    reply = await self._send(step, model)
                except Exception as error:  # noqa: BLE001 - handed to the call
                    step = steps.throw(error)
                else:
                    step = steps.send(reply)
        except StopIteration as end:
            answer: T = end.value
            return answer
