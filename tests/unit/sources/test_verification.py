import os
import threading
from pathlib import Path

import pytest
from tests.unit.instruments.test_signatures import keys
from tests.unit.sources.test_fetching import Watched

from salver.errors import DataLoss, FailedPrecondition, InvalidArgument, PermissionDenied
from salver.instruments.cache import Cache
from salver.instruments.manifest import MANIFEST, SIGNATURE, make_manifest
from salver.instruments.signatures import read_public_keys, sign
from salver.sources.fetching import Fetched, fetch_version
from salver.sources.verification import LocalCopies, Verification

REQUIRED = Verification(is_required=True)


@pytest.fixture
def version(tmp_path: Path) -> Path:
    made = tmp_path / "m" / "1"
    (made / "variables").mkdir(parents=True)
    (made / "assets").mkdir()
    (made / "saved_model.pb").write_bytes(b"graph")
    (made / "variables" / "data").write_bytes(os.urandom(5000))
    (made / MANIFEST).write_bytes(make_manifest(made))
    return made


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def copied(version: Path, cache: Cache, verification: Verification = REQUIRED) -> Fetched:
    copies = LocalCopies(verification)
    here = copies.version(str(version))
    return fetch_version(1, here, copies, cache, Watched(), verification)


def check(verification: Verification, version: Path) -> bool:
    return verification.check(str(version), str(version), lambda: None)


def test_sums_are_compared_wherever_there_are_any(version: Path) -> None:
    assert check(Verification(), version)
    (version / "saved_model.pb").write_bytes(b"Graph")
    with pytest.raises(DataLoss):
        check(Verification(), version)
    (version / MANIFEST).unlink()
    assert not check(Verification(), version)


def test_a_version_without_sums_is_refused_where_they_are_demanded(
    version: Path, tmp_path: Path
) -> None:
    _, public = keys(tmp_path / "keys")
    (version / MANIFEST).unlink()
    demands = {
        "require_manifest": REQUIRED,
        "manifest_public_key_file": Verification(keys=read_public_keys(public)),
    }
    for flag, verification in demands.items():
        assert verification.is_demanded
        with pytest.raises(FailedPrecondition, match=f"--{flag}") as caught:
            check(verification, version)
        assert caught.value.is_final


def test_a_signature_is_demanded_by_a_key(version: Path, tmp_path: Path) -> None:
    private, public = keys(tmp_path / "keys")
    other, _ = keys(tmp_path / "others")
    verification = Verification.of(is_required=False, public_key_file=public)
    with pytest.raises(FailedPrecondition, match=r"has no SHA256SUMS\.sig"):
        check(verification, version)
    content = (version / MANIFEST).read_bytes()
    (version / SIGNATURE).write_bytes(sign(content, private))
    assert check(verification, version)
    (version / SIGNATURE).write_bytes(bytes(5000))
    with pytest.raises(InvalidArgument, match="File too large"):
        check(verification, version)
    (version / SIGNATURE).write_bytes(sign(content, other))
    with pytest.raises(PermissionDenied):
        check(verification, version)


def test_what_is_loaded_is_the_copy_that_was_compared(version: Path, cache: Cache) -> None:
    held = copied(version, cache)
    assert held.directory != str(version)
    assert (held.path / "saved_model.pb").read_bytes() == b"graph"
    assert (held.path / MANIFEST).exists()
    (version / "saved_model.pb").write_bytes(b"other")  # by whoever may write there
    assert (held.path / "saved_model.pb").read_bytes() == b"graph"
    held.close()
    with pytest.raises(DataLoss):  # as another version, which it is
        copied(version, cache)


def test_a_copy_is_made_once_and_compared_again_before_each_use(
    version: Path, cache: Cache
) -> None:
    first = copied(version, cache)
    inode = first.path.stat().st_ino
    first.close()
    second = copied(version, cache)
    assert second.path.stat().st_ino == inode
    second.close()
    (second.path / "saved_model.pb").write_bytes(b"grapH")  # the size is the same
    third = copied(version, cache)
    assert (third.path / "saved_model.pb").read_bytes() == b"graph"
    third.close()


def test_a_file_that_changes_while_it_is_copied_is_noticed(version: Path, cache: Cache) -> None:
    class Changing(Watched):
        def progress(self, done_bytes: int) -> None:
            (version / "variables" / "data").write_bytes(b"late")
            (version / "saved_model.pb").write_bytes(b"late")

    copies = LocalCopies(REQUIRED)
    with pytest.raises(DataLoss):
        fetch_version(1, copies.version(str(version)), copies, cache, Changing(), REQUIRED)
    assert not cache.entries()


def test_a_link_out_of_the_directory_is_not_followed_into_a_copy(
    version: Path, cache: Cache, tmp_path: Path
) -> None:
    (version / "saved_model.pb").rename(version / "graph")
    (version / "saved_model.pb").symlink_to("graph")
    (version / MANIFEST).write_bytes(make_manifest(version))
    held = copied(version, cache)
    assert not (held.path / "saved_model.pb").is_symlink()
    held.close()
    (version / "graph").rename(tmp_path / "graph")
    (version / "graph").symlink_to(tmp_path / "graph")
    with pytest.raises(InvalidArgument, match="leads out of"):
        copied(version, cache)


def test_two_who_want_a_copy_make_one(version: Path, cache: Cache) -> None:
    found: list[Fetched] = []
    threads = [
        threading.Thread(target=lambda: found.append(copied(version, cache))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({held.directory for held in found}) == 1
    for held in found:
        held.close()
    assert len(cache.entries()) == 1
