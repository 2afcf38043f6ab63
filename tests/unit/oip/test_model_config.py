from pathlib import Path
from typing import Any

import pytest
from tests.shelf import signature

from salver.config.models import ModelConfig
from salver.errors import InvalidArgument
from salver.oip.model_config import config_of_files, model_config
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.model import Merging, ModelInfo
from salver.vocabulary.servable import Specific

SIGNATURE = signature(
    {"x": (DataType.FLOAT32, (-1, 4)), "s": (DataType.STRING, (-1,))},
    {"y": (DataType.INT64, (-1, 2))},
)
INFO = ModelInfo({"serving_default": SIGNATURE}, backend="tensorflow_savedmodel")


def told(base: Path, info: ModelInfo = INFO, **own: Any) -> dict[str, Any]:
    model = ModelConfig(name="m", base_path=str(base), **own)
    return model_config(model, info, "tensorflow_savedmodel", config_of_files(model.base_path, 1))


def test_a_model_without_a_file_is_told_as_it_is_served(tmp_path: Path) -> None:
    said = told(tmp_path)
    assert (said["platform"], said["backend"]) == ("tensorflow_savedmodel", "tensorflow")
    assert said["max_batch_size"] == 0
    assert [(t["name"], t["data_type"], t["dims"]) for t in said["input"]] == [
        ("s", "TYPE_STRING", [-1]),
        ("x", "TYPE_FP32", [-1, 4]),
    ]
    assert [(t["name"], t["data_type"]) for t in said["output"]] == [("y", "TYPE_INT64")]
    assert said["version_policy"] == {"latest": {"num_versions": 1}}
    assert "dynamic_batching" not in said


def test_a_file_is_taken_over_where_it_is_in_effect(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "config.pbtxt").write_text(
        'max_batch_size: 8 version_policy { all {} } parameters { key: "a" '
        'value { string_value: "b" } } instance_group { count: 3 } '
        'output { name: "y" data_type: TYPE_INT64 dims: 2 label_filename: "l.txt" }'
    )
    said = told(tmp_path)
    assert said["max_batch_size"] == 8
    assert [t["dims"] for t in said["input"]] == [[], [4]]
    assert said["version_policy"] == {"all": {}}
    assert said["parameters"] == {"a": {"string_value": "b"}}
    assert said["instance_group"][0]["count"] == 3
    assert said["output"][0]["label_filename"] == "l.txt"


def test_the_servers_configuration_goes_before_a_file(tmp_path: Path) -> None:
    (tmp_path / "config.pbtxt").write_text("version_policy { all {} }")
    said = told(tmp_path, version_policy=Specific((1, 2)), names_versions=True)
    assert said["version_policy"] == {"specific": {"versions": [1, 2]}}


def test_batching_is_told_as_it_is_in_effect(tmp_path: Path) -> None:
    merging = Merging(max_batch_size=32, delay_micros=100, preferred_batch_sizes=(8,))
    said = told(tmp_path, ModelInfo(INFO.signatures, merging=merging))
    assert said["max_batch_size"] == 32
    assert said["dynamic_batching"] == {
        "preferred_batch_size": [8],
        "max_queue_delay_microseconds": 100,
    }


def test_a_file_that_is_wrong_is_none(tmp_path: Path) -> None:
    (tmp_path / "config.pbtxt").write_text("{{{")
    assert told(tmp_path)["max_batch_size"] == 0


def test_a_remote_model_has_no_file(tmp_path: Path) -> None:
    assert config_of_files(None, 1) is None


def test_a_model_without_a_default_signature_has_no_configuration(tmp_path: Path) -> None:
    info = ModelInfo({"a": SIGNATURE, "b": SIGNATURE})
    with pytest.raises(InvalidArgument, match="not found in signature def"):
        told(tmp_path, info)
