"""Ed25519 signatures of manifests: keys from files, by the package `cryptography`.

It is imported when a key is named, and by nothing else.
"""

import base64
import binascii
import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from salver.errors import FailedPrecondition, InvalidArgument, NotInstalled, PermissionDenied
from salver.instruments.files import OsErrorsOf, read_regular
from salver.instruments.manifest import SIGNATURE, final

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

__all__ = ["PublicKeys", "read_public_keys", "sign"]

_MAX_KEY_BYTES: Final = 1 << 20
_SIGNATURE_BYTES: Final = 64
_EXTRA: Final = "signing"
_PUBLIC: Final = re.compile(
    rb"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----|^ssh-ed25519 [^\r\n]+",
    re.DOTALL | re.MULTILINE,
)


class PublicKeys:
    """Those one of which must have signed. Safe to use from any thread."""

    def __init__(self, keys: "Sequence[Ed25519PublicKey]", path: str) -> None:
        """Only `read_public_keys` makes them."""
        self._keys = keys
        self._path = path

    def check(self, content: bytes, signature: bytes) -> None:
        """Refuse what none of them has signed.

        Args:
            content: what was signed.
            signature: in base64.

        Raises:
            InvalidArgument: that is no signature.
            PermissionDenied: it is not one of theirs, or of something else.
        """
        from cryptography.exceptions import InvalidSignature

        try:
            raw = base64.b64decode(b"".join(signature.split()), validate=True)
        except binascii.Error:
            raw = b""
        if len(raw) != _SIGNATURE_BYTES:
            raise final(InvalidArgument(f"{SIGNATURE} is no Ed25519 signature in base64"))
        for key in self._keys:
            try:
                key.verify(raw, content)
            except InvalidSignature:
                continue
            return
        raise final(PermissionDenied(f"{SIGNATURE} was not made by a key of {self._path}"))


def read_public_keys(path: str) -> PublicKeys:
    """The keys of a file: PEM blocks, and lines of OpenSSH, any number of them.

    Raises:
        InvalidArgument: there is none, or one is not of Ed25519.
        NotInstalled: `cryptography` is not.
        ServingError: the file cannot be read.
    """
    _require()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import (
        load_pem_public_key,
        load_ssh_public_key,
    )

    with OsErrorsOf(path):
        content = read_regular(path, _MAX_KEY_BYTES)
    keys = []
    for block in _PUBLIC.findall(content):
        load = load_pem_public_key if block.startswith(b"-----") else load_ssh_public_key
        try:
            key = load(block)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise InvalidArgument(f"{path} has a key that cannot be read: {error}") from None
        if not isinstance(key, Ed25519PublicKey):
            raise InvalidArgument(f"{path} has a key that is not of Ed25519")
        keys.append(key)
    if not keys:
        raise InvalidArgument(
            f"{path} has no public key",
            hint="Make one: openssl genpkey -algorithm ed25519 -out key.pem; "
            "openssl pkey -in key.pem -pubout -out public.pem",
        )
    return PublicKeys(keys, path)


def sign(content: bytes, key_path: "str | os.PathLike[str]") -> bytes:
    """The signature of something, in base64 and a line of its own.

    Args:
        content: is signed.
        key_path: of a private key in PEM or OpenSSH's form, without a passphrase.

    Raises:
        InvalidArgument: there is no such key.
        NotInstalled: `cryptography` is not.
        ServingError: the file cannot be read.
    """
    return base64.b64encode(_private_key(os.fspath(key_path)).sign(content)) + b"\n"


def _private_key(path: str) -> "Ed25519PrivateKey":
    _require()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        load_pem_private_key,
        load_ssh_private_key,
    )

    with OsErrorsOf(path):
        content = read_regular(path, _MAX_KEY_BYTES)
    load = load_ssh_private_key if b"OPENSSH PRIVATE KEY" in content else load_pem_private_key
    try:
        key = load(content, None)
    except TypeError:
        raise FailedPrecondition(f"{path} has a passphrase, which nobody is asked for") from None
    except (ValueError, UnsupportedAlgorithm):  # whose text may quote the key
        raise InvalidArgument(f"{path} has no private key that can be read") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise InvalidArgument(f"{path} has a key that is not of Ed25519")
    return key


def _require() -> None:
    try:
        import cryptography  # noqa: F401 - to see whether it is there
    except ImportError as error:
        from salver.instruments.installing import install_command

        raise NotInstalled(
            f"Signatures need the package cryptography: {install_command(_EXTRA)}"
        ) from error
