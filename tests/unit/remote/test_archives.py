import gzip
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from salver.errors import Cancelled, DataLoss, InvalidArgument
from salver.remote import archives
from salver.remote.archives import is_archive, unpack


def entry(name: str, content: bytes = b"x", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def pack(path: Path, *entries: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for info, content in entries:
            tar.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return path


def unpacked(archive: Path, into: Path) -> list[str]:
    into.mkdir(exist_ok=True)
    unpack(archive, into, "there/3.tar.gz", lambda: None)
    return sorted(str(path.relative_to(into)) for path in into.rglob("*"))


def test_files_and_directories_are_unpacked(tmp_path: Path) -> None:
    archive = pack(
        tmp_path / "a.tar.gz",
        entry("./", b"", type=tarfile.DIRTYPE),
        entry("./assets", b"", type=tarfile.DIRTYPE),
        entry("./saved_model.pb", b"model"),
        entry("./variables/x", b""),
    )
    assert unpacked(archive, tmp_path / "v") == [
        "assets",
        "saved_model.pb",
        "variables",
        "variables/x",
    ]


def test_one_directory_that_holds_all_is_left_out(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.tar.gz", entry("3/saved_model.pb"), entry("3/variables/x"))
    assert unpacked(archive, tmp_path / "v") == ["saved_model.pb", "variables", "variables/x"]


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("../evil", {}),
        ("a/../../evil", {}),
        ("/evil", {}),
        ("a\\evil", {}),
        ("a//evil", {}),
        ("link", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}),
        ("link", {"type": tarfile.LNKTYPE, "linkname": "ok"}),
        ("device", {"type": tarfile.CHRTYPE}),
        ("disk", {"type": tarfile.BLKTYPE}),
        ("pipe", {"type": tarfile.FIFOTYPE}),
        ("OK", {}),
        ("ok/below", {}),
        ("ok", {}),
        (".salver-parts", {}),
    ],
)
def test_what_no_version_has_is_refused(
    name: str, fields: dict[str, object], tmp_path: Path
) -> None:
    content = b"" if fields else b"x"
    archive = pack(tmp_path / "a.tar.gz", entry("ok"), entry(name, content, **fields))
    with pytest.raises((InvalidArgument, OSError)):
        unpacked(archive, tmp_path / "v")
    assert os.listdir(tmp_path / "v") == []
    assert sorted(os.listdir(tmp_path)) == ["a.tar.gz", "v"]


def test_an_archive_that_inflates_without_end_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "_FREE_BYTES", 1 << 20)
    archive = pack(tmp_path / "a.tar.gz", entry("x", bytes(8 << 20)))
    with pytest.raises(InvalidArgument, match="inflates to more than 100 times its size"):
        unpacked(archive, tmp_path / "v")


def test_an_archive_of_endless_names_is_given_up(tmp_path: Path) -> None:
    info, content = entry("x")
    info.pax_headers = {"comment": "c" * (4 << 20)}
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(info, io.BytesIO(content))
    with pytest.raises(InvalidArgument, match="an entry with an endless name"):
        unpacked(tmp_path / "a.tar.gz", tmp_path / "v")


def test_an_archive_of_very_many_files_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MOST_FILES", 10)
    archive = pack(tmp_path / "a.tar.gz", *(entry(f"f{n}") for n in range(11)))
    with pytest.raises(InvalidArgument, match="more than 10 files"):
        unpacked(archive, tmp_path / "v")


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: content[:-6] + bytes(6),
        lambda content: gzip.decompress(content),
        lambda content: b"<html>not found</html>",
        lambda content: b"",
    ],
)
def test_a_damaged_archive_is_told_and_leaves_nothing(
    damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    archive = pack(tmp_path / "a.tar.gz", entry("x", os.urandom(5000)))
    archive.write_bytes(damage(archive.read_bytes()))
    with pytest.raises((DataLoss, InvalidArgument), match=r"there/3\.tar\.gz") as raised:
        unpacked(archive, tmp_path / "v")
    assert raised.value.is_final
    assert os.listdir(tmp_path / "v") == []


def test_unpacking_ends_when_nobody_wants_it(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.tar.gz", entry("x"))

    def check() -> None:
        raise Cancelled("unwanted")

    (tmp_path / "v").mkdir()
    with pytest.raises(Cancelled):
        unpack(archive, tmp_path / "v", "there", check)
    assert os.listdir(tmp_path / "v") == []


def test_archives_are_known_by_their_names() -> None:
    assert is_archive("https://h/3.tar.gz")
    assert is_archive("3.tgz")
    assert not is_archive("3.zip")
