"""What the flags say of other servers, to which this one may hand requests on."""

import re
from dataclasses import dataclass, field
from typing import Final

from salver.config.options import ServerOptions
from salver.config.tls import TlsConfig, read_ssl_config_file
from salver.errors import InvalidArgument

__all__ = ["PeerConfig", "read_peer_config"]

_LIMITS: Final = (
    "peer_max_connections",
    "peer_max_outstanding_requests",
    "peer_connect_timeout_ms",
)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")  # as in the map
_ONLY_WITH_A_MAP: Final = (
    "peer_name",
    "peer_token_file",
    "peer_ssl_config_file",
    "peer_certificate_names",
)


@dataclass(frozen=True, slots=True)
class PeerConfig:
    """What one server has to know to be one of several.

    Attributes:
        map_file: path of the map, which is read again when it changes.
        name: of this server in the map.
        token_file: path of what peers show each other; empty for nothing.
        tls: how connections to peers are secured: the key and the certificate that this server
            shows, if it has any, and the authority that theirs are checked against. None: they are
            not.
        certificate_names: whoever has shown a certificate of one of these names is a peer.
        max_connections: to one peer.
        max_outstanding: requests that wait for one peer.
        connect_timeout_s: for a connection to be made.
    """

    map_file: str
    name: str
    token_file: str = ""
    tls: TlsConfig | None = field(default=None, repr=False)
    certificate_names: frozenset[str] = frozenset()
    max_connections: int = 128
    max_outstanding: int = 1024
    connect_timeout_s: float = 1.0


def read_peer_config(options: ServerOptions) -> PeerConfig | None:
    """What the flags say; None for a server that knows of no other.

    Raises:
        InvalidArgument: they make no sense, or the file of TLS settings does not.
        ServingError: that cannot be read.
    """
    for name in _LIMITS:
        if getattr(options, name) < 1:
            raise InvalidArgument(f"--{name} must be positive, not {getattr(options, name)}.")
    if not options.peer_map_file:
        for name in _ONLY_WITH_A_MAP:
            if getattr(options, name):
                raise InvalidArgument(f"--{name} is of use only with --peer_map_file.")
        return None
    if not options.peer_name:
        raise InvalidArgument(
            "--peer_map_file needs --peer_name: which of the servers in the map is this one?"
        )
    if not _NAME.fullmatch(options.peer_name):
        raise InvalidArgument(
            f"--peer_name is no name of letters, digits and . _ : - : {options.peer_name!r}"
        )
    path = options.peer_ssl_config_file
    names = (name.strip() for name in options.peer_certificate_names.split(","))
    return PeerConfig(
        options.peer_map_file,
        options.peer_name,
        options.peer_token_file,
        read_ssl_config_file(path) if path else None,
        frozenset(filter(None, names)),
        options.peer_max_connections,
        options.peer_max_outstanding_requests,
        options.peer_connect_timeout_ms / 1000,
    )
