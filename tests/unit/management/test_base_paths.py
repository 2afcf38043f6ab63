from dataclasses import replace
from pathlib import Path

import pytest

from salver.config.models import ModelConfig
from salver.config.options import ServerOptions
from salver.config.remote import RemoteStore, store_for
from salver.errors import PermissionDenied
from salver.management.base_paths import BasePaths


def model(base_path: str) -> ModelConfig:
    return ModelConfig(name="m", base_path=base_path, model_platform="tensorflow")


def is_allowed(paths: BasePaths, base_path: str) -> bool:
    try:
        paths.check([model(base_path)])
    except PermissionDenied:
        return False
    return True


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("models/m", "models-evil", "secret"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def test_a_place_and_all_below_it_may_be_named_and_nothing_beside(root: Path) -> None:
    paths = BasePaths([f"{root}/models/"])
    for allowed in ("models", "models/m", "models/new/m", "models/", "models/../models/m"):
        assert is_allowed(paths, f"{root}/{allowed}")
        assert is_allowed(paths, f"file://{root}/{allowed}")
        assert is_allowed(paths, f"FILE://{root}/{allowed}")
    for other in (
        "models-evil",
        "secret",
        "",
        "models/../secret",
        "models/m/../../secret",
        "Models",
    ):
        assert not is_allowed(paths, f"{root}/{other}")
        assert not is_allowed(paths, f"file://{root}/{other}")
        assert not is_allowed(paths, f"File://{root}/{other}")


def test_a_link_counts_as_where_it_leads(root: Path) -> None:
    (root / "models" / "link").symlink_to(root / "secret")
    (root / "into").symlink_to(root / "models")
    paths = BasePaths([str(root / "models")])
    assert not is_allowed(paths, f"{root}/models/link")
    assert not is_allowed(paths, f"{root}/models/link/deeper")
    assert is_allowed(paths, f"{root}/into/m")
    assert is_allowed(BasePaths([str(root / "into")]), f"{root}/models/m")


@pytest.mark.parametrize(
    "other",
    ["s3://bucket", "s3://bucket/models-evil", "s3://bucket/models/../secret", "gs://bucket/models",
     "s3://bucket/models/%2e%2e/secret", "s3://bucket/models/%252e%252e/secret",
     "s3://bucket/models/..%2fsecret", "s3://bucket/models/x\\..\\..\\y", "s3://Bucket/models",
     "s3://bucket@evil/models", "s3://bucket/models/x?y", "s3://bucket/models/x#y", "s3://",
     "s3://bucket/models/x\ny", "/bucket/models", "s3:///bucket/models"],
)  # fmt: skip
def test_of_a_store_the_named_prefix_alone_may_be_named(other: str) -> None:
    paths = BasePaths(["s3://bucket/models/"])
    for allowed in ("s3://bucket/models", "S3://bucket/models/m", "s3://bucket/models/a b/"):
        assert is_allowed(paths, allowed) == (" " not in allowed)
    assert not is_allowed(paths, other)


@pytest.mark.parametrize(
    "uri",
    ["s3://models/x", "S3://models/x", "s3://models//x", "S3://models", "GS://data/x", "gcs://data/x",
     "HTTPS://Host:443/a/1.tgz", "https://host./a/1.tgz", "https://host/%61/1.tgz", "HF://team/repo",
     "ABFSS://c@account/x"],
)  # fmt: skip
def test_what_may_be_named_is_reached_as_is_said_of_what_it_is_below(uri: str) -> None:
    prefixes = ("s3://models", "gs://data", "https://host/a", "hf://team", "abfs://c@account")
    stores = [RemoteStore(prefix=prefix) for prefix in prefixes]
    assert is_allowed(BasePaths(prefixes), uri)
    assert store_for(stores, uri) in stores


def test_what_flags_arguments_and_the_present_file_name_may_be_named(root: Path) -> None:
    options = replace(
        ServerOptions(),
        allowed_base_paths=f" {root}/models , s3://a",
        trusted_model_paths="s3://trusted",
        typed_paths=(f"{root}/secret",),
    )
    paths = BasePaths.of(options)
    for allowed in (f"{root}/models", "s3://a/m", "s3://trusted/m", f"{root}/secret/m"):
        assert is_allowed(paths, allowed)
    paths.name([model("s3://b/m"), model("/of/flags")])
    assert is_allowed(paths, "s3://b/m/deeper")
    assert is_allowed(paths, "/of/flags")
    assert not is_allowed(paths, "s3://b")
    paths.name([model("s3://c/m")])
    assert not is_allowed(paths, "s3://b/m")


def test_the_default_is_any_path_of_this_machine_and_no_store_and_a_star_is_anything() -> None:
    paths = BasePaths.of(ServerOptions())
    assert is_allowed(paths, "/anywhere")
    assert not is_allowed(paths, "s3://anywhere")
    assert is_allowed(BasePaths(["*"]), "s3://anywhere")
    assert is_allowed(BasePaths(), "s3://anywhere")


def test_the_refusal_names_the_model_the_place_and_the_flag() -> None:
    with pytest.raises(PermissionDenied, match=r"model m served from s3://x, .*allowed_base_paths"):
        BasePaths(["/"]).check([model("s3://x")])


def test_the_refusal_names_no_password() -> None:
    with pytest.raises(PermissionDenied) as caught:
        BasePaths().of(ServerOptions()).check([model("s3://ann:secret@bucket/m")])
    assert "secret" not in str(caught.value)
    assert "s3://bucket/m" in str(caught.value)
