import json
from pathlib import Path

from salver.oip.labels import ModelLabels
from salver.vocabulary.servable import ServableId

M = ServableId("m", 3)


def version(base: Path, labels: str | None = None, about: object = None) -> Path:
    assets = base / "3" / "assets"
    assets.mkdir(parents=True)
    if labels is not None:
        (assets / "labels.txt").write_text(labels)
    if about is not None:
        text = about if isinstance(about, str) else json.dumps(about)
        (assets / "salver.json").write_text(text)
    return base


def labels_of(base: Path, files: dict[str, str] | None = None) -> ModelLabels:
    labels = ModelLabels(files or {}, lambda _name, _version: str(base))
    assert not labels.is_known(M)
    labels.read(M)
    assert labels.is_known(M)
    return labels


ABOUT = {"schema": 1, "signatures": {"serving_default": {"outputs": {"y": {"labels": ["a", "b"]}}}}}


def test_labels_are_those_beside_the_model(tmp_path: Path) -> None:
    labels = labels_of(version(tmp_path, "cat\ndog\n"))
    assert labels.of_output(M, "serving_default", "y") == ("cat", "dog")
    labels.forget()
    assert not labels.is_known(M)
    assert labels.of_output(M, "serving_default", "y") is None


def test_what_a_model_says_of_an_output_goes_before_what_it_says_of_all(tmp_path: Path) -> None:
    labels = labels_of(version(tmp_path, "cat\ndog\n", ABOUT))
    assert labels.of_output(M, "serving_default", "y") == ("a", "b")
    assert labels.of_output(M, "serving_default", "z") == ("cat", "dog")
    assert labels.of_output(M, "other", "y") == ("cat", "dog")


def test_the_file_of_the_flag_goes_before_all(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("x\ny\n")
    base = version(tmp_path / "m", "cat\ndog\n", ABOUT)
    assert labels_of(base, {"m": str(file)}).of_output(M, "serving_default", "y") == ("x", "y")
    assert labels_of(base, {"": str(file)}).of_output(M, "serving_default", "y") == ("x", "y")
    assert labels_of(base, {"n": str(file)}).of_output(M, "serving_default", "y") == ("a", "b")


def test_files_that_cannot_be_read_count_as_none(tmp_path: Path) -> None:
    base = version(tmp_path, about="{")
    assert labels_of(base).of_output(M, "serving_default", "y") is None
    assert labels_of(tmp_path / "nowhere").of_output(M, "serving_default", "y") is None
    nowhere = ModelLabels({}, lambda _name, _version: None)
    nowhere.read(M)
    assert nowhere.of_output(M, "serving_default", "y") is None


def test_no_link_leads_away_from_the_model(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a\nb\n")
    base = version(tmp_path / "m")
    (base / "3" / "assets" / "labels.txt").symlink_to(secret)
    assert labels_of(base).of_output(M, "serving_default", "y") is None


def test_only_so_many_versions_are_remembered(tmp_path: Path) -> None:
    labels = ModelLabels({}, lambda _name, _version: None)
    for number in range(1000):
        labels.read(ServableId("m", number))
    assert sum(labels.is_known(ServableId("m", number)) for number in range(1000)) <= 256
