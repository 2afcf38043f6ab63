from pathlib import Path

import pytest

from salver.config.grpc import channel_arguments, read_grpc_config
from salver.config.options import ServerOptions
from salver.config.tls import TlsConfig
from salver.errors import InvalidArgument, NotFound


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("", ()),
        ("grpc.max_connection_age_ms=2000", (("grpc.max_connection_age_ms", 2000),)),
        ("a=1,b=x,c=-7,d=+7", (("a", 1), ("b", "x"), ("c", -7), ("d", 7))),
        ("a=", (("a", ""),)),
        ("a= 5 ", (("a", 5),)),
        ("a=1.5,b=0x10,c=1e3", (("a", "1.5"), ("b", "0x10"), ("c", "1e3"))),
        ("a=2147483647,b=-2147483648", (("a", 2147483647), ("b", -2147483648))),
        ("a=2147483648,b=-2147483649", (("a", "2147483648"), ("b", "-2147483649"))),
        ("a=b=c", (("a", "b=c"),)),
        ("a=1,a=2", (("a", 1), ("a", 2))),
        ("a=١", (("a", "١"),)),
    ],
)
def test_values_that_read_as_int32_are_numbers_and_others_are_text(
    text: str, arguments: tuple[tuple[str, int | str], ...]
) -> None:
    assert channel_arguments(text) == arguments


@pytest.mark.parametrize(("text", "item"), [("a", "a"), ("a=1,", ""), ("=1", "=1"), ("a=1,b", "b")])
def test_an_item_that_is_no_pair_is_named(text: str, item: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        channel_arguments(text)
    assert caught.value.message == (
        f"--grpc_channel_arguments: '{item}' is not of the form key=value"
    )


def test_the_flags_say_where_and_how() -> None:
    config = read_grpc_config(
        ServerOptions(
            host="127.0.0.1",
            port=1,
            grpc_socket_path="/s",
            grpc_channel_arguments="a=1",
            use_alts_credentials=True,
        )
    )
    assert config is not None
    assert (config.host, config.port, config.socket_path) == ("127.0.0.1", 1, "/s")
    assert (config.tls, config.is_alts) == (None, True)
    assert config.channel_arguments == (("a", 1),)


def test_a_socket_alone_is_an_address() -> None:
    assert read_grpc_config(ServerOptions(port=0, grpc_socket_path="/s")) is not None


def test_without_an_address_there_is_no_server() -> None:
    assert read_grpc_config(ServerOptions(port=0)) is None


def test_what_is_wrong_is_wrong_without_an_address_too() -> None:
    with pytest.raises(InvalidArgument, match="grpc_channel_arguments"):
        read_grpc_config(ServerOptions(port=0, grpc_channel_arguments="a"))


def test_the_ssl_config_is_read(tmp_path: Path) -> None:
    path = tmp_path / "ssl.conf"
    path.write_text('server_key: "k" server_cert: "c" custom_ca: "a" client_verify: true')
    config = read_grpc_config(ServerOptions(ssl_config_file=str(path)))
    assert config is not None
    assert config.tls == TlsConfig("k", "c", "a", client_verify=True)


def test_a_missing_ssl_config_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_grpc_config(ServerOptions(ssl_config_file=str(tmp_path / "none")))
