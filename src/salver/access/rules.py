"""All that the files of access control say together, at one moment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from salver.access.key_sets import MOST_BYTES, KeySet, no_keys, parse_key_set, require
from salver.access.keys import KeyLine, lines_of
from salver.access.tokens import NO_ROLE, Trusted
from salver.config.auth import AuthConfig
from salver.errors import InvalidArgument
from salver.instruments.files import OsErrorsOf, read_regular
from salver.vocabulary.access import Principal, Role

__all__ = ["Rules", "check_auth_files", "read_key_file", "read_key_set_file", "role_problem"]

_MOST_KEY_FILE_BYTES: Final = 1 << 24  # 150,000 keys


@dataclass(frozen=True, slots=True)
class Rules:
    """Immutable; files that have changed make another one.

    Attributes:
        config: roles, issuers, certificates.
        lines: of the key file.
        key_sets: path or URL of a key set → its keys, as far as they are known.
    """

    config: AuthConfig
    lines: Sequence[KeyLine] = ()
    key_sets: Mapping[str, KeySet] = field(default_factory=dict)

    @property
    def trusted(self) -> tuple[Trusted, ...]:
        """The issuers with their keys."""
        return tuple(
            Trusted(each, self.key_sets.get(each.jwks_file or each.jwks_url))
            for each in self.config.issuers
        )

    def principal_of(self, line: KeyLine) -> Principal:
        """Whose a key is. One whose role is none of the configuration may do what anybody may."""
        return Principal(line.id, "api_key", self.role_of(line.role))

    def role_of(self, name: str) -> Role:
        """The role of a name; one that may do nothing by itself where there is none."""
        return self.config.roles.get(name, NO_ROLE)


def read_key_file(path: str) -> bytes:
    """All of a file of API keys.

    Raises:
        ServingError: it cannot be read.
    """
    with OsErrorsOf(path):
        return read_regular(path, _MOST_KEY_FILE_BYTES)


def read_key_set_file(path: str) -> bytes:
    """All of a file of an issuer's keys.

    Raises:
        ServingError: it cannot be read.
    """
    with OsErrorsOf(path):
        return read_regular(path, MOST_BYTES)


def check_auth_files(config: AuthConfig) -> None:
    """Refuse to start with files that are wrong; later such files change nothing.

    Raises:
        InvalidArgument: a file is wrong, or a key has a role that there is not, or an issuer has
            no key.
        NotInstalled: tokens are to be taken, and the package for them is not there.
        ServingError: a file cannot be read.
    """
    if config.key_file:
        for line in lines_of(read_key_file(config.key_file), config.key_file):
            if (problem := role_problem(line, config)) is not None:
                raise InvalidArgument(problem)
    if config.issuers:
        require()
    for issuer in config.issuers:
        path = issuer.jwks_file
        if path and not parse_key_set(read_key_set_file(path), path).keys:
            raise InvalidArgument(no_keys(path))


def role_problem(line: KeyLine, config: AuthConfig) -> str | None:
    """What is wrong with the role of a key; None where the configuration has it."""
    if line.role in config.roles:
        return None
    return f"{config.key_file}: the key {line.id} has a role that {config.path} has not"
