from pathlib import Path

from salver.backends.lightgbm.backend import LightGBMBackend
from salver.backends.lightgbm.options import LightGBMOptions
from salver.backends.protocol import Listing


def detected(directory: Path) -> list[str] | None:
    match = LightGBMBackend().detect(Listing.of(directory), LightGBMOptions())
    return None if match is None else list(match.files)


def test_a_text_is_a_model_by_its_first_line(tmp_path: Path) -> None:
    (tmp_path / "model.txt").write_text("trees are green\n")
    assert detected(tmp_path) is None
    (tmp_path / "model.txt").write_text("tree\nversion=v4\n")
    assert detected(tmp_path) == ["model.txt"]


def test_the_only_model_among_texts_is_served(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("numpy\n")
    (tmp_path / "credit.txt").write_text("tree\r\nversion=v4\r\n")
    assert detected(tmp_path) == ["credit.txt"]
    (tmp_path / "other.txt").write_text("tree\n")
    assert detected(tmp_path) is None
