"""TLS settings of a port, from an SSLConfig file. The transport builds the context from them."""

from dataclasses import dataclass, field

from salver.config.text_format import read_text_file

__all__ = ["TlsConfig", "read_ssl_config_file"]

_MESSAGE = "tensorflow.serving.SSLConfig"


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """PEM texts (contents, not paths).

    Attributes:
        server_key: the server's private key; never shown.
        server_cert: its certificate, with the chain behind it.
        custom_ca: what client certificates are verified against; empty for the system's.
        client_verify: whether a client must show a certificate.
    """

    server_key: str = field(repr=False)
    server_cert: str
    custom_ca: str
    client_verify: bool


def read_ssl_config_file(path: str) -> TlsConfig:
    """Read an SSLConfig.

    Raises:
        InvalidArgument: the file is no SSLConfig.
        ServingError: the file cannot be read (where the reference aborts).
    """
    message = read_text_file(path, _MESSAGE)
    return TlsConfig(
        message.server_key, message.server_cert, message.custom_ca, message.client_verify
    )
