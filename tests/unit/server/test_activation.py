import os
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from salver.config.options import ServerOptions
from salver.errors import InvalidArgument
from salver.server import activation
from salver.server.activation import activated, given_sockets
from salver.server.ports import Ports

_Listen = Callable[..., socket.socket]


@pytest.fixture
def listen(tmp_path: Path) -> Iterator[_Listen]:
    made: list[socket.socket] = []

    def make(host: str = "127.0.0.1", *, path: str = "", backlog: int | None = 8) -> socket.socket:
        if path:
            made.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            made[-1].bind(str(tmp_path / path))
        else:
            made.append(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET))
            made[-1].bind((host, 0))
        if backlog is not None:
            made[-1].listen(backlog)
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def handed_over(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., dict[str, str]]]:
    """Puts sockets where the first descriptors would be; gives the variables that tell of them."""
    first = 200
    monkeypatch.setattr(activation, "_FIRST", first)
    count = 0

    def hand_over(*sockets: socket.socket | int, names: str = "") -> dict[str, str]:
        nonlocal count
        count = len(sockets)
        for number, each in enumerate(sockets, first):
            os.dup2(each if isinstance(each, int) else each.fileno(), number)
        return {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(count), "LISTEN_FDNAMES": names}

    yield hand_over
    for number in range(first, first + count):
        with suppress(OSError):
            os.close(number)


def _closed(ports: Ports | None) -> Ports:
    assert ports is not None
    ports.close()
    return ports


def _port(each: socket.socket) -> int:
    return int(each.getsockname()[1])


def test_without_sockets_nothing_changes() -> None:
    options = ServerOptions()
    assert activated(options, {}) == (options, None)


def test_the_names_say_what_the_sockets_are_for_and_nothing_else_is_listened_on(
    listen: _Listen, handed_over: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    rest, also, grpc, unix = listen(), listen(), listen(), listen(path="s")
    environment = handed_over(rest, grpc, unix, also, names="rest:grpc:unix:rest")
    environment["HOME"] = "/"
    options, given = activated(ServerOptions(port=1, rest_api_port=2), environment)
    ports = _closed(given)
    assert environment == {"HOME": "/"}
    assert (options.rest_api_port, options.port) == (_port(rest), _port(grpc))
    assert options.grpc_socket_path == str(tmp_path / "s")
    assert not options.is_reached_from_outside
    assert ports.rest is not None
    assert ports.rest.address == f"http://127.0.0.1:{_port(rest)}"
    assert len(ports.rest.sockets) == 2
    assert ports.grpc_addresses == (f"127.0.0.1:{_port(grpc)}", f"unix:{tmp_path / 's'}")
    ports.remove_unix()
    assert (tmp_path / "s").is_socket()  # it is the service manager's
    options, given = activated(ServerOptions(), handed_over(rest, names="rest"))
    assert (options.port, options.grpc_socket_path) == (0, "")
    assert _closed(given).grpc_addresses == ()


def test_the_sockets_do_not_block_and_are_for_no_other_program(
    listen: _Listen, handed_over: Callable[..., dict[str, str]]
) -> None:
    _, given = activated(ServerOptions(), handed_over(listen(), names="rest"))
    assert given is not None
    assert given.rest is not None
    (mine,) = given.rest.sockets
    assert (mine.getblocking(), mine.get_inheritable()) == (False, False)
    _closed(given)


def test_a_socket_without_a_name_of_ours_is_known_by_its_port(
    listen: _Listen, handed_over: Callable[..., dict[str, str]]
) -> None:
    rest, grpc = listen(), listen()
    flags = ServerOptions(port=_port(grpc), rest_api_port=_port(rest))
    options, given = activated(flags, handed_over(grpc, rest, names="salver.socket:unknown"))
    ports = _closed(given)
    assert (options.port, options.rest_api_port) == (_port(grpc), _port(rest))
    assert ports.rest is not None
    with pytest.raises(InvalidArgument, match=r"What is the socket 'salver.socket'"):
        activated(ServerOptions(), handed_over(listen(), names="salver.socket"))


@pytest.mark.parametrize(("host", "shown"), [("0.0.0.0", "localhost"), ("::", "localhost")])
def test_a_socket_for_others_is_known_to_be_one(
    listen: _Listen, handed_over: Callable[..., dict[str, str]], host: str, shown: str
) -> None:
    try:
        rest = listen(host)
    except OSError:
        pytest.skip("this machine has no IPv6")
    flags = ServerOptions(host="127.0.0.1", rest_ssl_config_file="tls")
    options, given = activated(flags, handed_over(rest, names="rest"))
    assert options.is_reached_from_outside
    assert options.host == "127.0.0.1"  # what else is bound stays where it was
    ports = _closed(given)
    assert ports.rest is not None
    assert ports.rest.address == f"https://{shown}:{_port(rest)}"


def test_what_does_not_listen_is_refused(
    listen: _Listen, handed_over: Callable[..., dict[str, str]]
) -> None:
    with pytest.raises(InvalidArgument, match="does not listen"):
        activated(ServerOptions(), handed_over(listen(backlog=None), names="rest"))


@pytest.mark.parametrize(("path", "name"), [("s", "rest"), ("s", "grpc"), ("", "unix")])
def test_a_socket_of_the_wrong_kind_is_refused(
    listen: _Listen, handed_over: Callable[..., dict[str, str]], path: str, name: str
) -> None:
    with pytest.raises(InvalidArgument, match=f"'{name}' of the service manager is to be a "):
        activated(ServerOptions(), handed_over(listen(path=path), names=name))


@pytest.mark.parametrize(("path", "name"), [("s", "admin"), ("s", "admin-unix"), ("", "admin")])
def test_no_socket_of_administrators_becomes_one_of_everybody(
    listen: _Listen, handed_over: Callable[..., dict[str, str]], path: str, name: str
) -> None:
    given = listen(path=path)
    flags = ServerOptions() if path else ServerOptions(port=_port(given))
    with pytest.raises(InvalidArgument, match=f"'{name}' .* cannot be one of administrators"):
        activated(flags, handed_over(given, names=name))


def test_what_is_no_socket_is_refused(
    handed_over: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    with (tmp_path / "f").open("w") as file, pytest.raises(InvalidArgument, match="is no socket"):
        activated(ServerOptions(), handed_over(file.fileno(), names="rest"))


def test_the_grpc_library_takes_no_sockets(
    listen: _Listen, handed_over: Callable[..., dict[str, str]]
) -> None:
    flags, environment = ServerOptions(grpc_transport="grpcio"), handed_over(listen(), names="grpc")
    with pytest.raises(InvalidArgument, match="--grpc_transport=grpcio cannot take sockets"):
        activated(flags, environment)


@pytest.mark.parametrize(
    "environment",
    [
        {"LISTEN_PID": "1", "LISTEN_FDS": "1"},
        {"LISTEN_FDS": "1"},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "x"},
        {"LISTEN_PID": str(os.getpid())},
    ],
)
def test_sockets_of_another_process_are_not_taken(environment: dict[str, str]) -> None:
    assert given_sockets(environment) == []
