import json
from typing import Any

import pytest

from salver._pb import message_class
from salver.config import structured
from salver.config.structured import Places, fill, plain, read_document, write
from salver.config.text_format import Misplaced


def _filled(text: str, name: str, places: Places | None = None, ending: str = ".yaml") -> Any:
    message = message_class(name)()
    node = read_document(text.encode(), ending)
    assert node is not None
    fill(message, node, places)
    return message


def _wrong(text: str, name: str = "tensorflow.serving.ModelConfig") -> tuple[int, int, str]:
    with pytest.raises(Misplaced) as caught:
        _filled(text, name)
    return caught.value.line, caught.value.column, str(caught.value)


_EVERYTHING = """
name: m
base_path: /models/m
model_type: OTHER
model_platform: tensorflow
logging_config:
  log_collector_config: {type: json, filename_prefix: /logs/m}
  sampling_config:
    sampling_rate: 0.25
    attributes: 3
    per_task_sampling_configs: [{dc: a, task_index: 0, sampling_rate: 1}]
  custom_logging_config:
    "@type": type.googleapis.com/tensorflow.serving.LogCollectorConfig
    type: x
model_version_policy: {specific: {versions: [1, 9007199254740993]}}
version_labels: {stable: 1, canary: "9223372036854775807"}
salver:
  isolation: none
  instances: 1
  max_resident_bytes: 0
  cpus: 0
  max_concurrent_runs: 0
  max_queued_runs: 7
  python_executable: ""
  on_timeout: ""
  options: {a: 2, b: on, c: 1.10, d: true, e: "x"}
  replicas: {min: 1, max: 1, pinned: false}
"""


def test_every_kind_of_field_is_read() -> None:
    model = _filled(_EVERYTHING, "tensorflow.serving.ModelConfig")
    assert (model.name, model.model_type) == ("m", 2)
    sampling = model.logging_config.sampling_config
    assert (sampling.sampling_rate, sampling.attributes) == (0.25, 3)
    (task,) = sampling.per_task_sampling_configs
    assert (task.dc, task.HasField("task_index"), task.sampling_rate) == ("a", True, 1.0)
    assert model.logging_config.custom_logging_config.value == b"\n\x01x"
    assert list(model.model_version_policy.specific.versions) == [1, 9007199254740993]
    assert dict(model.version_labels) == {"stable": 1, "canary": 9223372036854775807}
    options = model.salver
    assert options.HasField("max_concurrent_runs")
    assert (options.max_concurrent_runs, options.max_queued_runs) == (0, 7)
    assert dict(options.options) == {"a": "2", "b": "on", "c": "1.10", "d": "true", "e": "x"}


@pytest.mark.parametrize("ending", [".yaml", ".json"])
def test_what_is_written_is_read_as_the_same(ending: str) -> None:
    model = _filled(_EVERYTHING, "tensorflow.serving.ModelConfig")
    model.name = "ümlaut: {no}"
    text = write(plain(model), ending)
    assert _filled(text, "tensorflow.serving.ModelConfig", ending=ending) == model


def test_names_may_be_those_of_json() -> None:
    text = json.dumps({"basePath": "/m", "modelVersionPolicy": {"latest": {"numVersions": 2}}})
    model = _filled(text, "tensorflow.serving.ModelConfig", ending=".json")
    assert (model.base_path, model.model_version_policy.latest.num_versions) == ("/m", 2)


def test_null_is_as_if_it_were_not_there() -> None:
    model = _filled("{name: null, version_labels: ~, salver: }", "tensorflow.serving.ModelConfig")
    assert model == message_class("tensorflow.serving.ModelConfig")()


def test_an_empty_mapping_is_not_nothing() -> None:
    policy = _filled("all: {}", _POLICY)
    assert policy.WhichOneof("policy_choice") == "all"
    assert plain(policy) == {"all": {}}


_POLICY = "tensorflow.serving.FileSystemStoragePathSourceConfig.ServableVersionPolicy"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("nme: m", (1, 1, 'ModelConfig has no field "nme": did you mean name?')),
        ("name: m\nfoo: 1", (2, 1, 'ModelConfig has no field "foo"')),
        ("salver:\n  replicas: {mn: 1}", (2, 14, 'Replicas has no field "mn": did you mean min?')),
        ("basePath: a\nbase_path: b", (2, 1, "base_path is there twice")),
        ("name: 1.10", (1, 7, 'name must be text: write "1.10"')),
        ("name: true", (1, 7, 'name must be text: write "true"')),
        ("name: [a]", (1, 7, "name must be text")),
        ("version_labels: [1]", (1, 17, "version_labels must be a mapping")),
        ("version_labels: {a: x}", (1, 21, "version_labels must be a whole number")),
        ("version_labels: {a: 1.5}", (1, 21, "version_labels must be a whole number")),
        ("version_labels: {a: true}", (1, 21, "version_labels must be a whole number")),
        ("version_labels: {a: null}", (1, 21, "version_labels must be a whole number")),
        (
            "version_labels: {a: 9223372036854775808}",
            (1, 21, "version_labels must be from -9223372036854775808 to 9223372036854775807"),
        ),
        ("salver: {options: {a: [1]}}", (1, 23, "options must be text")),
        ("salver: {options: {a: null}}", (1, 23, "options must be text")),
        ("salver: {replicas: {pinned: yes}}", (1, 29, "pinned must be true or false")),
        ("salver: 3", (1, 9, "a mapping is missing, of the fields of ModelOptions")),
        (
            "model_version_policy: {specific: {versions: 1}}",
            (1, 45, "versions must be a list"),
        ),
        (
            "model_version_policy:\n  latest: {}\n  all: {}",
            (3, 3, "all and latest exclude each other"),
        ),
        (
            "model_version_policy: {latest: {num_versions: -1}}",
            (1, 47, "num_versions must be from 0 to 4294967295"),
        ),
        ("- name: m", (1, 1, "a mapping is missing, of the fields of ModelConfig")),
    ],
)
def test_what_the_message_does_not_take_is_refused_where_it_is(
    text: str, place: tuple[int, int, str]
) -> None:
    assert _wrong(text) == place


@pytest.mark.parametrize(
    "text",
    [
        "model_type: KERAS",
        "logging_config: {sampling_config: {sampling_rate: much}}",
        'logging_config: {custom_logging_config: {"@type": x/no.such.Type}}',
        "logging_config: {custom_logging_config: 3}",
    ],
)
def test_what_the_library_refuses_is_refused_where_it_is(text: str) -> None:
    line, column, reason = _wrong(text)
    assert (line, column) == (1, text.rindex(": " if "@" not in text else ": {") + 3)
    assert reason


def test_half_of_a_character_is_refused() -> None:
    with pytest.raises(Misplaced, match="half of a surrogate pair"):
        _filled('{"name": "\\ud800"}', "tensorflow.serving.ModelConfig", ending=".json")


def test_places_are_by_the_names_of_the_message() -> None:
    places: Places = {}
    _filled(
        "config:\n- name: a\n  versionLabels: {b: 1}", "tensorflow.serving.ModelConfigList", places
    )
    assert places == {
        (): (1, 1),
        ("config",): (2, 1),
        ("config", 0): (2, 3),
        ("config", 0, "name"): (2, 9),
        ("config", 0, "version_labels"): (3, 18),
        ("config", 0, "version_labels", "b"): (3, 22),
    }


def test_a_file_that_is_not_utf_8_is_refused_where_it_is_not() -> None:
    with pytest.raises(Misplaced, match="the text is not UTF-8") as caught:
        read_document("a: é\nb: ".encode() + b"\xff", ".yaml")
    assert (caught.value.line, caught.value.column) == (2, 4)


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    node = read_document("\ufeffa: 1".encode(), ".yaml")
    assert node is not None
    assert isinstance(node.value, dict)
    assert list(node.value) == ["a"]


def test_a_file_larger_than_any_configuration_is_refused_unread() -> None:
    assert structured._MOST_BYTES == 1 << 24
    with pytest.raises(Misplaced, match="larger than 16777216 bytes"):
        read_document(b"#" * ((1 << 24) + 1), ".yaml")
