"""Sockets that a service manager has opened for the server: systemd's socket activation.

Then the server listens on these and on nothing else. They stay open while it restarts: who connects
meanwhile waits, and is not refused.

Source: systemd, `sd_listen_fds(3)`.
"""

import logging
import os
import socket
from collections.abc import Iterable, MutableMapping
from dataclasses import replace
from ipaddress import ip_address
from typing import Final

from salver.config.grpc import is_native
from salver.config.options import ServerOptions
from salver.errors import InvalidArgument
from salver.server.ports import Port, Ports

__all__ = ["activated", "given_sockets"]

_log = logging.getLogger(__name__)

_FIRST: Final = 3  # of the descriptors that are handed over
_VARIABLES: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")
_REST, _GRPC, _UNIX = "rest", "grpc", "unix"
_ADMIN: Final = "admin"  # names that begin so promise what nothing else would keep
_TCP: Final = (socket.AF_INET, socket.AF_INET6)


def activated(
    options: ServerOptions, environment: MutableMapping[str, str]
) -> tuple[ServerOptions, Ports | None]:
    """The flags as they are with the sockets that were handed over, and these; None for no sockets.

    Args:
        options: the flags.
        environment: tells of the sockets; the variables are taken out of it.

    Raises:
        InvalidArgument: a socket is of no use.
    """
    sockets = given_sockets(environment)
    if not sockets:
        return options, None
    try:
        return _assigned(options, sockets)
    except InvalidArgument:
        for _, each in sockets:
            each.close()
        raise


def given_sockets(environment: MutableMapping[str, str]) -> list[tuple[str, socket.socket]]:
    """The sockets that were handed over to this process, each with its name."""
    pid, count, names, _ = (environment.pop(name, "") for name in _VARIABLES)
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    given = names.split(":") if names else []
    found = []
    for number in range(int(count)):
        descriptor = _FIRST + number
        name = given[number] if number < len(given) else ""
        try:
            os.set_inheritable(descriptor, False)
            found.append((name, socket.socket(fileno=descriptor)))
        except OSError as error:
            raise InvalidArgument(
                f"Descriptor {descriptor}, that the service manager has handed over, is no "
                f"socket: {error.strerror}"
            ) from None
    return found


def _assigned(
    options: ServerOptions, sockets: Iterable[tuple[str, socket.socket]]
) -> tuple[ServerOptions, Ports]:
    by_kind: dict[str, list[socket.socket]] = {}
    for name, each in sockets:
        kind = _kind(name, each, options)
        _check(kind, name, each)
        each.setblocking(False)
        by_kind.setdefault(kind, []).append(each)
    numbers = {
        kind: by_kind[kind][0].getsockname()[1] for kind in (_REST, _GRPC) if kind in by_kind
    }
    path = by_kind[_UNIX][0].getsockname() if _UNIX in by_kind else ""
    path = os.fsdecode(path)
    if (_GRPC in by_kind or path) and not is_native(options):
        raise InvalidArgument(
            "--grpc_transport=grpcio cannot take sockets of a service manager for gRPC",
            hint="--grpc_transport=native can.",
        )
    tcp = [each for kind in (_REST, _GRPC) for each in by_kind.get(kind, ())]
    changed = replace(
        options,
        rest_api_port=numbers.get(_REST, 0),
        port=numbers.get(_GRPC, 0),
        grpc_socket_path=path,
        is_reached_from_outside=not all(map(_is_loopback, tcp)),
    )
    scheme = "https" if options.rest_ssl_config_file else "http"
    ports = Ports(
        rest=_port(f"{scheme}://", by_kind.get(_REST)),
        grpc=_port("", by_kind.get(_GRPC)),
        unix=Port(f"unix:{path}", tuple(by_kind[_UNIX])) if path else None,
        is_given=True,
    )
    _log.info("Listening on the sockets of the service manager: %s", ", ".join(sorted(by_kind)))
    return changed, ports


def _kind(name: str, given: socket.socket, options: ServerOptions) -> str:
    """What a socket is for: by its name, else by its address.

    Raises:
        InvalidArgument: neither tells; or its name is that of one for administrators.
    """
    if name.startswith(_ADMIN):
        raise InvalidArgument(
            f"The socket {name!r} of the service manager cannot be one of administrators",
            hint="--admin_port and --admin_socket_path open those; FileDescriptorName=unix is "
            "for clients.",
        )
    if name in (_REST, _GRPC, _UNIX):
        return name
    if given.family == socket.AF_UNIX:
        return _UNIX
    number = given.getsockname()[1] if given.family in _TCP else None
    for kind, port in ((_GRPC, options.port), (_REST, options.rest_api_port)):
        if number is not None and number == port:
            return kind
    raise InvalidArgument(
        f"What is the socket {name!r} of the service manager for, port {number}?",
        hint="FileDescriptorName=rest, grpc or unix in its .socket unit says so.",
    )


def _check(kind: str, name: str, given: socket.socket) -> None:
    is_unix = given.family == socket.AF_UNIX
    if is_unix is not (kind == _UNIX) or not (is_unix or given.family in _TCP):
        needed = "a UNIX socket" if kind == _UNIX else "a TCP socket"
        raise InvalidArgument(f"The socket {name!r} of the service manager is to be {needed}")
    is_stream = given.type & socket.SOCK_STREAM == socket.SOCK_STREAM
    if not is_stream or not given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise InvalidArgument(
            f"The socket {name!r} of the service manager does not listen",
            hint="ListenStream= makes one that does; Accept=yes is not for this server.",
        )


def _is_loopback(given: socket.socket) -> bool:
    return ip_address(given.getsockname()[0].partition("%")[0]).is_loopback


def _port(scheme: str, sockets: list[socket.socket] | None) -> Port | None:
    if not sockets:
        return None
    host, number = sockets[0].getsockname()[:2]
    if ip_address(host.partition("%")[0]).is_unspecified:
        host = "localhost" if scheme else "0.0.0.0"  # noqa: S104 - shown, as for one's own
    elif ":" in host:
        host = f"[{host}]"
    return Port(f"{scheme}{host}:{number}", tuple(sockets))
