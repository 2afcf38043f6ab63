from pathlib import Path

import pytest

from salver.config.tls import TlsConfig, read_ssl_config_file
from salver.errors import InvalidArgument


def test_pem_texts_are_read(tmp_path: Path) -> None:
    path = tmp_path / "ssl.conf"
    path.write_text(
        'server_key: "KEY\\nline" server_cert: "CERT" custom_ca: "CA" client_verify: true'
    )
    assert read_ssl_config_file(str(path)) == TlsConfig("KEY\nline", "CERT", "CA", True)


def test_the_key_is_never_shown() -> None:
    assert "secret" not in repr(TlsConfig("secret", "cert", "", False))


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ssl.conf"
    path.write_text("-----BEGIN CERTIFICATE-----")
    with pytest.raises(InvalidArgument, match="Invalid protobuf file"):
        read_ssl_config_file(str(path))
