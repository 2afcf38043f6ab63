"""TLS, from PEM texts as `SSLConfig` holds them: for a listening port, and for asking others."""

import os
import ssl
import tempfile
from collections.abc import Sequence

from salver.errors import InvalidArgument

__all__ = ["client_context", "server_context"]


def server_context(
    *,
    server_key: str,
    server_cert: str,
    custom_ca: str = "",
    client_verify: bool = False,
    protocols: Sequence[str] = ("http/1.1",),
) -> ssl.SSLContext:
    """A context that serves TLS 1.2 and newer.

    Args:
        server_key: the private key, PEM, not encrypted.
        server_cert: its certificate, PEM, followed by intermediate ones if there are any.
        custom_ca: PEM certificates that clients' certificates are checked against; empty takes the
            system's.
        client_verify: refuse clients that show no valid certificate.
        protocols: that clients may agree on by ALPN, the best first.

    Raises:
        InvalidArgument: a text is missing, is no PEM, or key and certificate do not match.

    Source of the fields: TensorFlow Serving `config/ssl_config.proto`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(list(protocols))
    _load_key_pair(context, server_key, server_cert)
    if client_verify:
        context.verify_mode = ssl.CERT_REQUIRED
        _load_authorities(context, custom_ca, ssl.Purpose.CLIENT_AUTH)
    return context


def client_context(
    *,
    key: str = "",
    cert: str = "",
    custom_ca: str = "",
    protocols: Sequence[str] = ("http/1.1",),
) -> ssl.SSLContext:
    """A context for connections to servers, whose certificates and names are checked.

    Args:
        key: the private key of the certificate that is shown; empty for none.
        cert: that certificate, with the chain behind it.
        custom_ca: PEM certificates that servers' certificates are checked against; empty takes the
            system's.
        protocols: that are offered by ALPN, the best first.

    Raises:
        InvalidArgument: see `server_context`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(list(protocols))
    if key or cert:
        _load_key_pair(context, key, cert)
    _load_authorities(context, custom_ca, ssl.Purpose.SERVER_AUTH)
    return context


def _load_key_pair(context: ssl.SSLContext, server_key: str, server_cert: str) -> None:
    if not server_key or not server_cert:
        raise InvalidArgument("SSLConfig needs both server_key and server_cert")
    # OpenSSL reads key pairs from files only. This one is born readable by us alone (mode 0600),
    # and is gone before anybody is served.
    descriptor, path = tempfile.mkstemp(prefix="salver-tls-")
    try:
        with open(descriptor, "w", encoding="ascii", errors="replace") as pem:
            pem.write(f"{server_key}\n{server_cert}\n")
        context.load_cert_chain(path, password=_no_password)
    except (ssl.SSLError, OSError, ValueError) as error:
        raise InvalidArgument(
            f"SSLConfig: server_key and server_cert are no matching PEM pair: {error}"
        ) from None
    finally:
        os.unlink(path)


def _load_authorities(context: ssl.SSLContext, custom_ca: str, purpose: ssl.Purpose) -> None:
    if not custom_ca:
        context.load_default_certs(purpose)
        return
    try:
        context.load_verify_locations(cadata=custom_ca)
    except (ssl.SSLError, TypeError) as error:  # TypeError: not ASCII
        raise InvalidArgument(f"SSLConfig: custom_ca is not PEM: {error}") from None


def _no_password() -> str:
    """Called for an encrypted key, instead of OpenSSL asking on the terminal."""
    raise ValueError("server_key is encrypted")
