import json
from pathlib import Path

import pytest

from salver.config.options import ServerOptions
from salver.config.peers import read_peer_config
from salver.errors import InvalidArgument, NotFound


def test_a_server_knows_of_no_other_without_a_map() -> None:
    assert read_peer_config(ServerOptions()) is None


def test_the_flags_say_which_server_this_is_and_whom_it_believes(tmp_path: Path) -> None:
    tls = tmp_path / "tls"
    tls.write_text(f"custom_ca: {json.dumps('PEM')}")
    config = read_peer_config(
        ServerOptions(
            peer_map_file="map.json",
            peer_name="n1",
            peer_token_file="token",
            peer_ssl_config_file=str(tls),
            peer_certificate_names="a.cluster, b.cluster,",
            peer_connect_timeout_ms=250,
        )
    )
    assert config is not None
    assert (config.map_file, config.name, config.token_file) == ("map.json", "n1", "token")
    assert config.certificate_names == {"a.cluster", "b.cluster"}
    assert config.connect_timeout_s == 0.25
    assert config.tls is not None
    assert config.tls.custom_ca == "PEM"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"peer_map_file": "m"}, "--peer_map_file needs --peer_name"),
        ({"peer_name": "n1"}, "--peer_name is of use only with --peer_map_file"),
        ({"peer_token_file": "t"}, "--peer_token_file is of use only"),
        ({"peer_max_connections": 0}, "--peer_max_connections must be positive, not 0"),
        ({"peer_connect_timeout_ms": -1}, "--peer_connect_timeout_ms must be positive"),
        ({"peer_map_file": "m", "peer_name": "a b"}, "--peer_name"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, str], says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        read_peer_config(ServerOptions(**options))  # type: ignore[arg-type]


def test_a_file_of_tls_settings_has_to_be_there() -> None:
    options = ServerOptions(peer_map_file="m", peer_name="n1", peer_ssl_config_file="/no/such/file")
    with pytest.raises(NotFound):
        read_peer_config(options)
