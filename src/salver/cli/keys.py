"""`salver keys`: API keys for `--auth_config_file`, made, listed and revoked."""

import argparse
import re
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Final, cast

from salver.access.key_file import add_key, list_keys, remove_keys
from salver.access.keys import KeyLine, new_key, read_expires
from salver.cli.printing import print_lines
from salver.config.auth import AuthConfig, read_auth_config
from salver.errors import InvalidArgument

__all__ = ["keys_command", "make_parser"]

_DESCRIPTION = """\
Make API keys for a server with --auth_config_file, list them, and revoke them. A server that runs
takes each change within a second or two.
"""
_EPILOG = """\
The key file is the one that --auth_config_file names, or --key_file. It holds no keys, but the
SHA-256 of each: a key is printed once, when it is made, and on standard output alone:

  salver keys create ci --role=scorer --expires=90d --auth_config_file=auth.yaml
"""
_UNITS: Final = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_LAST_S: Final = 253402300799  # the end of the year 9999
_DURATION: Final = re.compile(r"([0-9]{1,6})([mhdw])")


def keys_command(arguments: Sequence[str]) -> int:
    """Run `salver keys ARGUMENTS`; returns its exit status.

    Raises:
        ServingError: the file cannot be read or changed, or there is no such key.
    """
    parser = make_parser()
    try:
        asked = parser.parse_args(arguments)
        if bool(asked.key_file) == bool(asked.auth_config_file):
            parser.error("name the file by one of --auth_config_file and --key_file")
    except SystemExit as end:  # it has said all there is to say
        return cast("int", end.code)
    config = read_auth_config(asked.auth_config_file) if asked.auth_config_file else None
    path = asked.key_file if config is None else _key_file(config)
    if asked.verb == "create":
        _create(path, asked.id, asked.role, asked.expires, config)
    elif asked.verb == "revoke":
        remove_keys(path, asked.id)
        print(f"Revoked {', '.join(asked.id)}")
    else:
        print_lines(_listed(list_keys(path), config))
    return 0


def make_parser() -> argparse.ArgumentParser:
    """What the arguments are."""
    parser = argparse.ArgumentParser(
        prog="salver keys",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="create|list|revoke")
    helps = {
        "create": "make a key and print it",
        "list": "list the keys of the file, without what they are",
        "revoke": "take keys out of the file",
    }
    for verb, text in helps.items():
        of = verbs.add_parser(verb, help=text, description=text, allow_abbrev=False)
        of.add_argument(
            "--auth_config_file", metavar="FILE", default="", help="as a server is given it"
        )
        of.add_argument(
            "--key_file",
            metavar="FILE",
            default="",
            help="the key file itself; nobody then looks whether there are such roles",
        )
        if verb == "create":
            of.add_argument("id", metavar="ID", help="names the key in logs and metrics")
            of.add_argument("--role", required=True, metavar="ROLE", help="what the key may do")
            of.add_argument(
                "--expires",
                type=_expires,
                metavar="WHEN",
                help="when it ends: 90d (or m, h, w), 2027-01-31 or 2027-01-31T12:00:00Z",
            )
        elif verb == "revoke":
            of.add_argument("id", nargs="+", metavar="ID", help="which keys")
    return parser


def _key_file(config: AuthConfig) -> str:
    if not config.key_file:
        raise InvalidArgument(
            f"{config.path} names no key file", hint="Put this into it: api_keys: {file: keys.txt}"
        )
    return config.key_file


def _create(
    path: str, id: str, role: str, expires_s: float | None, config: AuthConfig | None
) -> None:
    if config is not None and role not in config.roles:
        known = ", ".join(config.roles) or "none"
        raise InvalidArgument(f"{config.path} has no role {role}; it has {known}")
    if role.split() != [role]:
        raise InvalidArgument(f"A role's name has no blanks: {role!r}")
    key, line = new_key(id, role, expires_s)
    add_key(path, line)
    print(f"Added {id} to {path}. The key is shown this once:", file=sys.stderr)
    print(key)


def _expires(text: str) -> float:
    try:
        found = _DURATION.fullmatch(text)
        when_s = _now_s() + _seconds(found) if found is not None else read_expires(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if not _now_s() < when_s <= _LAST_S:
        raise argparse.ArgumentTypeError(f"{text} is past, or too far")
    return when_s


def _seconds(found: "re.Match[str]") -> int:
    return int(found[1]) * _UNITS[found[2]]


def _listed(lines: Sequence[KeyLine], config: AuthConfig | None) -> list[str]:
    if not lines:
        return ["There are no keys"]
    rows = [("ID", "ROLE", "EXPIRES", "STATE")]
    rows += [(line.id, line.role, _when(line), _state(line, config)) for line in lines]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return [
        "  ".join([*(f"{row[at]:<{width}}" for at, width in enumerate(widths)), row[3]]).rstrip()
        for row in rows
    ]


def _when(line: KeyLine) -> str:
    if line.expires_s is None:
        return "never"
    return datetime.fromtimestamp(line.expires_s, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _state(line: KeyLine, config: AuthConfig | None) -> str:
    if line.expires_s is not None and line.expires_s <= _now_s():
        return "expired"
    if config is not None and line.role not in config.roles:
        return "no such role"
    return ""


def _now_s() -> float:
    return time.time()  # noqa: TID251 - of the calendar
