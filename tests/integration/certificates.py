"""What the flags for TLS take, made of a certificate authority for a day."""

import json

import trustme

__all__ = ["ssl_config"]


def ssl_config(authority: trustme.CA, *, verify_clients: bool = False) -> str:
    """An SSLConfig in text format, with the PEM texts as its strings."""
    issued = authority.issue_cert("127.0.0.1", "localhost")
    key = issued.private_key_pem.bytes().decode()
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems).decode()
    text = f"server_key: {json.dumps(key)}\nserver_cert: {json.dumps(chain)}\n"
    if verify_clients:
        text += (
            f"custom_ca: {json.dumps(authority.cert_pem.bytes().decode())}\nclient_verify: true\n"
        )
    return text
