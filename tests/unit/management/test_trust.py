import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest

from salver.backends.options import option
from salver.backends.protocol import Backend, Capabilities, Listing, LoadStage, Match
from salver.backends.selection import Selected
from salver.config.models import ModelConfig
from salver.config.options import ServerOptions
from salver.errors import FailedPrecondition, NotFound, PermissionDenied
from salver.management.base_paths import BasePaths
from salver.management.trust import Trust
from salver.vocabulary.model import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    strength: int = option(1, "How much.")


class Spells(Backend):
    """A backend whose models are code."""

    name: ClassVar[str] = "spells"
    title: ClassVar[str] = "Spell"
    options: ClassVar = Options
    capabilities: ClassVar[Capabilities] = Capabilities(needs_process=True)

    def detect(self, listing: Listing, options: Options) -> Match | None:
        raise NotImplementedError

    def load(self, directory: Path, options: Options, stage: LoadStage) -> Model:
        raise NotImplementedError


CODE = Match(files=["spell.py"], runs_code="a spell")
PICKLE = Match(files=["spell.py"], runs_code="a pickle", needs_pickle=True)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A directory whose real path is its path."""
    made = Path(os.path.realpath(tmp_path)) / "models"
    version(made / "m" / "1")
    return made


def version(directory: Path) -> Path:
    directory.mkdir(parents=True)
    (directory / "spell.py").touch()
    return directory


def selected(directory: Path, match: Match | None = CODE) -> Selected:
    return Selected(Spells(), Options(), directory, match)


def trust_in(*paths: object, **flags: object) -> Trust:
    joined = ",".join(map(str, paths))
    return Trust.of(replace(ServerOptions(), trusted_model_paths=joined, **flags))  # type: ignore[arg-type]


def is_loaded(trust: Trust, directory: Path, origin: str = "") -> bool:
    try:
        trust.checked(selected(directory), origin)
    except FailedPrecondition:
        return False
    return True


def test_nothing_is_trusted_by_default(models: Path) -> None:
    with pytest.raises(FailedPrecondition) as caught:
        trust_in().checked(selected(models / "m" / "1"), "")
    assert caught.value.message == (
        f"{models}/m/1/spell.py is a spell, which would run as the server's user, and {models}/m "
        "is not trusted (--trusted_model_paths)"
    )
    assert caught.value.hint == (
        f"If it is: start the server with --trusted_model_paths={models}/m"
    )
    assert caught.value.is_final


def test_following_the_advice_is_enough(models: Path) -> None:
    with pytest.raises(FailedPrecondition) as caught:
        trust_in().checked(selected(models / "m" / "1"), "")
    assert caught.value.hint is not None
    path = caught.value.hint.rpartition("=")[2]
    assert is_loaded(trust_in(path), models / "m" / "1")


def test_what_is_no_code_is_loaded_from_anywhere(models: Path) -> None:
    data = selected(models / "m" / "1", Match(files=["spell.py"]))
    assert trust_in().checked(data, "") is data


@pytest.mark.parametrize("suffix", ["", "/", "/m", "/m/1", "/m/../m", "/m/1/spell.py/../.."])
def test_a_prefix_trusts_what_is_below_it_however_it_is_written(models: Path, suffix: str) -> None:
    assert is_loaded(trust_in(f"{models}{suffix}"), models / "m" / "1")


def test_a_prefix_is_whole_components(models: Path) -> None:
    other = version(models.parent / "models2" / "m" / "1")
    assert not is_loaded(trust_in(models), other)
    assert is_loaded(trust_in(models, models.parent / "models2"), other)


def test_dots_lead_nowhere(models: Path) -> None:
    version(models.parent / "other" / "1")
    assert not is_loaded(trust_in(models), models / "m" / ".." / ".." / "other" / "1")


def test_a_trusted_path_may_be_a_link(models: Path) -> None:
    (models.parent / "current").symlink_to(models)
    assert is_loaded(trust_in(models.parent / "current"), models / "m" / "1")
    assert is_loaded(trust_in(models), models.parent / "current" / "m" / "1")


def test_a_version_that_is_a_link_out_of_a_trusted_directory_is_not_trusted(models: Path) -> None:
    outside = version(models.parent / "outside" / "7")
    (models / "m" / "2").symlink_to(outside)
    assert not is_loaded(trust_in(models), models / "m" / "2")
    assert is_loaded(trust_in(models, outside), models / "m" / "2")


def test_a_file_that_is_a_link_out_of_a_trusted_directory_is_not_trusted(models: Path) -> None:
    outside = models.parent / "outside.py"
    outside.touch()
    (models / "m" / "2").mkdir()
    (models / "m" / "2" / "spell.py").symlink_to(outside)
    with pytest.raises(FailedPrecondition, match=f"{outside} is not trusted"):
        trust_in(models).checked(selected(models / "m" / "2"), "")
    assert is_loaded(trust_in(models, outside), models / "m" / "2")


def test_an_untrusted_directory_with_a_link_to_trusted_code_is_not_trusted(models: Path) -> None:
    """Beside the link may stand what the code imports."""
    lure = models.parent / "lure" / "1"
    lure.mkdir(parents=True)
    (lure / "spell.py").symlink_to(models / "m" / "1" / "spell.py")
    assert not is_loaded(trust_in(models), lure)


def test_what_was_checked_is_what_is_loaded(models: Path) -> None:
    link = models.parent / "link"
    link.symlink_to(models / "m" / "1")
    checked = trust_in(models).checked(selected(link), "")
    link.unlink()
    link.symlink_to(version(models.parent / "evil" / "1"))
    assert checked.path == models / "m" / "1"


def test_the_arguments_of_the_command_line_are_trusted(models: Path) -> None:
    typed = trust_in(typed_paths=(f"{models}/m,odd",))
    assert not is_loaded(typed, models / "m" / "1")
    assert is_loaded(typed, version(models / "m,odd" / "1"))


def test_links_that_lead_to_themselves_are_not_trusted(models: Path) -> None:
    (models / "loop").symlink_to(models / "loop")
    assert not trust_in(models / "m").trusts(models / "loop" / "x")


def test_a_backend_of_code_that_was_named_loads_nothing_where_nothing_is(models: Path) -> None:
    """It could appear before the backend looks again."""
    with pytest.raises(NotFound, match="no Spell at"):
        trust_in(models).checked(selected(models / "m" / "1", None), "")


def test_pickles_need_a_flag_of_their_own(models: Path) -> None:
    directory = models / "m" / "1"
    with pytest.raises(FailedPrecondition, match="is not trusted") as both:
        trust_in().checked(selected(directory, PICKLE), "")
    assert (both.value.hint or "").endswith(f"={models}/m and --allow_pickle")
    with pytest.raises(FailedPrecondition, match="pickles are not allowed") as caught:
        trust_in(models).checked(selected(directory, PICKLE), "")
    assert "--allow_pickle" in (caught.value.hint or "")
    with pytest.raises(FailedPrecondition, match="is not trusted"):
        trust_in(allow_pickle=True).checked(selected(directory, PICKLE), "")
    trust_in(models, allow_pickle=True).checked(selected(directory, PICKLE), "")


# -- versions that were fetched --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "is_trusted"),
    [
        ("s3://bucket/models/m/1", True),
        ("S3://bucket/models/m/1", True),
        ("s3://bucket/models", True),
        ("s3://bucket/models2/m/1", False),
        ("s3://bucket/modelsm/1", False),
        ("s3://bucket2/models/m/1", False),
        ("gs://bucket/models/m/1", False),
        ("s3://bucket/models/../evil/1", False),
        ("s3://bucket/models/%2e%2e/evil/1", False),
        ("s3://bucket/models/%2e%2e%2fevil/1", False),
        ("s3://bucket/models/%252e%252e/evil/1", False),
        ("s3://bucket/models/..%5cevil/1", False),
        ("s3://bucket/models/..\\evil/1", False),
        ("s3://bucket/models/m?/1", False),
        ("s3://bucket//models/m/1", True),
        ("s3:///bucket/models/m/1", False),
        ("s3://bucket@evil/models/m/1", False),
        ("s3://evil/s3://bucket/models/m/1", False),
        ("s3://", False),
    ],
)
def test_a_fetched_version_is_trusted_by_its_uri(models: Path, uri: str, is_trusted: bool) -> None:
    copy = version(models.parent / "cache" / "abc" / "1")
    trust = trust_in("s3://bucket/models/", models, conversion_cache=f"{models.parent}/cache")
    assert is_loaded(trust, copy, uri) is is_trusted


@pytest.mark.parametrize(
    ("trusted", "uri", "is_trusted"),
    [
        ("https://host/ours", "HTTPS://Host:443/ours/3.tar.gz", True),
        ("https://host/ours", "https://host/%6furs/3.tar.gz", True),
        ("https://host/ours", "https://host/ours/%2e%2e%2fevil/3.tar.gz", False),
        ("https://host/ours", "https://host/ours%2f..%2fevil/3.tar.gz", False),
        ("https://host/ours", "https://host:80/ours/3.tar.gz", False),
        ("https://host/ours", "http://host/ours/3.tar.gz", False),
        ("abfs://c@account/m", "abfss://c@account/m/1", True),
        ("hf://team", "HF://team/repo@main", True),
        ("hf://team/repo", "hf://team/repo@main", True),
        ("hf://team/repo", "hf://team/repo@x%2f..%2fy", False),
        ("hf://team/repo@main", "hf://team/repo@other", False),
        ("hf://team/repo", "hf://team/repository@main", False),
    ],
)
def test_a_uri_is_trusted_as_it_is_allowed_however_it_is_spelled(
    trusted: str, uri: str, is_trusted: bool
) -> None:
    assert trust_in(trusted).trusts_uri(uri) is is_trusted
    if not is_trusted and "@" not in trusted + uri:  # of a hub, any revision may be named
        with pytest.raises(PermissionDenied):
            BasePaths([trusted]).check([ModelConfig(name="m", base_path=uri)])


def test_a_fetched_version_is_not_trusted_by_where_its_copy_is(models: Path) -> None:
    cache = models.parent / "cache"
    copy = version(cache / "abc" / "1")
    trust = trust_in(models.parent, conversion_cache=str(cache))
    assert not is_loaded(trust, copy, "s3://evil/m/1")
    assert not is_loaded(trust, copy), "named as a base path of this machine"
    assert is_loaded(trust, models / "m" / "1")


@pytest.mark.parametrize(
    ("origin", "base_path"),
    [
        ("s3://bucket/m/1", "s3://bucket/m"),
        ("https://models.example.com/m/1.tar.gz", "https://models.example.com/m"),
        ("https://models.example.com/m.tar.gz", "https://models.example.com/m.tar.gz"),
        ("hf://team/repository", "hf://team/repository"),
    ],
)
def test_the_advice_for_a_fetched_version_names_its_base_path(
    origin: str, base_path: str, models: Path
) -> None:
    with pytest.raises(FailedPrecondition) as caught:
        trust_in().checked(selected(models / "m" / "1"), origin)
    advice = f"If it is: start the server with --trusted_model_paths={base_path}"
    assert caught.value.hint == advice
    assert is_loaded(trust_in(base_path), models / "m" / "1", origin)


def test_the_advice_for_a_model_without_versions_names_it_and_not_its_neighbours(
    models: Path,
) -> None:
    alone = version(models / "alone")
    with pytest.raises(FailedPrecondition, match=f"{alone} is not trusted"):
        trust_in().checked(selected(alone), "")
    assert is_loaded(trust_in(alone), alone)


def test_code_that_a_load_comes_upon_is_judged_alike(models: Path) -> None:
    directory = models / "m" / "1"
    trust = trust_in(models, "s3://good")
    assert trust.trusts_in(directory, "", directory / "ops.so")
    assert not trust.trusts_in(directory, "", models.parent / "ops.so")
    assert not trust.trusts_in(directory, "s3://evil/1", directory / "ops.so")
    assert trust.trusts_in(directory, "s3://good/1", directory / "ops.so")
    assert not trust.trusts_in(directory, "s3://good/1", models.parent / "ops.so")
