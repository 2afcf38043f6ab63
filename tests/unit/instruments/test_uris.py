import pytest

from salver.instruments.uris import canonical_uri


@pytest.mark.parametrize(
    ("uri", "same"),
    [
        ("S3://models/x", "s3://models/x"),
        ("s3://models//x///3/", "s3://models/x/3"),
        ("abfss://models@account/x", "abfs://models@account/x"),
        ("GCS://models/x", "gs://models/x"),
        ("HTTPS://Host:443/x", "https://host/x"),
        ("http://host:80/x", "http://host./x"),
        ("https://host:/x", "https://host/x"),
        ("https://[::1]:443/x", "https://[::1]/x"),
        ("https://host/%6F%7e/a%2fb", "https://host/o~/a%2Fb"),
        ("hf:///team/repo", "HF://team/repo"),
    ],
)
def test_what_spells_one_place_has_one_form(uri: str, same: str) -> None:
    one, other = canonical_uri(uri), canonical_uri(same)
    assert (one.scheme, one.parts) == (other.scheme, other.parts)


@pytest.mark.parametrize(
    ("uri", "other"),
    [
        ("s3://models/x", "s3://Models/x"),
        ("s3://models/x", "s3://models/X"),
        ("s3://models/a", "s3://models/%61"),
        ("https://host/a/b", "https://host/a%2Fb"),
        ("https://host/x", "http://host/x"),
        ("https://host:80/x", "https://host/x"),
        ("https://host/x", "https://user@host/x"),
        ("s3://models:443/x", "s3://models/x"),
        ("az://models/x", "s3://models/x"),
        ("toy:///models/x", "toy://models/x"),
    ],
)
def test_what_may_be_two_places_has_two(uri: str, other: str) -> None:
    one, two = canonical_uri(uri), canonical_uri(other)
    assert not one.is_within(two)
    assert not two.is_within(one)


def test_a_plug_in_may_have_paths_without_a_host() -> None:
    place = canonical_uri("toy:///models//rows")
    assert place.is_definite
    assert place.is_within(canonical_uri("toy:///models"))
    assert place.is_within(canonical_uri("toy://"))
    assert not canonical_uri("toy:///models/../x").is_definite


def test_below_a_place_is_what_has_its_whole_names() -> None:
    place = canonical_uri("s3://models/a")
    for within in ("s3://models/a", "s3://models/a/", "S3://models//a/b"):
        assert canonical_uri(within).is_within(place)
    for beside in ("s3://models", "s3://models/ab", "s3://models-a/a"):
        assert not canonical_uri(beside).is_within(place)


@pytest.mark.parametrize(
    "uri",
    [
        "s3://",
        "s3:///models",
        "https://:443/x",
        "s3://models/../x",
        "s3://models/./x",
        "https://host/a/%2e%2E/x",
        "https://host/a/%2e%2e%2fx",
        "https://host/a/%252e%252e/x",
        f"https://host/a/%{'25' * 30_000}2e",
        "https://host/a/..%5cx",
        "https://host/a%3fx",
        "https://host/a?x",
        "https://host/a#x",
        "s3://models/a b",
        "s3://models/a\tb",
    ],
)
def test_what_readers_take_for_different_places_is_not_definite(uri: str) -> None:
    assert not canonical_uri(uri).is_definite


@pytest.mark.parametrize("uri", ["s3://models", "https://host/a..b/...", "hf://team/repo@v1%2Fx"])
def test_what_all_take_for_the_same_place_is(uri: str) -> None:
    assert canonical_uri(uri).is_definite
