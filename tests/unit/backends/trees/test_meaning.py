import json
from pathlib import Path

import pytest

from salver.backends.trees.meaning import Meaning, read_meaning


def test_nothing_beside_the_model_means_nothing(tmp_path: Path) -> None:
    assert read_meaning(tmp_path, "y") == Meaning()


def test_labels_of_the_document_go_before_those_of_the_file(tmp_path: Path) -> None:
    assets = tmp_path / "assets"
    assets.mkdir()
    (assets / "labels.txt").write_text("a\n\nb\n")
    assert read_meaning(tmp_path, "y").labels == (b"a", b"b")
    document = {"signatures": {"serving_default": {"outputs": {"y": {"labels": ["no", "yes"]}}}}}
    (assets / "salver.json").write_text(json.dumps(document))
    assert read_meaning(tmp_path, "y").labels == (b"no", b"yes")
    assert read_meaning(tmp_path, "z").labels == (b"a", b"b")


@pytest.mark.parametrize("text", ["{", '{"schema": 2}'])
def test_a_document_that_is_wrong_is_left_out(
    text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "salver.json").write_text(text)
    assert read_meaning(tmp_path, "y") == Meaning()
    assert "is left out" in caplog.text


def test_a_link_out_of_the_directory_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "secret").write_text("a\nb\n")
    (tmp_path / "assets" / "labels.txt").symlink_to(tmp_path / "secret")
    assert read_meaning(tmp_path, "y") == Meaning()


def test_columns_are_asked_for_by_naming_inputs_after_them() -> None:
    assert Meaning(inputs=frozenset(["age"])).asks_for_columns(["age", "city"])
    assert not Meaning(inputs=frozenset(["x"])).asks_for_columns(["age", "city"])
    assert not Meaning().asks_for_columns(["age"])


def test_labels_that_are_not_as_many_as_the_classes_are_their_numbers() -> None:
    assert Meaning((b"no", b"yes")).labels_of(2) == [b"no", b"yes"]
    assert Meaning((b"no", b"yes")).labels_of(3) == [b"0", b"1", b"2"]
