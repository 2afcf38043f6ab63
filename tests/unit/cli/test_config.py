import json
from pathlib import Path

import pytest

from salver.cli.salver import main
from salver.config.model_files import model_server_config

_YAML = """\
models:
- name: a
  base_path: models/a
  model_platform: tensorflow
  version_labels: {stable: 1}
  salver: {max_concurrent_runs: 2, options: {threads: 2}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "models.yaml"
    path.write_text(_YAML)
    return path


def test_a_file_that_is_right_is_checked_without_a_word(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(_YAML.replace(", options: {threads: 2}", ""))
    assert main(["salver", "config", "check", str(file)]) == 0
    assert capsys.readouterr() == ("", "")


def test_what_is_wrong_is_printed_with_its_place(
    file: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file.write_text(_YAML.replace("base_path", "base_pth"))
    other = tmp_path / "other.conf"
    other.write_text('model_config_list { config {\n  name: "b" } }')
    assert main(["salver", "config", "check", str(file), str(other)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f'{file}:3:3: ModelConfig has no field "base_pth": did you mean base_path?'
    assert lines[1].startswith(f"{other}:1:21: Expected model b to have an absolute path or URI")


def test_platforms_may_be_those_of_a_file(
    file: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    platforms = tmp_path / "platforms.conf"
    platforms.write_text(
        'platform_configs { key: "other" value { source_adapter_config {'
        " [type.googleapis.com/tensorflow.serving.SavedModelBundleSourceAdapterConfig] {} } } }"
    )
    command = ["salver", "config", "check", str(file), f"--platform_config_file={platforms}"]
    assert main(command) == 1
    assert ":4:19: Model a requests unsupported platform tensorflow" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ((), 2),
        (("check",), 2),
        (("look",), 2),
        (("convert", "x", "--to", "toml"), 2),
        (("show",), 2),
        (("show", "--no_such_flag=1"), 2),
        (("check", "/no/such/file"), 1),
        (("convert", "/no/such/file"), 1),
        (("show", "--model_config_file=/no/such/file"), 1),
        (("--help",), 0),
        (("show", "--help"), 0),
    ],
)
def test_the_status_says_how_it_went(arguments: tuple[str, ...], status: int) -> None:
    assert main(["salver", "config", *arguments]) == status


def test_a_file_is_converted_into_the_other_form_and_back(
    file: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["salver", "config", "convert", str(file)]) == 0
    text = tmp_path / "models.conf"
    text.write_text(capsys.readouterr().out)
    assert "model_config_list {" in text.read_text()
    assert main(["salver", "config", "convert", str(text)]) == 0
    again = capsys.readouterr().out
    assert model_server_config(again.encode(), "m.yaml") == model_server_config(
        file.read_bytes(), str(file)
    )


@pytest.mark.parametrize("name", ["new.json", "new.yml", "new.conf"])
def test_the_ending_of_the_output_says_the_form(file: Path, tmp_path: Path, name: str) -> None:
    output = tmp_path / name
    assert main(["salver", "config", "convert", str(file), "--output", str(output)]) == 0
    assert model_server_config(output.read_bytes(), name) == model_server_config(
        file.read_bytes(), str(file)
    )
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_to_says_the_form_too(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["salver", "config", "convert", str(file), "--to", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["models"][0]["name"] == "a"


def test_a_file_that_is_wrong_is_not_converted(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text("models: [{name: *x}]")
    assert main(["salver", "config", "convert", str(file)]) == 1
    assert f"{file}:1:17: anchors and aliases are not taken here" in capsys.readouterr().err


def test_the_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["salver", "config", "schema"]) == 0
    assert json.loads(capsys.readouterr().out)["properties"]["models"]["type"] == "array"


def test_options_of_a_backend_are_checked_too(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["salver", "config", "check", str(file)]) == 1
    assert capsys.readouterr().out.startswith(f"{file}:6:45: There is no option threads of ")
    file.write_text(_YAML.replace("threads: 2", "saved_model_tags: 'serve,gpu'"))
    assert main(["salver", "config", "check", str(file)]) == 0


def test_options_of_any_name_are_right_where_their_backend_is_named(file: Path) -> None:
    file.write_text(_YAML.replace("model_platform: tensorflow", "model_platform: python"))
    assert main(["salver", "config", "check", str(file)]) == 0
