from pathlib import Path

import pytest

from salver.errors import InvalidArgument
from salver.protocols.labels import (
    EVERY_MODEL,
    find_labels,
    parse_labels,
    parse_labels_flag,
    read_labels,
)


@pytest.mark.parametrize(
    ("text", "files"),
    [
        ("", {}),
        ("labels.txt", {EVERY_MODEL: "labels.txt"}),
        ("m=a.txt, n=b.json,", {"m": "a.txt", "n": "b.json"}),
        ("labels.txt,m=a.txt", {EVERY_MODEL: "labels.txt", "m": "a.txt"}),
        ("m=a=b.txt", {"m": "a=b.txt"}),
    ],
)
def test_the_flag_names_one_file_for_all_or_one_per_model(text: str, files: dict[str, str]) -> None:
    assert parse_labels_flag(text) == files


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("m=", "--labels_file names no file for 'm'"),
        ("m=a,m=b", "--labels_file names two files for model 'm'"),
        ("a,b", "--labels_file names two files for every model"),
    ],
)
def test_a_flag_that_makes_no_sense_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        parse_labels_flag(text)
    assert refusal.value.message == message


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("cat\ndog\n", ("cat", "dog")),
        ("cat\r\n\r\ndog", ("cat", "", "dog")),
        ("0 cat\n1 dog\n", ("cat", "dog")),
        ("0: cat\n1:dog", ("cat", "dog")),
        ("0 cat\n2 dog", ("0 cat", "2 dog")),
        ("0\n1\n2", ("0", "1", "2")),
        ("", ()),
        ('["cat", 2]', ("cat", "2")),
        ('{"dog": 1, "cat": 0}', ("cat", "dog")),
        ('{"1": "dog", "0": "cat"}', ("cat", "dog")),
        ("{}", ()),
        ("猫\n犬", ("猫", "犬")),
    ],
)
def test_labels_are_lines_or_json(text: str, labels: tuple[str, ...]) -> None:
    assert parse_labels(text) == labels


@pytest.mark.parametrize("text", ["[1", '{"cat": 1}', '{"-1": "cat"}', '{"a": "b"}', '{"5": true}'])
def test_json_without_labels_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_labels(text)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_version_has_labels_in_its_assets(tmp_path: Path) -> None:
    write(tmp_path / "00000007" / "assets" / "labels.txt", "\ufeffcat\ndog\n")
    assert find_labels({}, "m", 7, str(tmp_path)) == ("cat", "dog")
    assert find_labels({}, "m", 7, f"file://{tmp_path}") == ("cat", "dog")


def test_without_a_file_there_are_no_labels(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "notes.txt").touch()
    assert find_labels({}, "m", 1, str(tmp_path)) is None
    assert find_labels({}, "m", 2, str(tmp_path)) is None
    assert find_labels({}, "m", 1, str(tmp_path / "missing")) is None
    assert find_labels({}, "m", 1, None) is None


def test_the_flag_comes_before_the_assets_and_a_model_before_all(tmp_path: Path) -> None:
    write(tmp_path / "1" / "assets" / "labels.txt", "asset")
    files = {
        EVERY_MODEL: str(write(tmp_path / "all.txt", "all")),
        "m": str(write(tmp_path / "m.txt", "mine")),
    }
    assert find_labels(files, "m", 1, str(tmp_path)) == ("mine",)
    assert find_labels(files, "n", 1, str(tmp_path)) == ("all",)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(InvalidArgument, match=r"labels\.txt is no list of labels: "):
        read_labels(path)


def test_a_file_that_is_too_long_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(b"a" * ((4 << 20) + 1))
    with pytest.raises(InvalidArgument, match="longer than 4 MiB"):
        read_labels(path)


def test_a_named_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        find_labels({"m": str(tmp_path / "gone.txt")}, "m", 1, None)


def test_a_file_that_is_nested_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("[" * 200_000)
    with pytest.raises(InvalidArgument, match=r"labels.txt is no list of labels: it is too deep"):
        read_labels(tmp_path / "labels.txt")


def test_a_link_that_leads_out_of_the_model_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("root")
    assets = tmp_path / "model" / "1" / "assets"
    assets.mkdir(parents=True)
    (assets / "labels.txt").symlink_to(tmp_path / "secret")
    assert find_labels({}, "model", 1, str(tmp_path / "model")) is None
    (tmp_path / "model" / "shared.txt").write_text("cat")
    (assets / "labels.txt").unlink()
    (assets / "labels.txt").symlink_to(tmp_path / "model" / "shared.txt")
    assert find_labels({}, "model", 1, str(tmp_path / "model")) == ("cat",)


def test_assets_that_are_linked_as_a_whole_are_the_models_own(tmp_path: Path) -> None:
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "labels.txt").write_text("cat")
    (tmp_path / "model" / "1").mkdir(parents=True)
    (tmp_path / "model" / "1" / "assets").symlink_to(tmp_path / "beside")
    assert find_labels({}, "model", 1, str(tmp_path / "model")) == ("cat",)
