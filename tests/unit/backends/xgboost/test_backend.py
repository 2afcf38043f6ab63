from pathlib import Path

from salver.backends.protocol import Listing
from salver.backends.xgboost.backend import XGBoostBackend
from salver.backends.xgboost.options import XGBoostOptions


def detected(directory: Path) -> list[str] | None:
    match = XGBoostBackend().detect(Listing.of(directory), XGBoostOptions())
    return None if match is None else list(match.files)


def test_json_is_a_model_only_with_a_learner_at_its_head(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"note": {"learner": {}}}')
    assert detected(tmp_path) is None
    (tmp_path / "model.json").write_text('{ "version": [3, 2, 0], "learner" : {')
    assert detected(tmp_path) == ["model.json"]


def test_of_several_the_one_with_its_proper_name_is_served(tmp_path: Path) -> None:
    (tmp_path / "a.ubj").touch()
    assert detected(tmp_path) == ["a.ubj"]
    (tmp_path / "model.ubj").touch()
    assert detected(tmp_path) == ["model.ubj"]


def test_several_with_proper_names_are_a_problem(tmp_path: Path) -> None:
    (tmp_path / "model.bst").touch()
    (tmp_path / "model.ubj").touch()
    match = XGBoostBackend().detect(Listing.of(tmp_path), XGBoostOptions())
    assert match is not None
    assert "more than one XGBoost model: model.bst, model.ubj" in match.problem
