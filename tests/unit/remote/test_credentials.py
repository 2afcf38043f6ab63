import json
from pathlib import Path
from typing import Any

import pytest

from salver.config.remote import RemoteStore
from salver.errors import FailedPrecondition, NotFound, NotInstalled, Unauthenticated
from salver.remote import credentials
from salver.remote.credentials import (
    credentials_of_azure,
    credentials_of_gcs,
    credentials_of_s3,
)

PLAIN = RemoteStore()
KEYS = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "hidden"}
NO_FILES = {"AWS_SHARED_CREDENTIALS_FILE": "/nowhere", "AWS_CONFIG_FILE": "/nowhere"}


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    file = tmp_path / "credentials"
    file.write_text(
        "[default]\naws_access_key_id = D\naws_secret_access_key = hidden\n"
        "[team]\naws_access_key_id = T\naws_secret_access_key = hidden\naws_session_token = s\n"
        "[login]\nsso_session = x\n"
    )
    return file


def test_keys_in_the_environment_come_first(keys: Path) -> None:
    found = credentials_of_s3(PLAIN, {**KEYS, "AWS_SHARED_CREDENTIALS_FILE": str(keys)})
    assert found.options == {"access_key_id": "AKIA", "secret_access_key": "hidden"}
    assert found.tried == "the key in AWS_ACCESS_KEY_ID"
    assert "hidden" not in repr(found)


def test_a_session_token_goes_with_them() -> None:
    found = credentials_of_s3(PLAIN, {**KEYS, "AWS_SESSION_TOKEN": "t"})
    assert found.options["session_token"] == "t"


def test_a_public_bucket_takes_none() -> None:
    assert credentials_of_s3(RemoteStore(anonymous=True), KEYS).options == {"skip_signature": True}
    named = credentials_of_s3(PLAIN, {"awsAnonymousCredential": "true"})
    assert named.options == {"skip_signature": True}


@pytest.mark.parametrize(
    ("store", "environment", "key"),
    [
        (RemoteStore(profile="team"), {}, "T"),
        (PLAIN, {"AWS_PROFILE": "team"}, "T"),
        (PLAIN, {}, "D"),
    ],
)
def test_the_keys_of_a_profile_are_read_from_its_file_again_and_again(
    store: RemoteStore, environment: dict[str, str], key: str, keys: Path
) -> None:
    found = credentials_of_s3(store, {**environment, "AWS_SHARED_CREDENTIALS_FILE": str(keys)})
    assert found.provider is not None
    assert found.provider()["access_key_id"] == key
    assert found.provider()["expires_at"] is not None
    keys.write_text(keys.read_text().replace("_id = T", "_id = U").replace("_id = D", "_id = U"))
    assert found.provider()["access_key_id"] == "U"


def test_a_profile_says_its_region_too(keys: Path, tmp_path: Path) -> None:
    (tmp_path / "config").write_text("[profile team]\nregion = eu-north-1\n")
    environment = {
        "AWS_SHARED_CREDENTIALS_FILE": str(keys),
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
    }
    assert credentials_of_s3(RemoteStore(profile="team"), environment).region == "eu-north-1"
    assert credentials_of_s3(PLAIN, environment).region == ""


def test_a_profile_is_never_replaced_by_the_instance_without_a_word(
    keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "find_spec", lambda _name: None)
    with pytest.raises(NotInstalled, match="to log in as it says takes boto3"):
        credentials_of_s3(RemoteStore(profile="login"), {"AWS_SHARED_CREDENTIALS_FILE": str(keys)})


def test_a_profile_that_boto3_does_not_know_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("boto3")
    with pytest.raises(FailedPrecondition, match="The profile nobody cannot be used"):
        credentials_of_s3(RemoteStore(profile="nobody"), NO_FILES)


def test_a_file_that_is_named_has_to_be_there(keys: Path) -> None:
    with pytest.raises(NotFound):
        credentials_of_s3(RemoteStore(credential_file="/nowhere"), KEYS)
    with pytest.raises(FailedPrecondition, match="has no keys of the profile none"):
        credentials_of_s3(RemoteStore(credential_file=str(keys), profile="none"), KEYS)


def test_what_was_tried_is_named() -> None:
    tried = credentials_of_s3(PLAIN, NO_FILES).tried
    assert tried == (
        "no AWS_ACCESS_KEY_ID, no AWS_PROFILE, no web identity, no container; the metadata of the "
        "instance"
    )
    with pytest.raises(Unauthenticated, match="There are no credentials for S3: no AWS_ACCESS_KEY"):
        credentials_of_s3(PLAIN, {**NO_FILES, "AWS_EC2_METADATA_DISABLED": "true"})


def test_a_web_identity_and_a_container_are_left_to_the_library() -> None:
    web = credentials_of_s3(PLAIN, {**NO_FILES, "AWS_WEB_IDENTITY_TOKEN_FILE": "/token"})
    assert (web.options, web.provider) == ({}, None)
    inside = credentials_of_s3(PLAIN, {**NO_FILES, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "x"})
    assert inside.tried == "the credentials of the container"


@pytest.mark.parametrize("kind", ["service_account", "authorized_user"])
def test_a_file_of_google_is_given_to_the_library(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "key.json"
    file.write_text(json.dumps({"type": kind}))
    found = credentials_of_gcs(PLAIN, {"GOOGLE_APPLICATION_CREDENTIALS": str(file)})
    assert found.options == {"application_credentials": str(file)}
    assert credentials_of_gcs(RemoteStore(credential_file=str(file)), {}).options == found.options


def test_a_workload_identity_of_google_takes_its_own_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "find_spec", lambda _name: None)
    file = tmp_path / "key.json"
    file.write_text(json.dumps({"type": "external_account"}))
    with pytest.raises(NotInstalled, match="of the type external_account, which take google-auth"):
        credentials_of_gcs(PLAIN, {"GOOGLE_APPLICATION_CREDENTIALS": str(file)})
    file.write_text("no json")
    with pytest.raises(FailedPrecondition, match="is no file of credentials of Google"):
        credentials_of_gcs(PLAIN, {"GOOGLE_APPLICATION_CREDENTIALS": str(file)})


def test_an_emulator_of_google_takes_no_credentials() -> None:
    found = credentials_of_gcs(PLAIN, {"STORAGE_EMULATOR_HOST": "localhost:9023"})
    assert list(found.options) == ["service_account_key"]
    assert found.tried == "no credentials (emulator)"


@pytest.mark.parametrize(
    ("environment", "options"),
    [
        (
            {"AZURE_STORAGE_ACCOUNT": "a", "AZURE_STORAGE_KEY": "hidden"},
            {"account_name": "a", "account_key": "hidden"},
        ),
        (
            {"AZURE_STORAGE_ACCOUNT_NAME": "a", "AZURE_STORAGE_SAS_TOKEN": "hidden"},
            {"account_name": "a", "sas_key": "hidden"},
        ),
        (
            {
                "AZURE_STORAGE_CONNECTION_STRING": "DefaultEndpointsProtocol=http;AccountName=a;"
                "AccountKey=hidden==;BlobEndpoint=http://localhost:10000/a;"
            },
            {
                "account_name": "a",
                "account_key": "hidden==",
                "endpoint": "http://localhost:10000/a",
            },
        ),
        ({"AZURE_STORAGE_ACCOUNT": "a"}, {"account_name": "a"}),
    ],
)
def test_azure_finds_its_own_variables(
    environment: dict[str, str], options: dict[str, Any]
) -> None:
    found = credentials_of_azure(PLAIN, environment)
    assert found.options == options
    assert "hidden" not in repr(found)


def test_a_wrong_connection_string_is_not_repeated() -> None:
    with pytest.raises(FailedPrecondition) as raised:
        credentials_of_azure(PLAIN, {"AZURE_STORAGE_CONNECTION_STRING": "hidden"})
    assert raised.value.message == (
        "AZURE_STORAGE_CONNECTION_STRING is no connection string of Azure Storage"
    )
