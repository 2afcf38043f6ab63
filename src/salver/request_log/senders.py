"""Senders by the URL of the server."""

from collections.abc import Mapping

from salver.errors import InvalidArgument
from salver.request_log.grpc_sender import GrpcSender
from salver.request_log.rest_sender import RestSender
from salver.request_log.sending import Redirection, Sender

__all__ = ["sender_of"]


def sender_of(
    url: str,
    redirection: Redirection,
    timeout_s: float,
    headers: Mapping[str, str] | None = None,
) -> Sender:
    """What sends to a server.

    Args:
        url: `http://host:port` or `https://…` for REST; `grpc://host:port`, `host:port` or
            `unix:path` for gRPC.
        redirection: which servable is asked.
        timeout_s: how long to wait for an answer.
        headers: sent with each call, such as a key.

    Raises:
        InvalidArgument: this is no such URL.
    """
    if url.startswith(("http://", "https://")):
        return RestSender(url, redirection, timeout_s, headers)
    target = url.removeprefix("grpc://").rstrip("/")
    if "://" in target or not target:
        raise InvalidArgument(
            f"{url} is no server", hint="http://host:port, grpc://host:port and unix:path are."
        )
    return GrpcSender(target, redirection, timeout_s, headers)
