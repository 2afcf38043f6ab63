import pytest

from salver.errors import InvalidArgument
from salver.remote.places import place_of, shown


def test_a_uri_names_a_bucket_and_a_path() -> None:
    place = place_of("s3://bucket/models/digits/")
    assert (place.scheme, place.bucket, place.path) == ("s3", "bucket", "models/digits")
    assert place.root == "s3://bucket"
    assert place.uri == "s3://bucket/models/digits"


def test_a_bucket_alone_is_a_base_path() -> None:
    assert place_of("gs://bucket").path == ""


def test_the_account_of_azure_may_stand_in_the_uri() -> None:
    place = place_of("abfss://container@account.dfs.core.windows.net/models/digits")
    assert (place.scheme, place.bucket, place.account) == ("abfs", "container", "account")
    assert place.path == "models/digits"


@pytest.mark.parametrize("uri", ["gcs://bucket//models/", "GS://bucket/models"])
def test_a_place_has_one_uri_however_it_is_spelled(uri: str) -> None:
    assert place_of(uri).uri == "gs://bucket/models"


@pytest.mark.parametrize("uri", ["s3://", "s3:///models", "s3://bucket/../other", "az://b/./x"])
def test_what_names_no_bucket_or_leads_out_of_it_is_refused(uri: str) -> None:
    with pytest.raises(InvalidArgument, match="BUCKET/PATH is one"):
        place_of(uri)


def test_a_password_in_a_uri_is_refused_and_not_repeated() -> None:
    with pytest.raises(InvalidArgument) as raised:
        place_of("s3://key:hidden@bucket/models")
    assert "hidden" not in raised.value.message


def test_what_may_be_secret_in_a_uri_is_not_shown() -> None:
    assert shown("https://user:hidden@host/a.tar.gz?sig=hidden") == "https://host/a.tar.gz"
    assert shown("abfs://container@account/models") == "abfs://container@account/models"
