import json
from pathlib import Path
from typing import Any

import pytest

from salver.cli.backend_flags import all_backend_flags
from salver.cli.salver import main
from salver.config.options import FLAGS

_YAML = """\
models:
- name: a
  base_path: models/a
  model_platform: tensorflow
  version_labels: {stable: 1}
  logging_config: {}
  salver: {max_concurrent_runs: 2, options: {threads: 2}}
- {name: b, base_path: /b, model_platform: tensorflow, model_version_policy: {all: {}}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "models.yaml"
    path.write_text(_YAML)
    return path


def _shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main(["salver", "config", "show", "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def _flags(document: Any) -> dict[str, tuple[object, str]]:
    return {each["name"]: (each["value"], each["source"]) for each in document["flags"]}


def _model(document: Any, name: str) -> dict[str, tuple[object, str]]:
    return {each["name"]: (each["value"], each["source"]) for each in document["models"][name]}


def test_every_flag_is_shown_with_where_it_comes_from(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = _shown(capsys, f"--model_config_file={file}", "--port=0")
    flags = _flags(document)
    assert list(flags) == [flag.name for flag in (*FLAGS, *all_backend_flags())]
    assert flags["port"] == (0, "command line")
    assert flags["host"] == ("127.0.0.1", "default of salver serve")
    assert flags["workers"] == (1, "default")
    assert flags["model_base_path"] == ("", "default, not used")


def test_each_model_is_shown_with_the_place_of_each_setting(
    file: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    command = (f"--model_config_file={file}", "--max_queued_runs_per_model=7")
    document = _shown(capsys, *command)
    assert _model(document, "a") == {
        "base_path": (str(tmp_path / "models" / "a"), f"{file}:3:14"),
        "model_platform": ("tensorflow", f"{file}:4:19"),
        "model_version_policy": ("latest 1", "default"),
        "version_labels.stable": (1, f"{file}:5:28"),
        "logging_config": ("yes", f"{file}:6:19"),
        "salver.max_concurrent_runs": (2, f"{file}:7:33"),
        "salver.max_queued_runs": (7, "--max_queued_runs_per_model: command line"),
        "salver.options.threads": ("2", f"{file}:7:55"),
    }
    assert _model(document, "b")["model_version_policy"] == ("all", f"{file}:8:78")


def test_text_protobuf_has_places_too(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "m.conf"
    file.write_text(
        'model_config_list { config {\n name: "a" base_path: "/a"\n model_platform: "tensorflow"\n'
        " model_version_policy { specific { versions: 3 versions: 4 } } } }"
    )
    model = _model(_shown(capsys, f"--model_config_file={file}"), "a")
    assert model["model_platform"] == ("tensorflow", f"{file}:3:18")
    assert model["model_version_policy"] == ("specific 3 4", f"{file}:4:2")


def test_the_reference_has_its_own_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    document = _shown(capsys, "--tensorflow_model_server", "--model_base_path=/m", "--model_name=m")
    assert _flags(document)["host"] == ("", "default")
    assert _model(document, "m")["base_path"] == ("/m", "command line")


def test_a_path_is_a_model(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "digits" / "1").mkdir(parents=True)
    (tmp_path / "digits" / "1" / "saved_model.pb").touch()
    document = _shown(capsys, f"d={tmp_path / 'digits'}")
    assert _model(document, "d")["base_path"] == (str(tmp_path / "digits"), "command line")


def test_flags_that_a_platform_file_takes_the_place_of_are_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    platforms = tmp_path / "platforms.conf"
    platforms.write_text(
        'platform_configs { key: "tensorflow" value { source_adapter_config {'
        " [type.googleapis.com/tensorflow.serving.SavedModelBundleSourceAdapterConfig] {} } } }"
    )
    document = _shown(capsys, "--model_base_path=/m", f"--platform_config_file={platforms}")
    value, source = _flags(document)["enable_batching"]
    assert (value, source) == (False, "default, not used: see --platform_config_file")


def test_people_are_shown_lines(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["salver", "config", "show", f"--model_config_file={file}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["--port=8500", "default"]
    assert "model a" in lines
    assert any(line.split() == ["model_platform=tensorflow", f"{file}:4:19"] for line in lines)


def test_what_no_server_would_start_with_is_told(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["salver", "config", "show", f"--model_config_file={file}"]
    assert main([*command, "--drain_timeout_seconds=-1"]) == 1
    assert "--drain_timeout_seconds must be" in capsys.readouterr().err
    file.write_text("models: [{nme: a}]")
    assert main(command) == 1
    assert f'{file}:1:11: ModelConfig has no field "nme"' in capsys.readouterr().err


def test_a_flag_of_a_file_or_a_variable_is_shown_with_its_place(
    file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    flags_file = tmp_path / "salver.flags"
    flags_file.write_text(f"# ours\n--model_config_file={file}\n--lightgbm_num_threads=3\n")
    monkeypatch.setenv("SALVER_FLAG_WORKERS", "2")
    flags = _flags(_shown(capsys, f"--flagfile={flags_file}"))
    assert flags["workers"] == (2, "SALVER_FLAG_WORKERS")
    assert flags["model_config_file"] == (str(file), f"{flags_file}:2")
    assert flags["lightgbm_num_threads"] == ("3", f"{flags_file}:3")
    assert flags["flagfile"] == (str(flags_file), "command line")


def test_the_reference_takes_no_variables(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SALVER_FLAG_WORKERS", "2")
    document = _shown(capsys, "--tensorflow_model_server", "--model_base_path=/m")
    assert _flags(document)["workers"] == (1, "default")


def test_a_model_of_a_file_of_flags_is_shown_with_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags_file = tmp_path / "salver.flags"
    flags_file.write_text("--model_base_path=/m")
    model = _model(_shown(capsys, f"--flagfile={flags_file}"), "default")
    assert model["base_path"] == ("/m", f"{flags_file}:1")
