from salver.config import models
from salver.config.models import ModelConfig
from salver.server.servables import monitored, servables_of, unreachable_models
from salver.sources import versions
from salver.sources.file_system import MonitoredServable


def model(name: str, base_path: str, policy: models.VersionPolicy) -> ModelConfig:
    return ModelConfig(
        name=name, base_path=base_path, model_platform="tensorflow", version_policy=policy
    )


def test_each_policy_is_that_of_the_source() -> None:
    for policy, expected in (
        (models.Latest(2), versions.Latest(2)),
        (models.All(), versions.All()),
        (models.Specific((1, 3)), versions.Specific((1, 3))),
    ):
        assert monitored(model("m", "/m", policy)) == MonitoredServable("m", "/m", expected)


def test_models_that_lie_elsewhere_are_told_by_their_names() -> None:
    listed = [model("b", "/b", models.All()), model("a", "s3://x/a", models.All())]
    assert list(servables_of(listed)) == ["b", "a"]
    (name,) = found = unreachable_models(listed)
    assert name == "a"
    assert found["a"].message == "File system scheme 's3' not implemented (file: 's3://x/a')"
