"""Sends calls of a log by the Open Inference Protocol, over REST or gRPC.

A log has Predict, Classify and Regress, and the protocol has tensors alone: Predict can be sent.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from salver.client.address import parse_address
from salver.client.blocking import wire_of
from salver.client.exchange import Exchange, Which
from salver.client.grpc_transport import GrpcTransport
from salver.client.http_transport import HttpTransport
from salver.codecs.json.document import Document
from salver.codecs.protobuf.predict_message import decode_predict_request
from salver.codecs.protobuf.prediction_log import LogKind
from salver.codecs.protobuf.tensor_proto import decode_tensor
from salver.errors import FailedPrecondition, Unimplemented
from salver.request_log.answers import Answer
from salver.request_log.reading import LoggedRecord
from salver.request_log.senders import sender_of
from salver.request_log.sending import Redirection, Sender
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import DEFAULT_SIGNATURE, Signature

__all__ = ["V2Sender", "sender_by"]

_ANY: Final = Signature({}, {})


def sender_by(
    protocol: str,
    url: str,
    redirection: Redirection,
    timeout_s: float,
    headers: Mapping[str, str] | None = None,
) -> Sender:
    """What sends to a server by a protocol: `tfs` (see `sender_of`) or `v2`.

    Raises:
        InvalidArgument: this is no URL of a server.
    """
    if protocol == "tfs":
        return sender_of(url, redirection, timeout_s, headers)
    is_named = "://" in url or url.startswith("unix:")
    return V2Sender(url if is_named else f"grpc://{url}", redirection, timeout_s, headers)


class V2Sender:
    """Asks a server of the Open Inference Protocol."""

    def __init__(
        self,
        url: str,
        redirection: Redirection,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Connect to nobody yet; `headers` are sent with each call.

        Raises:
            InvalidArgument: this is no URL of a server.
        """
        address = parse_address(url)
        self._wire = wire_of(is_grpc=address.is_grpc, protocol="v2")
        kind = GrpcTransport if address.is_grpc else HttpTransport
        self._transport = kind(address, None, headers or {})
        self._redirection = redirection
        self._timeout_s = timeout_s
        self._signatures: dict[Which, Signature | None] = {}

    def __call__(self, record: LoggedRecord) -> Answer:
        """See `Sender`."""
        if record.kind is not LogKind.PREDICT:
            raise Unimplemented(
                f"The Open Inference Protocol has no {record.kind.name.lower()}: send it by tfs"
            )
        spec = self._redirection.of(record.spec)
        which = Which(spec.name, spec.version, spec.label)
        name = spec.signature_name or DEFAULT_SIGNATURE
        feeds = self._feeds(record, which, name)
        answer = self._ask(self._wire.predict(which, name, feeds, record.output_filter))
        return Answer(answer.arrays(_ANY), is_typed=True)

    def close(self) -> None:
        """See `Sender`."""
        self._transport.close()

    def _ask(self, exchange: Exchange[Any]) -> Any:
        return exchange.read(self._transport.send(exchange, self._timeout_s))

    def _feeds(self, record: LoggedRecord, which: Which, name: str) -> dict[str, Array]:
        if isinstance(record.request, bytes):
            tensors = decode_predict_request(record.request).inputs
            return {alias: decode_tensor(tensor) for alias, tensor in tensors.items()}
        signature = self._signature(which, name)
        arrays = Document(json.dumps(record.request).encode()).predict_inputs(name, signature)
        return dict(zip(signature.inputs, arrays.arrays, strict=True))

    def _signature(self, which: Which, name: str) -> Signature:
        """What the model takes, which JSON does not say.

        Raises:
            FailedPrecondition: the protocol does not tell of this signature.
        """
        if which not in self._signatures:
            signatures = self._ask(self._wire.metadata(which)).signatures
            self._signatures[which] = signatures.get(DEFAULT_SIGNATURE)
        found = self._signatures[which] if name == DEFAULT_SIGNATURE else None
        if found is None:
            raise FailedPrecondition(
                f"Nobody tells the types of signature {name!r} by the Open Inference Protocol",
                hint="Log by `file`, which has the types, or replay with --protocol tfs.",
            )
        return found
