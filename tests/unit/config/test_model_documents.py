import json

import pytest

from salver._pb import message_class
from salver.config.batching import BatchingParameters
from salver.config.model_documents import (
    config_document,
    message_of,
    model_document,
    read_config,
    read_model,
    read_parameters,
    tag_of,
)
from salver.config.model_options import ModelOptions
from salver.config.models import ModelConfig, from_message
from salver.errors import InvalidArgument
from salver.vocabulary.servable import All, Latest, Specific

_LOGGING = message_class("tensorflow.serving.LoggingConfig")()
_LOGGING.sampling_config.sampling_rate = 0.5


def model(**more: object) -> ModelConfig:
    return ModelConfig(name="m", base_path="/m", model_platform="tensorflow", **more)  # type: ignore[arg-type]


EVERYTHING = [
    model(),
    ModelConfig(name="m", base_path="/m", model_type=1),
    model(version_policy=Latest(3), names_versions=True),
    model(version_policy=Latest(1), names_versions=True),
    model(version_policy=All(), names_versions=True),
    model(version_policy=Specific((1, 5)), names_versions=True),
    model(version_policy=Specific(()), names_versions=True),
    model(version_labels={"canary": 2, "stable": 1}),
    model(logging_config=_LOGGING.SerializeToString(deterministic=True)),
    model(options=ModelOptions(isolation="process", instances=2, cpus=1, on_timeout="kill")),
    model(options=ModelOptions(max_concurrent_runs=0, max_queued_runs=0)),
    model(options=ModelOptions(options={"a": "1"}, python_executable="/p", max_resident_bytes=9)),
    model(options=ModelOptions(batching=BatchingParameters())),
    model(
        options=ModelOptions(
            batching=BatchingParameters(
                max_batch_size=8,
                batch_timeout_micros=0,
                allowed_batch_sizes=(4, 8),
                pad_variable_length_inputs=True,
                enable_large_batch_splitting=True,
                max_execution_batch_size=8,
                max_enqueued_batches=3,
            )
        )
    ),
]


@pytest.mark.parametrize("config", EVERYTHING)
def test_a_model_is_the_same_again_through_its_message_and_through_json(
    config: ModelConfig,
) -> None:
    whole = message_class("tensorflow.serving.ModelServerConfig")()
    whole.model_config_list.config.add().CopyFrom(message_of(config))
    assert from_message(whole) == (config,)
    document = json.dumps(config_document([config])).encode()
    if config.model_platform:  # a document without one is of the usual platform
        assert read_config(document, ".json") == (config,)
        own = json.dumps({"config": model_document(config), "settings": [1]}).encode()
        assert read_model(own, ".json", "m") == config


def test_models_that_differ_have_other_tags_and_equal_ones_the_same() -> None:
    assert len({tag_of(config) for config in EVERYTHING}) == len(EVERYTHING)
    assert tag_of(model()) == tag_of(model())


def test_yaml_is_read_too() -> None:
    read = read_model(b"base_path: /m\nsalver: {max_queued_runs: 4}", ".yaml", "m")
    assert read == model(options=ModelOptions(max_queued_runs=4))
    assert read_parameters(b"max_batch_size: 8", ".yaml") == BatchingParameters(max_batch_size=8)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "1:1: a value is missing"),
        (b"[]", "1:1: a mapping is missing, of the fields of ModelConfig"),
        (b'{"name": "n", "base_path": "/m"}', "The model is called n here, and m in the request"),
        (b'{\n "bas_path": "/m"}', '2:2: ModelConfig has no field "bas_path"'),
        (b"\xff", "1:1: the text is not UTF-8"),
    ],
)
def test_what_is_no_model_is_refused_with_its_place(content: bytes, text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        read_model(content, ".json", "m")
    assert caught.value.message.startswith(text)


def test_a_configuration_without_a_list_is_refused_and_an_empty_list_is_not() -> None:
    with pytest.raises(InvalidArgument, match="no list of models"):
        read_config(b"{}", ".json")
    assert read_config(b'{"model_config_list": {}}', ".json") == ()
    with pytest.raises(InvalidArgument, match="the document is empty"):
        read_config(b"# nothing", ".yaml")
