"""Credentials as each cloud's own tools find them, and in words what was tried.

The library finds keys in the environment, web identities, containers and instances by itself. It
knows no profiles: where one is meant, it would ask the instance instead, without a word. So the
order of the clouds' own tools is kept here.
"""

import configparser
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from salver.config.remote import RemoteStore
from salver.errors import FailedPrecondition, NotFound, NotInstalled, ServingError, Unauthenticated
from salver.instruments.files import OsErrorsOf, read_regular
from salver.remote.container import credentials_of_container

__all__ = ["Credentials", "credentials_of_azure", "credentials_of_gcs", "credentials_of_s3"]

_REREAD: Final = timedelta(minutes=5)
_MOST_BYTES: Final = 1 << 20
_TRUE: Final = ("1", "true", "yes")
_NOBODY: Final = json.dumps(  # as whom the library reads and writes without asking for a token
    {"disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": ""}
)
_GOOGLE: Final = ("service_account", "authorized_user")  # what the library reads by itself


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a store is opened with.

    Attributes:
        options: for the library; never shown.
        provider: asked for credentials again and again; None where there is none.
        tried: in words.
        region: of a profile; empty where none says it.
    """

    options: Mapping[str, Any] = field(repr=False)
    provider: Callable[[], Any] | None
    tried: str
    region: str = ""


def _is_true(text: str | None) -> bool:
    return (text or "").strip().lower() in _TRUE


# -- S3 --------------------------------------------------------------------------------------------


def credentials_of_s3(store: RemoteStore, environment: Mapping[str, str]) -> Credentials:
    """Those of an S3 store, in the order of Amazon's own tools.

    Raises:
        ServingError: a profile is meant that is not there, or that cannot be used here.
    """
    named = environment.get
    if store.anonymous or _is_true(named("awsAnonymousCredential")):
        return Credentials({"skip_signature": True}, None, "no credentials (anonymous)")
    if store.credential_file:
        return _of_profile(store.profile or "default", Path(store.credential_file), environment)
    if store.profile:
        return _of_profile(store.profile, None, environment)
    if (key := named("AWS_ACCESS_KEY_ID")) and (secret := named("AWS_SECRET_ACCESS_KEY")):
        token = named("AWS_SESSION_TOKEN")
        options = {"access_key_id": key, "secret_access_key": secret}
        return Credentials(
            {**options, "session_token": token} if token else options,
            None,
            "the key in AWS_ACCESS_KEY_ID",
        )
    if profile := named("AWS_PROFILE") or named("AWS_DEFAULT_PROFILE"):
        return _of_profile(profile, None, environment)
    if named("AWS_WEB_IDENTITY_TOKEN_FILE"):
        return Credentials({}, None, "the web identity of AWS_WEB_IDENTITY_TOKEN_FILE")
    if _has_profile("default", environment):
        return _of_profile("default", None, environment)
    return _of_machine(environment)


def _of_machine(environment: Mapping[str, str]) -> Credentials:
    named = environment.get
    container = "the credentials of the container"
    if named("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"):
        return Credentials({}, None, container)
    if uri := named("AWS_CONTAINER_CREDENTIALS_FULL_URI"):
        return Credentials({}, credentials_of_container(uri, environment), container)
    nothing = "no AWS_ACCESS_KEY_ID, no AWS_PROFILE, no web identity, no container"
    if _is_true(named("AWS_EC2_METADATA_DISABLED")):
        raise Unauthenticated(
            f"There are no credentials for S3: {nothing}, and AWS_EC2_METADATA_DISABLED is set",
            hint="A public bucket: anonymous: true in --remote_config_file.",
        )
    return Credentials({}, None, f"{nothing}; the metadata of the instance")


def _profile_files(environment: Mapping[str, str]) -> tuple[Path, Path]:
    credentials = environment.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")
    config = environment.get("AWS_CONFIG_FILE", "~/.aws/config")
    return Path(os.path.expanduser(credentials)), Path(os.path.expanduser(config))


def _sections(path: Path) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(default_section="", strict=False)
    try:
        with OsErrorsOf(path):
            parser.read_string(read_regular(path, _MOST_BYTES).decode())
    except (configparser.Error, UnicodeDecodeError):
        raise FailedPrecondition(f"{path} is no file of credentials") from None
    return parser


def _has_profile(profile: str, environment: Mapping[str, str]) -> bool:
    for path in _profile_files(environment):
        with suppress(ServingError):
            if _sections(path).has_section(profile):
                return True
    return False


def _keys(path: Path, profile: str) -> dict[str, str] | None:
    """The keys of a profile that stand in a file; None where there are none."""
    sections = _sections(path)
    if not sections.has_section(profile):
        return None
    found = dict(sections.items(profile))
    if not found.get("aws_access_key_id") or not found.get("aws_secret_access_key"):
        return None
    return found


def _region(profile: str, environment: Mapping[str, str]) -> str:
    section = profile if profile == "default" else f"profile {profile}"
    with suppress(ServingError):
        sections = _sections(_profile_files(environment)[1])
        if sections.has_section(section):
            return sections.get(section, "region", fallback="")
    return ""


def _of_profile(profile: str, file: Path | None, environment: Mapping[str, str]) -> Credentials:
    path = file or _profile_files(environment)[0]
    tried = f"the profile {profile} of {path}"
    try:
        keys = _keys(path, profile)
    except NotFound:
        if file is not None:
            raise
        keys = None
    if keys is not None:

        def read() -> dict[str, Any]:  # again: tools write new keys into the file
            found = _keys(path, profile)
            if found is None:
                raise FailedPrecondition(f"{path} has no keys of the profile {profile} any more")
            return {
                "access_key_id": found["aws_access_key_id"],
                "secret_access_key": found["aws_secret_access_key"],
                "token": found.get("aws_session_token"),
                "expires_at": datetime.now(timezone.utc) + _REREAD,
            }

        region = keys.get("region") or _region(profile, environment)
        return Credentials({}, read, tried, region)
    if file is not None:
        raise FailedPrecondition(f"{file} has no keys of the profile {profile}")
    if find_spec("boto3") is None:
        raise NotInstalled(
            f"The profile {profile} has no keys in {path}: to log in as it says takes boto3",
            hint="pip install boto3",
        )
    return Credentials({}, _boto3(profile), f"the profile {profile}, by boto3")


def _boto3(profile: str) -> Callable[[], Any]:
    import boto3  # here: only where a profile is meant

    try:
        from obstore.auth.boto3 import Boto3CredentialProvider

        made = Boto3CredentialProvider(boto3.session.Session(profile_name=profile))
    except Exception as error:
        raise FailedPrecondition(
            f"The profile {profile} cannot be used: {type(error).__name__}: {error}"
        ) from error
    return made  # type: ignore[no-any-return]


# -- Google ----------------------------------------------------------------------------------------


def credentials_of_gcs(store: RemoteStore, environment: Mapping[str, str]) -> Credentials:
    """Those of Google Cloud Storage, in the order of Google's own tools.

    Raises:
        ServingError: the file that is named is not there, or cannot be used here.
    """
    is_emulated = bool(environment.get("STORAGE_EMULATOR_HOST")) and not store.endpoint
    if is_emulated:
        return Credentials({"service_account_key": _NOBODY}, None, "no credentials (emulator)")
    if store.anonymous:
        return Credentials({"skip_signature": True}, None, "no credentials (anonymous)")
    home = environment.get("CLOUDSDK_CONFIG") or os.path.expanduser("~/.config/gcloud")
    known = os.path.join(home, "application_default_credentials.json")
    named = environment.get("GOOGLE_APPLICATION_CREDENTIALS") or environment.get(
        "GOOGLE_SERVICE_ACCOUNT"
    )
    path = store.credential_file or named or (known if os.path.exists(known) else "")
    if not path:
        return Credentials(
            {}, None, "no GOOGLE_APPLICATION_CREDENTIALS; the metadata of the instance"
        )
    with OsErrorsOf(path):
        content = read_regular(path, _MOST_BYTES)
    try:
        kind = json.loads(content)["type"]
    except (ValueError, KeyError, TypeError):
        raise FailedPrecondition(f"{path} is no file of credentials of Google") from None
    tried = f"the credentials in {path}"
    if kind in _GOOGLE:
        return Credentials({"application_credentials": path}, None, tried)
    if find_spec("google.auth") is None:
        raise NotInstalled(
            f"{path} holds credentials of the type {kind}, which take google-auth",
            hint="pip install google-auth requests",
        )
    return Credentials({}, _google(path), tried)


def _google(path: str) -> Callable[[], Any]:
    try:
        import google.auth
        from obstore.auth.google import GoogleCredentialProvider

        scopes = ["https://www.googleapis.com/auth/devstorage.read_write"]
        found, _ = google.auth.load_credentials_from_file(path, scopes=scopes)
        made = GoogleCredentialProvider(found)
    except Exception as error:
        raise FailedPrecondition(f"{path} cannot be used: {type(error).__name__}") from error
    return made  # type: ignore[no-any-return]


# -- Azure -----------------------------------------------------------------------------------------


def credentials_of_azure(store: RemoteStore, environment: Mapping[str, str]) -> Credentials:
    """Those of Azure Storage.

    Raises:
        ServingError: a file or a text that is named is not there, or is wrong.
    """
    named = environment.get
    if store.anonymous:
        return Credentials({"skip_signature": True}, None, "no credentials (anonymous)")
    text, where = named("AZURE_STORAGE_CONNECTION_STRING") or "", "AZURE_STORAGE_CONNECTION_STRING"
    if store.credential_file:
        with OsErrorsOf(store.credential_file):
            text = read_regular(store.credential_file, _MOST_BYTES).decode(errors="replace")
        where = store.credential_file
    if text:
        return Credentials(_connection(text.strip(), where), None, f"the key in {where}")
    account = named("AZURE_STORAGE_ACCOUNT") or named("AZURE_STORAGE_ACCOUNT_NAME")
    return _of_account({"account_name": account} if account else {}, named)


def _of_account(options: dict[str, Any], named: Callable[[str], str | None]) -> Credentials:
    for name in ("AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCOUNT_KEY"):
        if key := named(name):
            return Credentials({**options, "account_key": key}, None, f"the key in {name}")
    for name in ("AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_SAS_KEY"):
        if token := named(name):
            return Credentials({**options, "sas_key": token}, None, f"the token in {name}")
    if named("AZURE_FEDERATED_TOKEN_FILE"):
        return Credentials(options, None, "the identity of AZURE_FEDERATED_TOKEN_FILE")
    if named("AZURE_CLIENT_SECRET") or named("AZURE_STORAGE_CLIENT_SECRET"):
        return Credentials(options, None, "the secret of AZURE_CLIENT_ID")
    if _is_true(named("AZURE_USE_AZURE_CLI")):
        return Credentials({**options, "use_azure_cli": True}, None, "the login of the Azure CLI")
    return Credentials(
        options,
        None,
        "no AZURE_STORAGE_KEY, no AZURE_STORAGE_CONNECTION_STRING, no AZURE_STORAGE_SAS_TOKEN, no "
        "AZURE_CLIENT_SECRET; the managed identity of the machine",
    )


def _connection(text: str, where: str) -> dict[str, Any]:
    fields = dict(part.split("=", 1) for part in text.split(";") if "=" in part)
    found = {
        "account_name": fields.get("AccountName"),
        "account_key": fields.get("AccountKey"),
        "sas_key": fields.get("SharedAccessSignature"),
        "endpoint": fields.get("BlobEndpoint"),
    }
    if not found["account_key"] and not found["sas_key"]:
        raise FailedPrecondition(f"{where} is no connection string of Azure Storage")
    return {name: value for name, value in found.items() if value}
