from dataclasses import replace
from pathlib import Path

import pytest
from tests.model_config_files import read_model_config_file

from salver.config.batching import BatchingParameters
from salver.config.effective import Begun, Setting, flag_settings
from salver.config.flags import parse
from salver.config.model_options import ModelOptions
from salver.config.models import ModelConfig
from salver.config.options import ServerOptions


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "models.config"
    path.write_text(
        'model_config_list {\n  config {\n    name: "m" base_path: "/m" '
        'model_platform: "tensorflow"\n    salver { max_queued_runs: 3 }\n  }\n}\n'
    )
    return path


def sources(begun: Begun, *models: ModelConfig) -> dict[str, str]:
    ((_, settings),) = begun.read().settings(models)
    return {each.name: each.source for each in settings}


def test_flags_know_what_has_set_them() -> None:
    options = parse(["--port=7", "--rest_api_port=0"], ServerOptions(host="::1")).options
    settings = {each.name: each for each in flag_settings(options)}
    assert settings["port"] == Setting("port", 7, "command line")
    assert settings["rest_api_port"].source == "command line"  # though it is the default
    assert settings["workers"].source == "default"
    assert settings["host"].source == "default of the command"


def test_what_a_flag_came_from_makes_no_other_options() -> None:
    assert parse(["--port=8500"]).options == ServerOptions()


def test_values_of_a_model_are_those_of_the_file_until_they_differ(file: Path) -> None:
    begun = Begun(ServerOptions(model_config_file=str(file)), ())
    models = read_model_config_file(str(file))
    assert models is not None
    (model,) = models
    told = sources(begun, model)
    assert told["base_path"] == f"{file}:3:26"
    assert told["salver.max_queued_runs"] == f"{file}:4:31"
    assert told["model_version_policy"] == "default"
    options = ModelOptions(max_queued_runs=4, batching=BatchingParameters(max_batch_size=2))
    changed = replace(model, options=options, version_labels={"stable": 1})
    told = sources(begun, changed)
    assert told["base_path"] == f"{file}:3:26"
    for name in ("salver.max_queued_runs", "salver.batching.max_batch_size"):
        assert told[name] == "memory"
    assert told["version_labels.stable"] == "memory"
    told = sources(begun, replace(model, name="other", options=ModelOptions()))
    assert told["base_path"] == "memory"
    assert told["salver.max_queued_runs"] == "--max_queued_runs_per_model: default"


def test_a_file_that_cannot_be_read_is_said_to_be_so(file: Path) -> None:
    begun = Begun(ServerOptions(model_config_file=str(file)), ())
    file.unlink()
    assert "models.config" in begun.read().problem


def test_without_a_file_what_the_server_began_with_is_of_the_command_line() -> None:
    model = ModelConfig(name="m", base_path="/m", model_platform="tensorflow")
    begun = Begun(ServerOptions(model_base_path="/m"), (model,))
    assert sources(begun, model)["base_path"] == "command line"
    assert sources(begun, replace(model, base_path="/n"))["base_path"] == "memory"


def test_a_file_is_read_again_when_its_bytes_have_changed(file: Path) -> None:
    begun = Begun(ServerOptions(model_config_file=str(file)), ())
    first = begun.read()
    assert begun.read() is first
    file.write_text(file.read_text().replace('name: "m"', 'name: "n"'))
    assert [model.name for model in begun.read().models] == ["n"]
