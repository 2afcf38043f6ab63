import errno
import socket

import pytest

from salver.server.free_ports import free_port_near, port_hint

HOST = "127.0.0.1"


def _os_error(number: int) -> OSError:
    return OSError(number, "no")


def test_the_next_port_that_can_be_had_is_named() -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        free = free_port_near(HOST, port)
        assert free is not None
        assert port < free <= port + 100
        socket.create_server((HOST, free)).close()
        hint = port_hint("rest_api_port", HOST, port, _os_error(errno.EADDRINUSE))
        assert hint == f"--rest_api_port={free} takes another port, which is free now."


def test_a_port_that_is_taken_or_needed_is_passed_over() -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        first = free_port_near(HOST, port)
        assert first is not None
        second = free_port_near(HOST, port, (first,))
        assert second is not None
        assert second > first
        with socket.create_server((HOST, second)):
            assert free_port_near(HOST, port, (first,)) not in (first, second)


def test_behind_the_last_port_there_is_none() -> None:
    assert free_port_near(HOST, 65535) is None
    assert port_hint("port", HOST, 65535, _os_error(errno.EADDRINUSE)) is None


@pytest.mark.parametrize(
    ("port", "error", "hint"),
    [
        (80, _os_error(errno.EACCES), "Ports below 1024 need privileges: --port=N takes another."),
        (8500, _os_error(errno.EACCES), None),
        (8500, _os_error(errno.EADDRNOTAVAIL), "This machine has no address 'h': see --host."),
        (8500, socket.gaierror(-2, "unknown"), "This machine has no address 'h': see --host."),
        (8500, UnicodeError("label too long"), "This machine has no address 'h': see --host."),
        (8500, _os_error(errno.EMFILE), None),
    ],
)
def test_other_reasons_have_advice_of_their_own_or_none(
    port: int, error: OSError | UnicodeError, hint: str | None
) -> None:
    assert port_hint("port", "h", port, error) == hint
