"""Credentials for S3 that the host of a container hands out over HTTP.

The library asks for them by itself only where `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE` is set too;
without that it would ask the instance, whose rights are others.

Source: docs.aws.amazon.com/sdkref, "Container credential provider".
"""

import ipaddress
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from salver.errors import FailedPrecondition, Unauthenticated
from salver.instruments.files import OsErrorsOf, read_regular

__all__ = ["credentials_of_container"]

_TIMEOUT_S: Final = 5.0
_MOST_BYTES: Final = 1 << 16
_PLAIN: Final = {"accept-encoding": "identity"}
_HOSTS: Final = ("169.254.170.2", "169.254.170.23", "fd00:ec2::23")  # of ECS and EKS


def credentials_of_container(uri: str, environment: Mapping[str, str]) -> Callable[[], Any]:
    """Asks for credentials, again and again as the library wants them.

    Args:
        uri: of `AWS_CONTAINER_CREDENTIALS_FULL_URI`.
        environment: may have a token to show.

    Raises:
        FailedPrecondition: credentials must not be asked for there in plain text.
    """
    if not _is_safe(uri):
        raise FailedPrecondition(
            "AWS_CONTAINER_CREDENTIALS_FULL_URI must be https, or name this machine or the host of "
            "a container"
        )

    def ask() -> dict[str, Any]:
        import httpx  # here: few servers need it

        token = _token(environment)
        headers = {**_PLAIN, **({"authorization": token} if token else {})}
        try:
            found = json.loads(_read(uri, headers))
            return {
                "access_key_id": str(found["AccessKeyId"]),
                "secret_access_key": str(found["SecretAccessKey"]),
                "token": found.get("Token"),
                "expires_at": datetime.fromisoformat(found["Expiration"].replace("Z", "+00:00")),
            }
        except (
            httpx.HTTPError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            RecursionError,
        ) as error:
            raise Unauthenticated(
                f"The container's host gives no credentials: {type(error).__name__}"
            ) from None  # whose text may hold them

    return ask


def _read(uri: str, headers: Mapping[str, str]) -> bytes:
    """What is answered there, all of it in time, however slowly it drips.

    Raises:
        httpx.HTTPError: nothing, or an error.
        ValueError: more than credentials are.
    """
    import httpx  # here: few servers need it

    from salver.remote.deadlines import obey_deadlines, within

    content = bytearray()
    with (
        within(_TIMEOUT_S),
        obey_deadlines(httpx.Client(timeout=_TIMEOUT_S, trust_env=False)) as http,
        http.stream("GET", uri, headers=dict(headers)) as answer,
    ):
        answer.raise_for_status()
        for chunk in answer.iter_raw():
            content += chunk
            if len(content) > _MOST_BYTES:
                raise ValueError("too long")
    return bytes(content)


def _is_safe(uri: str) -> bool:
    parts = urlsplit(uri)
    host = parts.hostname or ""
    if parts.scheme == "https":
        return bool(host)
    if parts.scheme != "http":
        return False
    try:
        return host in _HOSTS or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _token(environment: Mapping[str, str]) -> str:
    """What to show; read anew each time, since it changes."""
    if path := environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"):
        with OsErrorsOf(Path(path)):
            token = read_regular(path, _MOST_BYTES).decode(errors="replace").strip()
    else:
        token = environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")
    if not token.isprintable():
        raise FailedPrecondition("The token for the container's credentials is none")
    return token
