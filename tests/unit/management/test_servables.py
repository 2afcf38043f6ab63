from dataclasses import replace
from pathlib import Path

from salver.config.models import ModelConfig
from salver.management.servables import monitored, servables_of
from salver.sources.file_system import find_versions
from salver.sources.protocol import MonitoredServable
from salver.vocabulary.servable import All, Latest, Specific, VersionPolicy


def model(name: str, base_path: str, policy: VersionPolicy) -> ModelConfig:
    return ModelConfig(
        name=name, base_path=base_path, model_platform="tensorflow", version_policy=policy
    )


def test_each_policy_is_that_of_the_source() -> None:
    for policy in (Latest(2), All(), Specific((1, 3))):
        assert monitored(model("m", "/m", policy)) == MonitoredServable("m", "/m", policy)


def test_a_file_beside_the_versions_names_them_where_the_configuration_does_not(
    tmp_path: Path,
) -> None:
    for version in (1, 2, 3):
        (tmp_path / str(version)).mkdir()
    silent = model("m", str(tmp_path), Latest())
    assert set(find_versions(monitored(silent))) == {3}
    file = tmp_path / "config.pbtxt"
    file.write_text("version_policy { all {} }")
    assert set(find_versions(monitored(silent))) == {1, 2, 3}
    file.write_text("version_policy: { specific: { versions: [1, 2] } }")
    assert set(find_versions(monitored(silent))) == {1, 2}
    file.write_text("version_policy { latest { num_versions: 2 } }")
    assert set(find_versions(monitored(silent))) == {2, 3}
    assert set(find_versions(monitored(replace(silent, names_versions=True)))) == {3}
    assert set(find_versions(monitored(model("m", str(tmp_path), Specific((1,)))))) == {1}
    file.write_text("version_policy {{{")
    assert set(find_versions(monitored(silent))) == {3}


def test_a_configuration_that_names_what_was_usual_is_another_for_the_source() -> None:
    silent = model("m", "/m", Latest())
    assert monitored(silent) != monitored(replace(silent, names_versions=True))


def test_models_are_known_by_their_names_in_their_order() -> None:
    listed = [model("b", "/b", All()), model("a", "s3://x/a", All())]
    assert list(servables_of(listed)) == ["b", "a"]
