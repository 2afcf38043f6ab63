import os
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tests.model_config_files import read_model_config_file

from salver._pb import POOL, message_class
from salver.config import models
from salver.config.models import ModelConfig
from salver.errors import InvalidArgument, NotFound, Unimplemented
from salver.vocabulary.servable import All, Latest, Specific, VersionPolicy

_A = ModelConfig(name="a", base_path="/models/a", model_platform="tensorflow")


def _message(text: str) -> Any:
    message = message_class("tensorflow.serving.ModelServerConfig")()
    return text_format.Parse(text, message, descriptor_pool=POOL)


def _one(text: str) -> ModelConfig:
    found = models.from_message(_message(f"model_config_list {{ config {{ {text} }} }}"))
    assert found is not None
    (model,) = found
    return model


def test_flags_give_one_model_and_log_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert models.from_flags("a", "/models/a") == (_A,)
    assert caplog.messages == [
        "Building single TensorFlow model file config:  model_name: a model_base_path: /models/a"
    ]


def test_a_relative_base_path_of_flags_starts_at_the_current_directory() -> None:
    (model,) = models.from_flags("a", "./models/../a")
    assert model.base_path == str(Path.cwd() / "a")


def test_a_relative_base_path_of_a_file_starts_at_its_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models.conf").write_text(
        "model_config_list {"
        ' config { name: "a" base_path: "a" } config { name: "b" base_path: "/b" }'
        ' config { name: "c" base_path: "gs://bucket/c" } config { name: "d" }'
        "}"
    )
    monkeypatch.chdir(tmp_path)
    found = read_model_config_file("models.conf")
    assert found is not None
    assert [model.base_path for model in found] == [
        os.path.join(os.getcwd(), "a"), "/b", "gs://bucket/c", "",
    ]  # fmt: skip


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="; No such file or directory"):
        read_model_config_file(str(tmp_path / "absent"))


def test_a_file_that_asks_for_nothing_gives_none(tmp_path: Path) -> None:
    (tmp_path / "empty.conf").write_text("# later\n")
    assert read_model_config_file(str(tmp_path / "empty.conf")) is None


def test_no_configuration_is_not_the_same_as_no_models() -> None:
    assert models.from_message(_message("")) is None
    assert models.from_message(_message("model_config_list {}")) == ()


def test_a_custom_configuration_is_refused() -> None:
    with pytest.raises(Unimplemented) as caught:
        models.from_message(_message("custom_model_config {}"))
    assert caught.value.message == "ModelServer does not yet support custom model config."


def test_models_keep_their_order() -> None:
    found = models.from_message(
        _message('model_config_list { config { name: "b" } config { name: "a" } }')
    )
    assert found is not None
    assert [model.name for model in found] == ["b", "a"]


def test_every_field_of_a_model_is_kept() -> None:
    model = _one(
        'name: "a" base_path: "/models/a" model_platform: "tensorflow" '
        'version_labels { key: "stable" value: 1 } version_labels { key: "canary" value: 2 }'
    )
    assert model == ModelConfig(
        name="a",
        base_path="/models/a",
        model_platform="tensorflow",
        version_labels={"canary": 2, "stable": 1},
    )
    assert _one("model_type: TENSORFLOW").model_type == 1


def test_a_logging_configuration_is_kept_as_it_is() -> None:
    assert _one('name: "a"').logging_config is None
    text = 'name: "a" logging_config { sampling_config { sampling_rate: 0.5 } }'
    kept = _one(text).logging_config
    assert kept is not None
    reread = message_class("tensorflow.serving.LoggingConfig").FromString(kept)
    assert reread.sampling_config.sampling_rate == 0.5


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("", Latest(1)),
        ("model_version_policy {}", Latest(1)),
        ("model_version_policy { latest {} }", Latest(1)),
        ("model_version_policy { latest { num_versions: 3 } }", Latest(3)),
        ("model_version_policy { all {} }", All()),
        ("model_version_policy { specific {} }", Specific(())),
        ("model_version_policy { specific { versions: 5 versions: 2 } }", Specific((5, 2))),
        ("model_version_policy { specific { versions: [1, 2] } }", Specific((1, 2))),
    ],
)
def test_a_version_policy_is_read(text: str, policy: VersionPolicy) -> None:
    assert _one(text).version_policy == policy


def test_a_name_listed_twice_is_refused() -> None:
    with pytest.raises(InvalidArgument) as caught:
        models.check_models([_A, _A])
    assert caught.value.message == "Illegal to list model a multiple times in config list"


@pytest.mark.parametrize("base_path", ["", "models/a", "1://x"])
def test_a_base_path_that_is_not_absolute_is_refused(base_path: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        models.check_models([ModelConfig(name="a", base_path=base_path)])
    assert caught.value.message == (
        f"Expected model a to have an absolute path or URI; got base_path()={base_path}"
    )


def test_names_are_checked_before_paths() -> None:
    relative = ModelConfig(name="b", base_path="b")
    with pytest.raises(InvalidArgument, match="Illegal to list model b multiple times"):
        models.check_models([relative, relative])


def test_absolute_paths_and_uris_pass() -> None:
    models.check_models([_A, ModelConfig(name="b", base_path="gs://bucket/b")])


def test_a_platform_is_said_by_either_field() -> None:
    assert models.platform_of(_A) == "tensorflow"
    assert models.platform_of(ModelConfig(name="a", base_path="/a", model_type=1)) == "tensorflow"


def test_the_deprecated_field_gives_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    models.platform_of(ModelConfig(name="a", base_path="/a", model_type=1))
    assert caplog.messages == [
        "Deprecated ModelServerConfig::model_type field used. "
        "Prefer ModelServerConfig::model_platform."
    ]


@pytest.mark.parametrize(
    ("model_type", "platform", "text"),
    [
        (
            0,
            "",
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            "ModelServerConfig::model_platform, model name is a",
        ),
        (
            1,
            "tensorflow",
            "Illegal setting both ModelServerConfig::model_type (deprecated) and "
            "ModelServerConfig::model_platform, model name is a",
        ),
        (2, "", "ModelServerConfig::model_type choice 2 not supported."),
    ],
)
def test_a_platform_said_wrongly_is_refused(model_type: int, platform: str, text: str) -> None:
    model = ModelConfig(name="a", base_path="/a", model_type=model_type, model_platform=platform)
    with pytest.raises(InvalidArgument) as caught:
        models.platform_of(model)
    assert caught.value.message == text


def test_a_platform_nobody_serves_is_refused() -> None:
    model = ModelConfig(name="a", base_path="/a", model_platform="Tensorflow")
    with pytest.raises(InvalidArgument) as caught:
        models.check_platforms_supported([_A, model], {"tensorflow"})
    assert caught.value.message == "Model a requests unsupported platform Tensorflow"
    models.check_platforms_supported([_A], {"tensorflow"})


def test_a_model_cannot_move_to_another_platform() -> None:
    moved = ModelConfig(name="a", base_path="/a", model_platform="other")
    with pytest.raises(InvalidArgument) as caught:
        models.check_platforms_unchanged([_A], [moved])
    assert caught.value.message == (
        "Illegal to change a model's platform. For model a platform was tensorflow and new "
        "platform requested is other"
    )


def test_a_kept_platform_and_a_new_model_pass() -> None:
    new = ModelConfig(name="b", base_path="/b", model_platform="other")
    models.check_platforms_unchanged([_A], [_A, new])
