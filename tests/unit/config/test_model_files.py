import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.model_config_files import read_model_config_file

from salver.config.model_files import MESSAGE, model_server_config, parse, write_models
from salver.config.model_options import ModelOptions
from salver.config.models import ModelConfig
from salver.config.text_format import message_of_text
from salver.errors import InvalidArgument, OutOfRange, ServingError
from salver.instruments.files import NotRegular
from salver.vocabulary.servable import Latest

_YAML = """
schema: 1
models:
  - name: fraud
    base_path: fraud
    model_platform: tensorflow
    model_version_policy: {latest: {num_versions: 2}}
    salver: {max_concurrent_runs: 4, options: {threads: 2}}
"""
_JSON = """
{"models": [{"name": "fraud", "basePath": "fraud", "modelPlatform": "tensorflow",
  "modelVersionPolicy": {"latest": {"numVersions": 2}},
  "salver": {"maxConcurrentRuns": 4, "options": {"threads": "2"}}}]}
"""
_TEXT = """
model_config_list { config {
  name: "fraud" base_path: "fraud" model_platform: "tensorflow"
  model_version_policy { latest { num_versions: 2 } }
  salver { max_concurrent_runs: 4 options { key: "threads" value: "2" } }
} }
"""


@pytest.mark.parametrize(
    ("name", "text"),
    [("m.yaml", _YAML), ("m.yml", _YAML), ("m.yml", _JSON), ("m.json", _JSON), ("m.conf", _TEXT)],
)
def test_the_same_models_are_read_whatever_the_form(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert read_model_config_file(str(path)) == (
        ModelConfig(
            name="fraud",
            base_path=str(tmp_path / "fraud"),
            model_platform="tensorflow",
            version_policy=Latest(2),
            names_versions=True,
            options=ModelOptions(max_concurrent_runs=4, options={"threads": "2"}),
        ),
    )


@pytest.mark.parametrize(
    "text",
    [
        "model_config_list: {config: [{name: a}]}",
        "modelConfigList: {config: [{name: a}]}",
        "models: [{name: a}]",
        "schema: 1\nmodels: [{name: a}]",
    ],
)
def test_models_stands_for_the_list_of_the_message(text: str) -> None:
    (model,) = model_server_config(text.encode(), "m.yaml").model_config_list.config
    assert model.name == "a"


@pytest.mark.parametrize("text", ["# later", "schema: 1", "models:", "---", "{}"])
def test_a_document_without_models_asks_for_nothing(text: str) -> None:
    assert model_server_config(text.encode(), "m.yaml").WhichOneof("config") is None


def test_an_empty_list_asks_for_no_models() -> None:
    message = model_server_config(b"models: []", "m.yaml")
    assert message.WhichOneof("config") == "model_config_list"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("schema: 2\nmodels: []", "1:9: schema must be 1"),
        ("schema: true", "1:9: schema must be 1"),
        ("schema:\n  [1]", "2:3: schema must be 1"),
        ("models: []\nmodel_config_list: {}", "2:1: models stands for all that there is"),
        ("models: {name: a}", "1:9: models must be a list"),
        ("models: [a]", "1:10: a mapping is missing, of the fields of ModelConfig"),
        ("[]", "1:1: a mapping is missing, of the fields of ModelServerConfig"),
        ("mdels: []", '1:1: ModelServerConfig has no field "mdels"'),
        ("models: [{name: a, nme: b}]", '1:20: ModelConfig has no field "nme"'),
        ("models: [{name: &x a}]", "1:17: anchors and aliases are not taken here"),
        ("models: !!python/object:os.system []", "1:9: tags are not taken here"),
        ("models: [{name: a, name: b}]", '1:20: the key "name" is there twice'),
        ("models: [{name: 'a\0'}]", "1:19: a character '\\x00' is not allowed"),
        ("models: " + "[" * 100_000, "1:40: more than 32 levels of nesting"),
    ],
)
def test_a_document_that_is_wrong_is_named_and_the_place_is_logged(
    text: str, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(text.encode(), "/etc/m.yaml")
    assert caught.value.message == "Invalid protobuf file: '/etc/m.yaml'"
    assert (caught.value.hint or "").startswith(place)
    assert caplog.messages[0].startswith(f"Error parsing YAML {MESSAGE}: {place}")


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    for name in ("m.yaml", "m.json", "m.conf"):
        (tmp_path / name).write_bytes(b'{"models": "\xff"}')
        with pytest.raises(InvalidArgument, match="Invalid protobuf file"):
            read_model_config_file(str(tmp_path / name))


def test_a_file_of_a_gigabyte_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(OutOfRange, match="File too large"):
        read_model_config_file(str(path))


def test_a_pipe_may_bring_a_document_at_start_up(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    os.mkfifo(path)
    with subprocess.Popen(
        [sys.executable, "-c", f"open({str(path)!r}, 'w').write('models: []')"]
    ) as writer:
        assert read_model_config_file(str(path)) == ()
    assert writer.returncode == 0


def test_a_device_is_no_file() -> None:
    with pytest.raises(NotRegular):
        read_model_config_file("/dev/zero")


def test_the_library_for_yaml_is_imported_only_for_such_a_file(tmp_path: Path) -> None:
    (tmp_path / "m.conf").write_text(_TEXT)
    (tmp_path / "m.json").write_text(_JSON)
    code = (
        "import sys; from salver.config.models import parse_model_config as p;"
        "from salver.config.text_format import read_file_once;"
        "r = lambda path: p(read_file_once(path), path);"
        f"r({str(tmp_path / 'm.conf')!r});"
        "assert 'google.protobuf.json_format' not in sys.modules;"
        f"r({str(tmp_path / 'm.json')!r});"
        "assert 'yaml' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("ending", [".yaml", ".json"])
@pytest.mark.parametrize("text", [_TEXT, "", "model_config_list {}", "custom_model_config {}"])
def test_what_is_written_is_read_as_the_same(ending: str, text: str) -> None:
    message = message_of_text(text.encode(), MESSAGE)
    written = write_models(message, ending)
    assert model_server_config(written.encode(), f"m{ending}") == message


def test_a_model_is_written_as_a_person_would_write_it() -> None:
    message = message_of_text(_TEXT.encode(), MESSAGE)
    assert write_models(message, ".yaml") == (
        "schema: 1\nmodels:\n- name: fraud\n  base_path: fraud\n  model_platform: tensorflow\n"
        "  model_version_policy:\n    latest:\n      num_versions: 2\n  salver:\n"
        "    max_concurrent_runs: 4\n    options:\n      threads: '2'\n"
    )


def test_ten_thousand_models_are_read_in_little_time(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(
        "models:\n" + "".join(f"- {{name: m{i}, base_path: /m/{i}}}\n" for i in range(10_000))
    )
    rests = list[int]()
    message = model_server_config(path.read_bytes(), str(path), lambda: rests.append(1))
    assert len(message.model_config_list.config) == 10_000
    assert len(rests) >= 40_000  # so that requests are answered meanwhile


def test_whatever_is_in_a_file_the_error_is_one_of_ours(tmp_path: Path) -> None:
    for content in (b"", b"\0", b"\xff\xfe", b"%", b"@", b"{", b"&a [*a]", b"? ? ?", b"- - -"):
        for name in ("m.yaml", "m.json"):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(ServingError):
                read_model_config_file(str(tmp_path / name))


def test_a_model_that_names_no_platform_is_of_the_one_that_looks_at_its_files() -> None:
    read = model_server_config(b"models: [{name: a}, {name: b, model_platform: own}]", "m.yaml")
    assert [each.model_platform for each in read.model_config_list.config] == ["tensorflow", "own"]
    old = model_server_config(b'{"models": [{"name": "a", "modelType": "TENSORFLOW"}]}', "m.json")
    assert [each.model_platform for each in old.model_config_list.config] == [""]
    text = model_server_config(b'model_config_list { config { name: "a" } }', "m.config")
    assert [each.model_platform for each in text.model_config_list.config] == [""]
