"""Where a server listens: binds its sockets, and says which protocols each of them speaks.

A socket is bound once, before or after the models are loaded, and then served by one process or by
several that inherit it.
"""

import logging
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from salver.config.checks import rest_port_refusal
from salver.config.grpc import GrpcConfig, is_native
from salver.config.options import ServerOptions
from salver.config.start_up import Configuration
from salver.config.tls import TlsConfig
from salver.errors import InvalidArgument, Unavailable
from salver.rpc.errors import CannotListen
from salver.server.free_ports import port_hint
from salver.transport.listeners import BACKLOG, open_listeners, open_unix_listener

__all__ = [
    "Crossing",
    "Port",
    "Ports",
    "admin_tls_of",
    "bind_ports",
    "crossing_of",
    "rest_url_of",
    "tcp_address",
    "tell_where",
    "tell_where_library",
    "warn_of_taken_port",
]

_log = logging.getLogger(__name__)

_UNIX: Final = "unix:"
_OF_ADMINISTRATORS: Final = 0o660  # its owner and its group may connect

_OpenTcp = Callable[[str, int], list[socket.socket]]


@dataclass(frozen=True, slots=True)
class Port:
    """One place where the server listens.

    Attributes:
        address: as it is announced: `http://127.0.0.1:8501`, `127.0.0.1:8500`, `unix:/run/s.sock`.
        sockets: bound; one for each address of the host.
    """

    address: str
    sockets: tuple[socket.socket, ...]


@dataclass(frozen=True, slots=True)
class Ports:
    """All places; None for those there are not.

    Attributes:
        rest: of the REST API.
        grpc: of the gRPC API, by TCP.
        unix: of the gRPC API, a UNIX socket.
        admin: of those who administer the server, by TCP: both APIs.
        admin_unix: the same, a UNIX socket.
        is_given: a service manager has opened them, and keeps them.
    """

    rest: Port | None = None
    grpc: Port | None = None
    unix: Port | None = None
    admin: Port | None = None
    admin_unix: Port | None = None
    is_given: bool = False

    @property
    def all(self) -> tuple[Port, ...]:
        """Those there are."""
        every = (self.grpc, self.unix, self.rest, self.admin, self.admin_unix)
        return tuple(port for port in every if port is not None)

    @property
    def grpc_addresses(self) -> tuple[str, ...]:
        """Where gRPC clients find the server."""
        return tuple(port.address for port in (self.grpc, self.unix) if port is not None)

    def remove_unix(self) -> None:
        """Take the UNIX sockets out of the file system, where they are this server's."""
        own = (self.admin_unix,) if self.is_given else (self.unix, self.admin_unix)
        for port in own:
            if port is not None:
                with suppress(OSError):
                    os.unlink(port.address.removeprefix(_UNIX))

    def close(self) -> None:
        """Close every socket here; who has inherited them keeps them."""
        for port in self.all:
            for each in port.sockets:
                each.close()


@dataclass(frozen=True, slots=True)
class Crossing:
    """Which API is answered on the port of the other one too.

    It is where both are protected alike, or the other one has no port of its own: a client must
    not get round TLS by taking the other port.

    Attributes:
        grpc_on_rest: gRPC on the REST port.
        rest_on_grpc: REST on the gRPC port and its UNIX socket.
        is_administered: `grpc_on_rest` with all methods, as there is no other port for gRPC.
        is_administered_apart: what administers the server has a place of its own, and is answered
            there alone.
    """

    grpc_on_rest: bool
    rest_on_grpc: bool
    is_administered: bool
    is_administered_apart: bool = False


def crossing_of(configuration: Configuration) -> Crossing:
    """What the flags mean for it."""
    options, grpc = configuration.options, configuration.grpc
    is_apart = bool(options.admin_port or options.admin_socket_path)
    if not options.enable_port_sharing or not is_native(options):
        return Crossing(
            grpc_on_rest=False,
            rest_on_grpc=False,
            is_administered=False,
            is_administered_apart=is_apart,
        )
    are_alike = grpc is not None and grpc.tls == configuration.rest_tls
    is_one = options.rest_api_port == options.port and configuration.rest_tls is None
    return Crossing(
        grpc_on_rest=grpc is None or are_alike,
        rest_on_grpc=are_alike or is_one or options.rest_api_port == 0,
        is_administered=grpc is None and not is_apart,
        is_administered_apart=is_apart,
    )


def bind_ports(
    configuration: Configuration,
    *,
    is_rest_needed: bool,
    is_grpc_needed: bool,
    is_listening: bool = True,
    given: Ports | None = None,
) -> Ports:
    """Bind what the flags ask for: gRPC, then REST, then what administers the server alone.

    What the gRPC library listens on by itself (`--grpc_transport=grpcio`) is not among it.

    Args:
        configuration: the flags.
        is_rest_needed: whether it is an error when the REST port cannot be had; the reference logs
            it and goes on.
        is_grpc_needed: the same of the gRPC port.
        is_listening: whether clients may connect at once. If not, another process may still bind
            the same port, and the caller hears of that when it listens.
        given: places for all but the last that are open already.

    Raises:
        CannotListen: gRPC's port or socket cannot be had.
        Unavailable: the REST port cannot be had.
        InvalidArgument: the REST port makes no sense.
    """
    open_tcp = _listening if is_listening else open_listeners
    bound = given or _bind(
        configuration, open_tcp, is_rest_needed=is_rest_needed, is_grpc_needed=is_grpc_needed
    )
    try:
        admin, admin_unix = _bind_admin(configuration, open_tcp)
    except (CannotListen, Unavailable):
        _give_up(bound)
        raise
    return replace(bound, admin=admin, admin_unix=admin_unix)


def _bind(
    configuration: Configuration, open_tcp: _OpenTcp, *, is_rest_needed: bool, is_grpc_needed: bool
) -> Ports:
    """gRPC, then REST; see `bind_ports`."""
    grpc = unix = None
    if configuration.grpc is not None and configuration.grpc.is_native:
        grpc = _bind_grpc(configuration.grpc, open_tcp, is_needed=is_grpc_needed)
        try:
            unix = _bind_unix(configuration.grpc.socket_path)
        except CannotListen:
            Ports(grpc=grpc).close()
            raise
    try:
        is_alone = configuration.grpc is None
        rest = _bind_rest(configuration, open_tcp, is_needed=is_rest_needed or is_alone)
    except (InvalidArgument, Unavailable):
        _give_up(Ports(grpc=grpc, unix=unix))
        raise
    return Ports(rest, grpc, unix)


def _give_up(bound: Ports) -> None:
    bound.remove_unix()
    bound.close()


def _bind_admin(
    configuration: Configuration, open_tcp: _OpenTcp
) -> tuple[Port | None, Port | None]:
    """What administers the server alone is bound, by TCP and as a UNIX socket, or all fails."""
    options, admin = configuration.options, None
    if options.admin_port:
        try:
            sockets = open_tcp(options.host, options.admin_port)
        except (OSError, OverflowError, UnicodeError) as error:  # the second: it is no port
            reason = getattr(error, "strerror", None) or error
            raise Unavailable(
                f"Cannot listen at --admin_port={options.admin_port}: {reason}",
                hint=port_hint("admin_port", options.host, options.admin_port, error),
            ) from error
        scheme = "http" if admin_tls_of(configuration) is None else "https"
        address = f"{scheme}://{_in_url(options.host) or 'localhost'}:{options.admin_port}"
        admin = Port(address, tuple(sockets))
    try:
        return admin, _bind_unix(options.admin_socket_path, mode=_OF_ADMINISTRATORS)
    except CannotListen:
        Ports(admin=admin).close()
        raise


def admin_tls_of(configuration: Configuration) -> TlsConfig | None:
    """What protects `--admin_port`: the TLS of the port that asks for client certificates.

    Where neither or both do, it is that of the REST port, or of gRPC's where that is plain.
    """
    grpc = None if configuration.grpc is None else configuration.grpc.tls
    given = [tls for tls in (configuration.rest_tls, grpc) if tls is not None]
    return next((tls for tls in given if tls.client_verify), given[0] if given else None)


def _bind_grpc(config: GrpcConfig, open_tcp: _OpenTcp, *, is_needed: bool) -> Port | None:
    if config.port == 0:
        return None
    try:
        sockets = open_tcp(config.host, config.port)
    except (OSError, UnicodeError) as error:
        where = f"{config.host or 'any address'}, port {config.port}"
        refused = CannotListen(f"{where}: {getattr(error, 'strerror', None) or error}")
        if is_needed:
            advice = port_hint("port", config.host, config.port, error)
            refused.hint = f"{refused.hint}. {advice}" if advice else refused.hint
            raise refused from error
        warn_of_taken_port(refused)
        return None
    return Port(tcp_address(config), tuple(sockets))


def _listening(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen: until one does, another process may bind the same port."""
    sockets = open_listeners(host, port)
    try:
        for each in sockets:
            each.listen(BACKLOG)
    except OSError:
        for each in sockets:
            each.close()
        raise
    return sockets


def tcp_address(config: GrpcConfig) -> str:
    """Where gRPC is found, as it is announced."""
    return f"{_in_url(config.host) or '0.0.0.0'}:{config.port}"  # noqa: S104


def warn_of_taken_port(error: CannotListen) -> None:
    """Say that the server goes on without it."""
    _log.warning("gRPC is not served: %s. --port=N takes another port.", error.hint)


def _bind_unix(path: str, *, mode: int | None = None) -> Port | None:
    if not path:
        return None
    try:
        return Port(f"{_UNIX}{path}", (open_unix_listener(path, mode=mode),))
    except OSError as error:
        raise CannotListen(f"{path}: {error.strerror or error}") from error


def _bind_rest(configuration: Configuration, open_tcp: _OpenTcp, *, is_needed: bool) -> Port | None:
    options = configuration.options
    port = options.rest_api_port
    if port == 0:
        return None
    if (refusal := rest_port_refusal(options)) is not None:
        if crossing_of(configuration).rest_on_grpc:
            return None  # the one port does for both
        _refuse(InvalidArgument(refusal), is_needed=is_needed)
        return None
    try:
        sockets = open_tcp(options.host, port)
    except (OSError, UnicodeError) as error:
        text = f"Failed to start HTTP Server at localhost:{port}"
        reason = getattr(error, "strerror", None) or error
        hint = None
        if is_needed:
            hint = port_hint("rest_api_port", options.host, port, error, others=(options.port,))
        _refuse(Unavailable(f"{text}: {reason}", hint=hint), is_needed=is_needed)
        return None
    scheme = "http" if configuration.rest_tls is None else "https"
    return Port(f"{scheme}://{_in_url(options.host) or 'localhost'}:{port}", tuple(sockets))


def _refuse(error: InvalidArgument | Unavailable, *, is_needed: bool) -> None:
    if is_needed:
        raise error
    _log.error("%s", error.message)


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def rest_url_of(ports: Ports, configuration: Configuration) -> str:
    """Where REST clients find a server that answers on these ports; empty for nowhere."""
    if ports.rest is not None:
        return ports.rest.address
    if ports.grpc is None or not crossing_of(configuration).rest_on_grpc:
        return ""
    is_plain = configuration.grpc is None or configuration.grpc.tls is None
    host, _, number = ports.grpc.address.rpartition(":")
    shown = "localhost" if host == "0.0.0.0" else host  # noqa: S104
    return f"{'http' if is_plain else 'https'}://{shown}:{number}"


def tell_where(ports: Ports, options: ServerOptions, *, has_profiler: bool) -> None:
    """Log where the server answers, in the words of the reference."""
    tell_where_library(ports.grpc_addresses, has_profiler=has_profiler)
    for port in (ports.admin, ports.admin_unix):
        if port is not None:
            _log.info("Administration at %s, and there alone", port.address)
    if ports.rest is not None:
        _log.info("Exporting HTTP/REST API at:localhost:%d ...", options.rest_api_port)
        _log.info("[evhttp_server.cc : 245] NET_LOG: Entering the event loop ...")


def tell_where_library(addresses: Sequence[str], *, has_profiler: bool) -> None:
    """The same of the gRPC API alone."""
    if has_profiler and addresses:
        _log.info("Profiler service is enabled")
    for address in addresses:
        kind, _, path = address.partition(":")
        where = f"UNIX socket {path}" if kind == "unix" else address
        _log.info("Running gRPC ModelServer at %s ...", where)
