import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from salver.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotInstalled,
    PermissionDenied,
    ServingError,
)
from salver.instruments.signatures import read_public_keys, sign

FORMS = {
    "PEM": (Encoding.PEM, PrivateFormat.PKCS8, PublicFormat.SubjectPublicKeyInfo),
    "OpenSSH": (Encoding.OpenSSH, PrivateFormat.OpenSSH, PublicFormat.OpenSSH),
}


def keys(
    where: Path, form: str = "PEM", encryption: KeySerializationEncryption | None = None
) -> tuple[str, str]:
    """Paths of a new private key, and of its public one."""
    encoding, private, public = FORMS[form]
    where.mkdir()
    key = Ed25519PrivateKey.generate()
    (where / "key").write_bytes(
        key.private_bytes(Encoding.PEM, private, encryption or NoEncryption())
    )
    (where / "key.pub").write_bytes(key.public_key().public_bytes(encoding, public) + b"\n")
    return str(where / "key"), str(where / "key.pub")


@pytest.mark.parametrize("form", FORMS)
def test_what_a_key_has_signed_is_told_from_all_else(tmp_path: Path, form: str) -> None:
    private, public = keys(tmp_path / "a", form)
    other, _ = keys(tmp_path / "b", form)
    signature = sign(b"sums", private)
    known = read_public_keys(public)
    known.check(b"sums", signature)
    known.check(b"sums", signature.strip())
    for content, of in ((b"Sums", signature), (b"sums", sign(b"sums", other))):
        with pytest.raises(PermissionDenied, match="was not made by a key of") as caught:
            known.check(content, of)
        assert caught.value.is_final
    for nonsense in (b"", b"\xff", signature[:-5], b"A" * 87, signature * 2):
        with pytest.raises(InvalidArgument, match="is no Ed25519 signature in base64"):
            known.check(b"sums", nonsense)


def test_any_of_several_keys_will_do_so_that_keys_can_be_replaced(tmp_path: Path) -> None:
    old, old_public = keys(tmp_path / "old")
    new, new_public = keys(tmp_path / "new", "OpenSSH")
    both = tmp_path / "both.pem"
    both.write_text(f"# ours\n{Path(old_public).read_text()}\n{Path(new_public).read_text()}")
    for key in (old, new):
        read_public_keys(str(both)).check(b"sums", sign(b"sums", key))


def test_openssl_makes_keys_and_signatures_that_are_taken(tmp_path: Path) -> None:
    (tmp_path / "sums").write_bytes(b"sums")
    commands = (
        "genpkey -algorithm ed25519 -out key.pem",
        "pkey -in key.pem -pubout -out public.pem",
        "pkeyutl -sign -inkey key.pem -rawin -in sums -out raw",
        "base64 -in raw -out signature",
    )
    for command in commands:
        try:
            done = subprocess.run(
                ["openssl", *command.split()], cwd=tmp_path, capture_output=True, check=False
            )
        except FileNotFoundError:
            pytest.skip("openssl is not there")
        assert done.returncode == 0, done.stderr
    read_public_keys(str(tmp_path / "public.pem")).check(
        b"sums", (tmp_path / "signature").read_bytes()
    )


def test_a_file_without_a_key_that_can_be_used_is_refused(tmp_path: Path) -> None:
    private, _ = keys(tmp_path / "a")
    with pytest.raises(InvalidArgument, match="has no public key") as caught:
        read_public_keys(private)
    assert "openssl" in (caught.value.hint or "")
    curve = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "ec.pub").write_bytes(
        curve.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    (tmp_path / "ec").write_bytes(
        curve.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    with pytest.raises(InvalidArgument, match="not of Ed25519"):
        read_public_keys(str(tmp_path / "ec.pub"))
    with pytest.raises(InvalidArgument, match="not of Ed25519"):
        sign(b"", tmp_path / "ec")
    (tmp_path / "broken").write_text("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----")
    with pytest.raises(InvalidArgument, match="cannot be read"):
        read_public_keys(str(tmp_path / "broken"))
    with pytest.raises(ServingError, match="No such file"):
        read_public_keys(str(tmp_path / "none"))


def test_no_error_about_a_private_key_shows_any_of_it(tmp_path: Path) -> None:
    locked, public = keys(tmp_path / "a", encryption=BestAvailableEncryption(b"secret"))
    with pytest.raises(FailedPrecondition, match="has a passphrase"):
        sign(b"", locked)
    with pytest.raises(InvalidArgument, match="has no private key that can be read"):
        sign(b"", public)
    (tmp_path / "text").write_text("hunter2")
    with pytest.raises(InvalidArgument) as caught:
        sign(b"", tmp_path / "text")
    assert "hunter2" not in str(caught.value)


def test_without_the_package_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, public = keys(tmp_path / "a")
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(NotInstalled, match="signing"):
        read_public_keys(public)
