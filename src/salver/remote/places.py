"""What a URI of an object store names: a bucket, and a path in it. Pure."""

from dataclasses import dataclass
from typing import Final

from salver.errors import InvalidArgument
from salver.instruments.uris import first_name

__all__ = ["Place", "joined", "place_of", "shown"]

_AZURE: Final = ("az", "abfs")


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is.

    Attributes:
        scheme: `s3`, `gs`, `az` or `abfs`.
        bucket: or container.
        path: without slashes at its ends; empty for the whole bucket.
        account: of Azure, where the URI names it.
        root: the URI without the path, its scheme as `first_name` has it: `s3://bucket`.
    """

    scheme: str
    bucket: str
    path: str
    account: str
    root: str

    @property
    def uri(self) -> str:
        """The same as text."""
        return joined(self.root, self.path)


def place_of(uri: str) -> Place:
    """Take a URI apart.

    Raises:
        InvalidArgument: it names no bucket, or has a password in it.
    """
    scheme, _, rest = uri.partition("://")
    scheme = first_name(scheme)
    authority, _, path = rest.partition("/")
    container, at, host = authority.rpartition("@")
    if at and (scheme not in _AZURE or ":" in container):
        raise InvalidArgument(
            f"{shown(uri)} cannot be a base path: it has a user or a password in it",
            hint="Credentials come from the environment, or from --remote_config_file.",
        )
    bucket = container if at else authority
    parts = [part for part in path.split("/") if part]
    if not bucket or any(part in (".", "..") for part in parts):
        raise InvalidArgument(f"{shown(uri)} cannot be a base path: {scheme}://BUCKET/PATH is one")
    account = host.partition(".")[0] if at else ""
    return Place(scheme, bucket, "/".join(parts), account, f"{scheme}://{authority}")


def joined(*parts: str) -> str:
    """Parts of a path, of which some may be empty, with a slash between them."""
    return "/".join(part for part in parts if part)


def shown(uri: str) -> str:
    """A URI for people: without what may be secret in it."""
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return uri
    authority, slash, path = rest.partition("/")
    user, at, host = authority.rpartition("@")
    if at and ":" in user:
        authority = host
    if scheme.lower() in ("http", "https"):
        authority, path = authority.rpartition("@")[2], path.partition("?")[0]
    return f"{scheme}://{authority}{slash}{path}"
