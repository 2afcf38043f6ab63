"""How the gRPC server is set up, from its flags."""

import re
from dataclasses import dataclass

from salver.config.options import ServerOptions
from salver.config.tls import TlsConfig, read_ssl_config_file
from salver.errors import InvalidArgument

__all__ = ["ChannelArgument", "GrpcConfig", "channel_arguments", "is_native", "read_grpc_config"]

ChannelArgument = tuple[str, int | str]
"""A setting of the gRPC library: `("grpc.max_connection_age_ms", 2000)`."""

_INTEGER = re.compile(r"\s*([+-]?[0-9]{1,40})\s*", re.ASCII)  # as absl::SimpleAtoi reads one


@dataclass(frozen=True, slots=True)
class GrpcConfig:
    """Where the gRPC server listens, and how.

    Attributes:
        host: a name or an address; empty for every address of the machine.
        port: 0 for no TCP port.
        socket_path: of a UNIX socket; empty for none.
        tls: secures the port and the socket; None leaves them plain.
        is_alts: secures them by Google's ALTS instead.
        is_native: spoken by Salver itself, and not by the gRPC library. The library alone has ALTS.
        channel_arguments: in the order of the flag; of two with one name the last counts.
    """

    host: str
    port: int
    socket_path: str
    tls: TlsConfig | None
    is_alts: bool
    is_native: bool
    channel_arguments: tuple[ChannelArgument, ...]


def read_grpc_config(options: ServerOptions) -> GrpcConfig | None:
    """What the flags say; None for a server without a gRPC address.

    Raises:
        InvalidArgument: a flag or a file is wrong.
        ServingError: a file cannot be read.
    """
    arguments = channel_arguments(options.grpc_channel_arguments)
    tls = read_ssl_config_file(options.ssl_config_file) if options.ssl_config_file else None
    if options.port == 0 and not options.grpc_socket_path:
        return None
    return GrpcConfig(
        options.host,
        options.port,
        options.grpc_socket_path,
        tls,
        options.use_alts_credentials,
        is_native(options),
        arguments,
    )


def is_native(options: ServerOptions) -> bool:
    """Whether Salver itself speaks gRPC; `--use_alts_credentials` takes the library in any case."""
    return options.grpc_transport == "native" and not options.use_alts_credentials


def channel_arguments(text: str) -> tuple[ChannelArgument, ...]:
    """Read `--grpc_channel_arguments`: `key=value,key=value`; what reads as an int32 is one.

    Raises:
        InvalidArgument: an item has no `=` or no key; the reference crashes there.

    Source: TensorFlow Serving `model_servers/server.cc`, parseGrpcChannelArgs and its caller.
    """
    return tuple(_argument(item) for item in text.split(",")) if text else ()


def _argument(item: str) -> ChannelArgument:
    key, equals, value = item.partition("=")
    if not equals or not key:
        raise InvalidArgument(f"--grpc_channel_arguments: '{item}' is not of the form key=value")
    found = _INTEGER.fullmatch(value)
    number = int(found[1]) if found else 1 << 31
    return (key, number if -(1 << 31) <= number < 1 << 31 else value)
