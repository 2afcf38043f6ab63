from pathlib import Path

import pytest

from salver.cli.cloud_models import cloud_models
from salver.config.options import ServerOptions
from salver.errors import NotFound

SAGEMAKER = ServerOptions(cloud_contract="sagemaker")
VERTEX = ServerOptions(cloud_contract="vertex")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "model"
    path.mkdir()
    monkeypatch.setattr("salver.config.cloud._SAGEMAKER_MODELS", str(path))
    return path


def _saved_model(path: Path) -> None:
    path.mkdir(parents=True)
    (path / "saved_model.pb").touch()


def test_without_a_contract_there_are_none() -> None:
    assert cloud_models(ServerOptions(), {}) == []


@pytest.mark.parametrize("names", [["1"], ["a/1", "b/2"], []])
def test_what_can_be_found_in_the_directory_is_found_there(root: Path, names: list[str]) -> None:
    for name in names:
        _saved_model(root / name)
    assert cloud_models(SAGEMAKER, {}) == [str(root)]


def test_models_that_lie_deeper_are_found_and_code_is_left_alone(root: Path) -> None:
    for name in ("export/Servo/1", "other/2", "code/lib/1", "export/Servo/assets"):
        _saved_model(root / name)
    assert cloud_models(SAGEMAKER, {}) == [f"Servo={root}/export/Servo", f"other={root}/other"]


def test_flags_that_name_models_go_before() -> None:
    options = ServerOptions(cloud_contract="sagemaker", model_config_file="m.yaml")
    assert cloud_models(options, {}) == []


def test_vertex_names_a_store_or_a_directory(root: Path) -> None:
    assert cloud_models(VERTEX, {"AIP_STORAGE_URI": "gs://b/a/"}) == ["model=gs://b/a"]
    assert cloud_models(VERTEX, {"AIP_STORAGE_URI": str(root)}) == [str(root)]


def test_a_model_that_is_not_there_is_told_of(root: Path) -> None:
    with pytest.raises(NotFound, match="AIP_STORAGE_URI is empty"):
        cloud_models(VERTEX, {})
    root.rmdir()
    with pytest.raises(NotFound, match="the cloud has put no model there"):
        cloud_models(SAGEMAKER, {})
