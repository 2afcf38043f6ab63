import socket
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from salver.config.options import ServerOptions
from salver.server.own_host import host_rules_of, is_own_address, own_names
from salver.transport.heads import Refusal, parse_head

FOREIGN = "203.0.113.9"


def is_taken(options: ServerOptions, host: str) -> bool:
    rules = host_rules_of(options)
    assert rules is not None
    try:
        rules(parse_head(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode(), 0))
    except Refusal:
        return False
    return True


def test_nothing_is_checked_without_the_flag() -> None:
    assert host_rules_of(ServerOptions()) is None
    assert host_rules_of(ServerOptions(host="127.0.0.1")) is None


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "LocalHost"])
def test_on_the_loopback_interface_only_this_machines_names_and_addresses_are_taken(
    host: str,
) -> None:
    options = ServerOptions(host=host, allowed_hosts="localhost")
    assert is_taken(options, "localhost:1")
    assert is_taken(options, "127.0.0.1:1")
    assert is_taken(options, socket.gethostname())
    assert not is_taken(options, FOREIGN)
    assert not is_taken(options, "0.0.0.0")
    assert not is_taken(options, "evil.example")


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "192.0.2.1"])
def test_who_listens_on_more_is_reached_by_any_address_and_not_by_any_name(host: str) -> None:
    options = ServerOptions(host=host, allowed_hosts="localhost")
    for taken in ("localhost", FOREIGN, "[2001:db8::1]:8501", "0.0.0.0"):
        assert is_taken(options, taken)
    assert not is_taken(options, "evil.example")


def test_the_name_to_listen_on_is_one_of_the_servers_names() -> None:
    options = ServerOptions(host="Models.Example.com", allowed_hosts="localhost")
    assert is_taken(options, "models.example.com:8501")
    assert not is_taken(options, "example.com")


def test_what_the_flag_says_is_taken_too() -> None:
    options = ServerOptions(host="127.0.0.1", allowed_hosts="a.test, *.b.test")
    assert all(is_taken(options, host) for host in ("a.test", "x.b.test", "localhost"))
    assert not is_taken(options, "b.test")


def test_cors_lets_foreign_pages_post() -> None:
    request = parse_head(
        b"POST / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n", 0
    )
    options = ServerOptions(host="127.0.0.1", allowed_hosts="localhost")
    rules = host_rules_of(options)
    assert rules is not None
    with pytest.raises(Refusal):
        rules(request)
    rules = host_rules_of(replace(options, rest_api_enable_cors_support=True))
    assert rules is not None
    rules(request)


def test_a_machine_has_its_name_and_those_that_its_own_file_gives_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "Box.lan")
    file = tmp_path / "hosts"
    file.write_text(
        "127.0.0.1 localhost\n"
        "127.0.1.1\tbox.corp.example  BOX # box.comment\n"
        "# 10.0.0.1 box commented\n"
        "0.0.0.0 ads.example\n"
        "10.0.0.2 other\n\n"
    )
    assert own_names(file) == {"box.lan", "box", "box.local", "box.corp.example"}
    assert own_names(tmp_path / "none") == {"box.lan", "box", "box.local"}


def test_the_addresses_of_this_machine_are_its_own() -> None:
    assert is_own_address(ip_address("127.0.0.1"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((FOREIGN, 9))  # sends nothing; chooses the interface
        except OSError:
            pytest.skip("this machine has no way out")
        assert is_own_address(ip_address(probe.getsockname()[0]))


@pytest.mark.parametrize(
    "address", [FOREIGN, "0.0.0.0", "::", "224.0.0.1", "2001:db8::1", "fe80::1234:5678:9abc:def0"]
)
def test_other_addresses_are_not(address: str) -> None:
    assert not is_own_address(ip_address(address))
