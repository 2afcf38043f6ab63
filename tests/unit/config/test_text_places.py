from salver._pb import message_class
from salver.config.structured import Places
from salver.config.text_format import message_of_text
from salver.config.text_places import text_places

_MESSAGE = "tensorflow.serving.ModelServerConfig"


def _places(text: str) -> Places:
    message_of_text(text.encode(), _MESSAGE)
    return text_places(text, message_class(_MESSAGE).DESCRIPTOR)


def test_a_scalar_is_where_its_value_is_and_a_message_where_its_name_is() -> None:
    places = _places("# one\nmodel_config_list: {\n  config <\n    name: \"a\" 'b'\n  >\n}\n")
    assert places == {
        (): (1, 1),
        ("model_config_list",): (2, 1),
        ("model_config_list", "config"): (3, 3),
        ("model_config_list", "config", 0): (3, 3),
        ("model_config_list", "config", 0, "name"): (4, 11),
    }


def test_what_is_repeated_is_counted_however_it_is_written() -> None:
    places = _places(
        "model_config_list {\n"
        "config: [{name: 'a'}, {name: 'b'}]\n"
        "config {model_version_policy {specific {versions: 4, versions: [5, -6]; versions: 7}}}\n"
        "}"
    )
    config = ("model_config_list", "config")
    assert places[(*config, 1, "name")] == (2, 30)
    versions = (*config, 2, "model_version_policy", "specific", "versions")
    assert [places[(*versions, index)] for index in range(4)] == [
        (3, 51), (3, 65), (3, 68), (3, 83),
    ]  # fmt: skip


def test_an_entry_of_a_map_is_found_by_its_key() -> None:
    places = _places(
        "model_config_list { config {\n"
        "version_labels { key: 'a\\'b' value: 1 }\n"
        'version_labels: [{ key: "c", value: 2 }, { value: 3 }]\n'
        "} }"
    )
    labels = ("model_config_list", "config", 0, "version_labels")
    assert places[(*labels, "a'b")] == (2, 1)
    assert places[(*labels, "c", "value")] == (3, 37)


def test_what_is_within_an_any_is_gone_through() -> None:
    places = _places(
        "model_config_list { config { logging_config { custom_logging_config {\n"
        "[type.googleapis.com/tensorflow.serving.LogCollectorConfig] { type: 'x' } } }\n"
        "name: 'm' } }"
    )
    assert places[("model_config_list", "config", 0, "name")] == (3, 7)
