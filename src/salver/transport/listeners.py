"""Listening sockets."""

import errno
import os
import socket
import stat

__all__ = ["BACKLOG", "open_listeners", "open_unix_listener", "unix_socket_refusal"]

BACKLOG = 2048
_NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT)


def open_listeners(host: str, port: int) -> list[socket.socket]:
    """Bind sockets, not listening yet.

    Args:
        host: a name or an address; empty for every address of the machine: `[::]` taking IPv4 too,
            or IPv4 alone where there is no IPv6 (as the reference binds its REST port).
        port: 0 takes a free one, the same for all addresses of `host`.

    Raises:
        OSError: the port is in use, or the host has no address here.
    """
    if not host:
        return [_open_on_all_addresses(port)]
    addresses = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_ADDRCONFIG
    )
    opened: list[socket.socket] = []
    try:
        for family, *_, address in dict.fromkeys(addresses):
            opened.append(_bind(family, (str(address[0]), port, *address[2:])))
            port = opened[0].getsockname()[1]
    except OSError:
        for listener in opened:
            listener.close()
        raise
    return opened


def _open_on_all_addresses(port: int) -> socket.socket:
    try:
        return _bind(socket.AF_INET6, ("::", port), is_dual_stack=True)
    except OSError as error:
        if error.errno not in _NO_IPV6:
            raise
        return _bind(socket.AF_INET, ("", port))


def _bind(
    family: int, address: tuple[str | int, ...], *, is_dual_stack: bool = False
) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not is_dual_stack))
        listener.setblocking(False)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def open_unix_listener(path: str, *, mode: int | None = None) -> socket.socket:
    """Bind a UNIX socket, not listening yet; one that nobody listens on any more is replaced.

    Args:
        path: where.
        mode: who may connect, as of a file; None: whoever the umask lets.

    Raises:
        OSError: another server listens there, it is no socket, or it cannot be made.
    """
    if (refusal := unix_socket_refusal(path)) is not None:
        raise OSError(errno.EADDRINUSE, refusal)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        if os.path.exists(path):
            os.unlink(path)
        listener.bind(path)
        if mode is not None:
            os.chmod(path, mode)  # nobody can have connected: it does not listen yet
    except OSError:
        listener.close()
        raise
    return listener


def unix_socket_refusal(path: str) -> str | None:
    """Why a UNIX socket cannot be made at `path`, as far as one can see."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return "it is there, and no socket"
    except OSError:
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return None
        except BlockingIOError:
            pass  # somebody listens, and is slow to accept
        except OSError as error:
            return error.strerror
    return "another server listens there"
