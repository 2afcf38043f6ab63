import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from salver.errors import Cancelled, DataLoss, InvalidArgument, ServingError
from salver.instruments import manifest
from salver.instruments.manifest import (
    MANIFEST,
    check_files,
    copy_file,
    format_manifest,
    list_files,
    make_manifest,
    parse_manifest,
    read_manifest,
    sum_of,
)

SUM = "ab" * 32
ODD = "variables/a\\b\nc d"


@pytest.fixture
def version(tmp_path: Path) -> Path:
    made = tmp_path / "1"
    (made / "variables").mkdir(parents=True)
    (made / "assets").mkdir()
    (made / "saved_model.pb").write_bytes(b"graph")
    (made / "variables" / "data").write_bytes(bytes(3 << 20))
    return made


def sealed(version: Path) -> dict[str, str]:
    (version / MANIFEST).write_bytes(make_manifest(version))
    return parse_manifest((version / MANIFEST).read_bytes())


def test_a_manifest_lists_every_file_but_itself_and_its_signature(version: Path) -> None:
    (version / MANIFEST).write_text("old")
    (version / "SHA256SUMS.sig").write_text("old")
    sums = parse_manifest(make_manifest(version))
    assert sums == {
        name: hashlib.sha256((version / name).read_bytes()).hexdigest()
        for name in ("saved_model.pb", "variables/data")
    }
    check_files(version, sums)


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="sha256sum is not there")
def test_coreutils_read_what_is_written_and_what_they_write_is_read(version: Path) -> None:
    (version / ODD).write_bytes(b"odd")
    sums = sealed(version)
    assert ODD in sums
    subprocess.run(["sha256sum", "--strict", "-c", MANIFEST], cwd=version, check=True)
    names = [f"./{name}" for name in sums]
    theirs = subprocess.run(["sha256sum", *names], cwd=version, capture_output=True, check=True)
    assert parse_manifest(theirs.stdout) == sums
    binary = subprocess.run(["sha256sum", "-b", *names], cwd=version, capture_output=True)
    assert parse_manifest(binary.stdout) == sums


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ("nonsense", "line 1: it is not"),
        (f"{SUM}  a\n{SUM[:-1]}  b", "line 2: it is not"),
        (f"{SUM}  ", "line 1: it is not"),
        (f"{SUM}  ../a", "is no path of a file in the directory"),
        (f"{SUM}  /etc/passwd", "is no path"),
        (f"{SUM}  a/../../b", "is no path"),
        (f"{SUM}  a//b", "is no path"),
        (f"{SUM}  a/./b", "is no path"),
        (f"{SUM}  a/", "is no path"),
        (f"{SUM}  ./", "is no path"),
        (f"{SUM}  a\0b", "is no path"),
        (f"\\{SUM}  a\\qb", "means nothing"),
        (f"{SUM}  a\n{SUM}  a", "line 2: 'a' stands there twice"),
        (f"{SUM}  ./a\n{SUM}  a", "stands there twice"),
        (f"{SUM}  Model.onnx\n{SUM}  model.onnx", "differ in their case alone"),
    ],
)
def test_a_list_that_means_something_else_is_refused_for_good(lines: str, text: str) -> None:
    with pytest.raises(InvalidArgument, match=text) as caught:
        parse_manifest(lines.encode())
    assert caught.value.is_final


def test_the_size_of_a_manifest_is_bounded(version: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "MAX_FILES", 2)
    with pytest.raises(InvalidArgument, match="more than 2 files"):
        parse_manifest("".join(f"{SUM}  {name}\n" for name in "abc").encode())
    with (version / MANIFEST).open("wb") as file:
        file.truncate(manifest.MAX_BYTES + 1)
    with pytest.raises(InvalidArgument, match="File too large") as caught:
        read_manifest(version)
    assert caught.value.is_final
    (version / MANIFEST).unlink()
    assert read_manifest(version) is None


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda v: (v / "saved_model.pb").write_bytes(b"graph!"), "saved_model.pb is not what"),
        (lambda v: (v / "variables" / "data").unlink(), "'variables/data' is listed and missing"),
        (lambda v: (v / "model.py").touch(), "'model.py' is there and not listed"),
        (lambda v: (v / "saved_model.pb").rename(v / "Saved_Model.pb"), "listed and missing; "),
        (lambda v: (v / "SHA256SUMS.part").touch(), "'SHA256SUMS.part' is there and not listed"),
    ],
)
def test_files_that_are_not_the_listed_ones_are_refused_for_good(
    version: Path, damage: object, text: str
) -> None:
    sums = sealed(version)
    assert callable(damage)
    damage(version)
    with pytest.raises(DataLoss, match=text) as caught:
        check_files(version, sums)
    assert caught.value.is_final


def test_a_link_to_a_file_is_that_file_and_other_things_are_refused(
    version: Path, tmp_path: Path
) -> None:
    sums = sealed(version)
    (version / "saved_model.pb").rename(tmp_path / "elsewhere")
    (version / "saved_model.pb").symlink_to(tmp_path / "elsewhere")
    check_files(version, sums)
    (version / "more").symlink_to(tmp_path)
    with pytest.raises(InvalidArgument, match="more is a link to a directory"):
        check_files(version, sums)
    (version / "more").unlink()
    os.mkfifo(version / "more")
    with pytest.raises(InvalidArgument, match="more is no regular file"):
        check_files(version, sums)
    (version / "more").unlink()
    (version / "more").symlink_to("nowhere")
    with pytest.raises(ServingError, match="No such file"):
        check_files(version, sums)


def test_files_are_counted_no_further_than_there_may_be(version: Path) -> None:
    with pytest.raises(InvalidArgument, match="more than 1 files"):
        list_files(version, 1)


def test_summing_ends_when_nobody_wants_it(version: Path) -> None:
    def stop() -> None:
        raise Cancelled("stop")

    for what in (lambda: sum_of(version / "variables" / "data", stop),
                 lambda: make_manifest(version, stop)):  # fmt: skip
        with pytest.raises(Cancelled):
            what()


def test_a_copy_is_summed_as_it_is_written(version: Path, tmp_path: Path) -> None:
    counts: list[int] = []
    source = version / "variables" / "data"
    assert copy_file(source, tmp_path / "copy", counts.append) == sum_of(source)
    assert (tmp_path / "copy").read_bytes() == source.read_bytes()
    assert sum(counts) == 3 << 20
    with pytest.raises(FileExistsError):
        copy_file(source, tmp_path / "copy", counts.append)


def test_where_a_list_stands_that_is_wrong_is_told() -> None:
    with pytest.raises(InvalidArgument, match=r"^s3://b/m/1/SHA256SUMS: line 1: ") as raised:
        parse_manifest(b"abc  x\n", "s3://b/m/1/SHA256SUMS")
    assert raised.value.is_final


def test_what_is_written_of_known_sums_is_read_again() -> None:
    sums = {"b": "ab" * 32, "a/c": "cd" * 32, "odd\\\nname": "ef" * 32}
    assert parse_manifest(format_manifest(sums)) == sums
