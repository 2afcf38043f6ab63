import errno
import socket

import pytest

from salver.transport import listeners
from salver.transport.listeners import open_listeners


def close_all(opened: list[socket.socket]) -> None:
    for listener in opened:
        listener.close()


def test_an_address_is_bound() -> None:
    opened = open_listeners("127.0.0.1", 0)
    assert [listener.getsockname()[0] for listener in opened] == ["127.0.0.1"]
    close_all(opened)


def test_a_port_in_use_is_an_error() -> None:
    (first,) = open_listeners("127.0.0.1", 0)
    first.listen()
    with pytest.raises(OSError, match="in use"):
        open_listeners("127.0.0.1", first.getsockname()[1])
    first.close()


def test_all_addresses_of_a_name_share_a_port(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.2", 0)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    opened = open_listeners("a name", 0)
    ports = {listener.getsockname()[1] for listener in opened}
    assert (len(opened), len(ports)) == (2, 1)
    close_all(opened)


def test_a_name_is_bound_whole_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    (taken,) = open_listeners("127.0.0.2", 0)
    taken.listen()
    port = taken.getsockname()[1]
    both = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.2", port)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    with pytest.raises(OSError, match="in use"):
        open_listeners("a name", port)
    taken.close()
    monkeypatch.undo()
    close_all(open_listeners("127.0.0.1", port))


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@needs_ipv6
def test_no_host_takes_ipv6_and_ipv4() -> None:
    (listener,) = open_listeners("", 0)
    listener.listen()
    port = listener.getsockname()[1]
    for host in ("127.0.0.1", "::1"):
        socket.create_connection((host, port)).close()
    listener.close()


def refuse_ipv6(monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    bind = listeners._bind

    def bind_ipv4(
        family: int, address: tuple[str | int, ...], *, is_dual_stack: bool = False
    ) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(error, "no")
        return bind(family, address, is_dual_stack=is_dual_stack)

    monkeypatch.setattr(listeners, "_bind", bind_ipv4)


def test_no_host_takes_ipv4_where_there_is_no_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_ipv6(monkeypatch, errno.EAFNOSUPPORT)
    (listener,) = open_listeners("", 0)
    assert listener.getsockname()[0] == "0.0.0.0"
    listener.close()


def test_a_port_in_use_is_an_error_for_no_host_too(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_ipv6(monkeypatch, errno.EADDRINUSE)
    with pytest.raises(OSError, match="no"):
        open_listeners("", 0)
