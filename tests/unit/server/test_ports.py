import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from salver.config.options import ServerOptions
from salver.config.start_up import Configuration, read_configuration
from salver.config.tls import TlsConfig
from salver.errors import InvalidArgument, Unavailable
from salver.rpc.errors import CannotListen
from salver.server.ports import Crossing, Ports, admin_tls_of, bind_ports, crossing_of

HOST = "127.0.0.1"
NOWHERE = Crossing(grpc_on_rest=False, rest_on_grpc=False, is_administered=False)


def _configuration(**flags: Any) -> Configuration:
    given = {"host": HOST, "port": 0, "grpc_transport": "native", **flags}
    return read_configuration(ServerOptions(**given), ())


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as probe:
        return int(probe.getsockname()[1])


def _bind(*, is_needed: bool = True, **flags: Any) -> Ports:
    return bind_ports(_configuration(**flags), is_rest_needed=is_needed, is_grpc_needed=is_needed)


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server((HOST, 0)) as other:
        yield int(other.getsockname()[1])


@pytest.fixture
def opened() -> Iterator[list[Ports]]:
    found: list[Ports] = []
    yield found
    for ports in found:
        ports.remove_unix()
        ports.close()


def test_what_the_flags_name_is_bound(opened: list[Ports], tmp_path: Path) -> None:
    grpc, rest = _free_port(), _free_port()
    path = tmp_path / "s"
    ports = _bind(port=grpc, rest_api_port=rest, grpc_socket_path=str(path))
    opened.append(ports)
    assert ports.rest is not None
    assert ports.rest.address == f"http://{HOST}:{rest}"
    assert ports.grpc_addresses == (f"{HOST}:{grpc}", f"unix:{path}")
    assert [each.getsockname()[1] for each in ports.rest.sockets] == [rest]
    assert path.is_socket()
    ports.remove_unix()
    assert not path.exists()
    ports.remove_unix()  # gone already: nothing to do


def test_nothing_is_bound_that_no_flag_names(opened: list[Ports]) -> None:
    opened.append(ports := _bind())
    assert ports == Ports()
    assert ports.grpc_addresses == ()


def test_what_the_library_speaks_it_binds_itself(opened: list[Ports]) -> None:
    opened.append(ports := _bind(port=_free_port(), grpc_transport="grpcio"))
    assert ports.grpc is None


@pytest.mark.parametrize(("host", "shown"), [("", "0.0.0.0"), ("::1", "[::1]")])
def test_an_address_is_shown_as_it_is_written(opened: list[Ports], host: str, shown: str) -> None:
    port = _free_port()
    try:
        opened.append(ports := _bind(port=port, host=host))
    except CannotListen:
        pytest.skip("there is no IPv6 here")
    assert ports.grpc_addresses == (f"{shown}:{port}",)


def test_what_is_bound_is_nobody_elses(opened: list[Ports]) -> None:
    port = _free_port()
    opened.append(_bind(port=port))
    with pytest.raises(CannotListen):
        _bind(port=port)


class TestTaken:
    def test_a_grpc_port_is_an_error(self, taken: int) -> None:
        with pytest.raises(CannotListen) as caught:
            _bind(port=taken)
        text = f"{HOST}, port {taken}: Address already in use. --port="
        assert (caught.value.hint or "").startswith(text)

    def test_a_grpc_port_is_given_up_where_nobody_asked_for_it(
        self, opened: list[Ports], taken: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        opened.append(ports := _bind(port=taken, is_needed=False))
        assert ports.grpc is None
        assert [record.message for record in caplog.records] == [
            f"gRPC is not served: {HOST}, port {taken}: Address already in use. "
            "--port=N takes another port."
        ]

    def test_a_rest_port_is_an_error_and_gives_back_the_rest(
        self, taken: int, tmp_path: Path
    ) -> None:
        grpc = _free_port()
        path = tmp_path / "s"
        text = f"Failed to start HTTP Server at localhost:{taken}: Address already in use"
        with pytest.raises(Unavailable, match=text) as caught:
            _bind(port=grpc, rest_api_port=taken, grpc_socket_path=str(path))
        assert (caught.value.hint or "").startswith("--rest_api_port=")
        assert not path.exists()
        socket.create_server((HOST, grpc)).close()

    def test_a_rest_port_is_logged_as_the_reference_does(
        self, opened: list[Ports], taken: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        opened.append(ports := _bind(port=_free_port(), rest_api_port=taken, is_needed=False))
        assert ports.rest is None
        assert f"Failed to start HTTP Server at localhost:{taken}" in caplog.text

    def test_a_rest_port_that_is_all_there_is_is_always_needed(self, taken: int) -> None:
        with pytest.raises(Unavailable):
            _bind(rest_api_port=taken, is_needed=False)

    def test_a_socket_with_a_server_behind_it_is_left_to_it(self, tmp_path: Path) -> None:
        path = str(tmp_path / "s")
        port = _free_port()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(path)
            other.listen()
            with pytest.raises(CannotListen) as caught:
                _bind(port=port, grpc_socket_path=path)
        assert caught.value.hint == f"{path}: another server listens there"
        socket.create_server((HOST, port)).close()


class TestOnePort:
    def test_one_number_for_both_is_bound_once(self, opened: list[Ports]) -> None:
        port = _free_port()
        opened.append(ports := _bind(port=port, rest_api_port=port))
        assert ports.rest is None
        assert ports.grpc_addresses == (f"{HOST}:{port}",)

    def test_without_sharing_it_is_refused_in_the_references_words(
        self, opened: list[Ports], caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.ERROR)
        port = _free_port()
        flags: dict[str, Any] = {
            "port": port, "rest_api_port": port, "enable_port_sharing": False
        }  # fmt: skip
        with pytest.raises(InvalidArgument, match="http_port cannot be same as grpc_port"):
            _bind(**flags)
        opened.append(ports := _bind(**flags, is_needed=False))
        assert ports.rest is None
        assert "Skipped exporting HTTP/REST API." in caplog.text


def _protected(
    rest_tls: TlsConfig | None, grpc_tls: TlsConfig | None, **flags: Any
) -> Configuration:
    configuration = _configuration(**flags)
    grpc = configuration.grpc
    if grpc is not None and grpc_tls is not None:
        fields = {name: getattr(grpc, name) for name in grpc.__slots__}
        grpc = type(grpc)(**{**fields, "tls": grpc_tls})
    return Configuration(
        configuration.options,
        configuration.models,
        configuration.platforms,
        rest_tls,
        grpc,
        configuration.monitoring,
    )


_PLAIN = TlsConfig("key", "certificate", "", False)
_VERIFIED = TlsConfig("key", "other certificate", "", True)


@pytest.mark.parametrize(
    ("rest", "grpc", "expected"),
    [
        (None, None, None),
        (_PLAIN, None, _PLAIN),
        (None, _PLAIN, _PLAIN),
        (_PLAIN, _VERIFIED, _VERIFIED),
        (_VERIFIED, _PLAIN, _VERIFIED),
        (None, _VERIFIED, _VERIFIED),
        (_PLAIN, TlsConfig("key", "another", "", False), _PLAIN),
    ],
)
def test_administration_asks_for_the_certificate_that_another_port_asks_for(
    rest: TlsConfig | None, grpc: TlsConfig | None, expected: TlsConfig | None
) -> None:
    configuration = _protected(rest, grpc, port=8500, rest_api_port=8501, admin_port=8502)
    assert admin_tls_of(configuration) is expected


class TestCrossing:
    TLS = TlsConfig("key", "certificate", "", False)

    def _crossing(
        self, rest_tls: TlsConfig | None = None, grpc_tls: TlsConfig | None = None, **flags: Any
    ) -> Crossing:
        return crossing_of(_protected(rest_tls, grpc_tls, **flags))

    @pytest.mark.parametrize("tls", [None, TLS])
    def test_ports_protected_alike_answer_both(self, tls: TlsConfig | None) -> None:
        crossing = self._crossing(tls, tls, port=8500, rest_api_port=8501)
        assert crossing == Crossing(grpc_on_rest=True, rest_on_grpc=True, is_administered=False)

    @pytest.mark.parametrize(("rest", "grpc"), [(TLS, None), (None, TLS)])
    def test_nobody_gets_round_tls_by_the_other_port(
        self, rest: TlsConfig | None, grpc: TlsConfig | None
    ) -> None:
        assert self._crossing(rest, grpc, port=8500, rest_api_port=8501) == NOWHERE

    def test_one_port_alone_is_enough(self) -> None:
        rest = self._crossing(rest_api_port=8501)
        assert rest == Crossing(grpc_on_rest=True, rest_on_grpc=False, is_administered=True)
        grpc = self._crossing(None, self.TLS, port=8500)
        assert (grpc.rest_on_grpc, grpc.is_administered) == (True, False)

    @pytest.mark.parametrize(("rest", "expected"), [(None, True), (TLS, False)])
    def test_one_number_for_both_has_the_tls_of_grpc(
        self, rest: TlsConfig | None, expected: bool
    ) -> None:
        assert self._crossing(rest, port=8500, rest_api_port=8500).rest_on_grpc is expected

    @pytest.mark.parametrize(
        "flags",
        [
            {"enable_port_sharing": False},
            {"grpc_transport": "grpcio"},
            {"use_alts_credentials": True},
        ],
    )
    def test_a_flag_keeps_each_api_to_its_port(self, flags: dict[str, Any]) -> None:
        assert self._crossing(port=8500, rest_api_port=8501, **flags) == NOWHERE
