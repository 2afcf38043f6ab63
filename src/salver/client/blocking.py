"""The client of programs that wait for answers."""

import time
from collections.abc import Mapping, Sequence
from operator import index
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from salver.client.address import Tls, headers_with_key, parse_address
from salver.client.answers import (
    ListedModel,
    ModelMetadata,
    ModelStatus,
    Outputs,
    ScoredClass,
)
from salver.client.attempts import Retries
from salver.client.exchange import Pause, Reply, Send, Steps, Which
from salver.client.features import Examples
from salver.client.operations import Operations
from salver.client.wire import Wire
from salver.errors import InvalidArgument, hints_in_text
from salver.vocabulary.requests import Array

if TYPE_CHECKING:
    from salver.client.cluster import ClusterTransport as AnyCluster

__all__ = ["Client", "Protocol", "which_of", "wire_of"]

T = TypeVar("T")

DEFAULT_TIMEOUT_S = 60.0
DEFAULT_RETRIES = 3
READY_TIMEOUT_S = 60.0


Protocol = Literal["tfs", "v2"]
"""TensorFlow Serving's API, or the Open Inference Protocol."""


def wire_of(*, is_grpc: bool, protocol: Protocol = "tfs") -> Wire:
    """The wire form of an API; the others are not imported.

    Raises:
        InvalidArgument: there is no such protocol.
    """
    if protocol == "v2":
        if is_grpc:
            from salver.client.v2_grpc_wire import V2GrpcWire

            return V2GrpcWire()
        from salver.client.v2_rest_wire import V2RestWire

        return V2RestWire()
    if protocol != "tfs":
        raise InvalidArgument(
            f"There is no protocol {protocol!r}",
            hint="tfs is TensorFlow Serving's API, v2 the Open Inference Protocol.",
        )
    if is_grpc:
        from salver.client.grpc_wire import GrpcWire

        return GrpcWire()
    from salver.client.rest_wire import RestWire

    return RestWire()


def which_of(model: str, version: int | None, label: str | None) -> Which:
    """What is asked.

    Raises:
        InvalidArgument: both a version and a label, or a version that is no number of 64 bits.
    """
    if version is not None and label is not None:
        raise InvalidArgument("Give a version or a label, not both")
    if version is not None:
        try:
            version = index(version)
        except TypeError:
            raise InvalidArgument(f"A version is an integer, not {version!r}") from None
        if not -(2**63) <= version < 2**63:
            raise InvalidArgument(f"A version has 64 bits, which {version} has not")
    return Which(model, version, label)


class Client:
    """Asks a model server: Salver, TensorFlow Serving, or one of the Open Inference Protocol.

    One client serves all threads of a program, and keeps its connections. Errors are the classes
    of `salver.errors`, with the server's code, message and hint.

    Example:
        >>> client = salver.Client("http://127.0.0.1:8501")
        >>> client.predict("half_plus_two", [1.0, 2.0, 5.0])
        {'y': array([2.5, 3. , 4.5], dtype=float32)}
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
        """Make a client; nothing is sent yet.

        Args:
            url: `http://HOST:PORT` or `https://…` for the REST API; `grpc://HOST:PORT`,
                `grpcs://…` or `unix:/PATH` for gRPC.
            protocol: `tfs` for TensorFlow Serving's API; `v2` for the Open Inference Protocol,
                which servers of KServe and Triton speak too.
            timeout_s: of each call, with its retries; None for no limit.
            retries: how often a call is sent again that did not reach the server, or that the
                server was unavailable for.
            headers: sent with each call; with gRPC its metadata.
            api_key: a key or a token, for a server that asks who calls.
            tls: for `https:` and `grpcs:`; None to trust what the system trusts.
            cluster: whether to fetch the map of the servers that the given one knows of, and to ask
                the one that has the model; the given one where nobody knows it.

        Raises:
            InvalidArgument: the URL, the key, or a TLS file, is none.
            FailedPrecondition: gRPC is asked for, and grpcio not installed.
        """
        address = parse_address(url)
        self.url = url
        wire = wire_of(is_grpc=address.is_grpc, protocol=protocol)
        self._operations = Operations(wire, Retries(retries), timeout_s)
        if address.is_grpc:
            from salver.client.grpc_transport import GrpcTransport as Transport
        else:
            from salver.client.http_transport import (  # type: ignore[assignment]
                HttpTransport as Transport,
            )
        sent = headers_with_key(headers, api_key)
        self._cluster: AnyCluster | None = None
        self._transport: Any = None
        if not cluster:
            self._transport = Transport(address, tls, sent)
            return
        from salver.client.cluster import ClusterTransport
        from salver.client.http_transport import HttpTransport

        self._cluster = ClusterTransport(
            address,
            lambda where: Transport(where, tls, sent),
            lambda where: HttpTransport(where, tls, sent),
        )

    def predict(
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
        """Compute the outputs of a model.

        Args:
            model: its name.
            inputs: alias → array, list or number; or just one of these for a signature with one
                input. Converted to the dtype that the signature says where only precision can be
                lost; strings are `str` or `bytes`.
            version: that is to answer; None for the newest available.
            label: of the version, in place of its number.
            signature: None for `serving_default`.
            outputs: aliases of the outputs that are wanted; None for all.
            timeout_s: None for the client's own.

        Returns:
            Output alias → array of the dtype that the signature says, strings as `bytes` in an
            array of objects; and in the attribute `version` the version that answered.

        Raises:
            ServingError: what the server said; `Unavailable` when it cannot be reached,
                `DeadlineExceeded` when the time is over.
        """
        which = which_of(model, version, label)
        return self._take(
            self._operations.predict(which, inputs, signature, outputs, timeout_s), model
        )

    def classify(
        self,
        model: str,
        examples: Examples,
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str | None = None,
        timeout_s: float | None = None,
    ) -> list[list[ScoredClass]]:
        """Classify examples.

        Args:
            model: its name.
            examples: each a dict of features, or a serialized `tensorflow.Example`. By the Open
                Inference Protocol, which has no examples: a dict of inputs each, or what `predict`
                takes.
            version: see `predict`, as of all that follow.
            label: see there.
            signature: see there.
            timeout_s: see there.

        Returns:
            For each example its classes, as pairs of label and score; by the Open Inference
            Protocol all classes of the only output, the best first.

        Raises:
            ServingError: as `predict`.
        """
        which = which_of(model, version, label)
        steps = self._operations.classify(which, examples, signature, timeout_s)
        return self._take(steps, model)

    def regress(
        self,
        model: str,
        examples: Examples,
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str | None = None,
        timeout_s: float | None = None,
    ) -> Array:
        """Compute one value for each example; see `classify`.

        Returns:
            Shape (examples,), float32.

        Raises:
            ServingError: as `predict`.
        """
        which = which_of(model, version, label)
        steps = self._operations.regress(which, examples, signature, timeout_s)
        return self._take(steps, model)

    def status(
        self, model: str, *, version: int | None = None, timeout_s: float | None = None
    ) -> ModelStatus:
        """Where the versions of a model stand, or one of them.

        Raises:
            ServingError: as `predict`; `NotFound` for a model that the server does not know.
        """
        steps = self._operations.status(which_of(model, version, None), timeout_s)
        return self._take(steps, model)

    def metadata(
        self,
        model: str,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout_s: float | None = None,
    ) -> ModelMetadata:
        """What a version takes and gives: its signatures.

        Raises:
            ServingError: as `predict`.
        """
        which = which_of(model, version, label)
        steps = self._operations.metadata(which, timeout_s)
        return self._take(steps, model)

    def models(self, *, timeout_s: float | None = None) -> tuple[ListedModel, ...]:
        """All models of the server, with their versions and labels. Over REST only.

        Raises:
            Unimplemented: the server cannot tell, as TensorFlow Serving.
            ServingError: as `predict`.
        """
        return self._take(self._operations.models(timeout_s))

    def wait_ready(
        self,
        model: str | None = None,
        *,
        version: int | None = None,
        timeout_s: float = READY_TIMEOUT_S,
    ) -> None:
        """Wait until a model can be asked, or, without one, until the server is ready.

        Args:
            model: its name; None for every model of the server.
            version: wait for this one; None for any.
            timeout_s: how long at most.

        Raises:
            DeadlineExceeded: it was not ready in time; the text says what it was instead.
            ServingError: no version could be loaded: with the server's code and text.
        """
        which = None if model is None else which_of(model, version, None)
        self._take(self._operations.wait_ready(which, timeout_s), model or "")

    def close(self) -> None:
        """Close the connections."""
        (self._cluster or self._transport).close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    def _take(self, steps: Steps[T], model: str = "") -> T:
        """Take the steps of a call, which is about a model, or about none."""
        with hints_in_text:
            return self._taken(steps, model)

    def _send(self, step: Send, model: str) -> Reply:
        if self._cluster is not None:
            return self._cluster.send(step.exchange, step.timeout_s, model)
        reply: Reply = self._transport.send(step.exchange, step.timeout_s)
        return reply

    def _taken(self, steps: Steps[T], model: str) -> T:
        try:
            step = next(steps)
            while True:
                if isinstance(step, Pause):
                    time.sleep(step.seconds)
                    step = next(steps)
                    continue
                try:
                    reply = self._send(step, model)
                except Exception as error:  # noqa: BLE001 - handed to the call
                    step = steps.throw(error)
                else:
                    step = steps.send(reply)
        except StopIteration as end:
            answer: T = end.value
            return answer
