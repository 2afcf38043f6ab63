"""`salver admin`: looks into a running server, and changes it."""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import quote

from salver.cli.admin_server import AdminServer, Place, model_path, read_key
from salver.cli.admin_text import audit_lines, changed_lines, config_lines, model_lines
from salver.cli.commands import Misused
from salver.cli.printing import print_lines
from salver.client.address import Tls
from salver.errors import DeadlineExceeded, FailedPrecondition, NotFound
from salver.instruments.files import OsErrorsOf

__all__ = ["admin_command", "make_parser"]

_DESCRIPTION: Final = """\
Look into a running server, and change what it serves. Changes are in memory only: they last until
the server ends, or the bytes of a configuration file that it polls change.
"""
_EPILOG: Final = """\
The server is the one at --server, by default http://127.0.0.1:8500: the gRPC port, or the one of
--admin_port; unix:/PATH for a socket. An API key is taken from --api_key_file, or from the variable
SALVER_API_KEY. With --dry_run nothing is changed; with --json the server's own answer is printed.

Examples:
  salver admin show                           what is served, and where each value comes from
  salver admin add fraud /models/fraud --wait_seconds=60
  salver admin label fraud stable 3
  salver admin limits fraud max_queued_runs=100
  salver admin batching fraud max_batch_size=64 batch_timeout_micros=500
  salver admin revisions; salver admin revert 4
"""
_POLL_S: Final = 0.1
_LIMITS: Final = ("max_concurrent_runs", "max_queued_runs", "max_resident_bytes")
_ACTIONS: Final = {
    "reload": "load the versions of a model again",
    "load": "load a model that was unloaded, and wait for it",
    "unload": "unload a model, and wait for that",
    "clear_quarantine": "serve a model again that ended its process",
}


def admin_command(arguments: Sequence[str]) -> int:
    """Run `salver admin ARGUMENTS`; returns its exit status.

    Raises:
        Misused: the arguments make no sense.
        ServingError: the server refuses, or cannot be reached.
    """
    try:
        asked = make_parser().parse_args(arguments)
    except SystemExit as end:  # it has said all there is to say
        return cast("int", end.code)
    tls = Tls(asked.ca_file or None, asked.cert_file or None, asked.key_file or None)
    place = Place(asked.server, read_key(asked.api_key_file, os.environ), tls)
    with AdminServer(place) as server:
        _VERBS[asked.verb](server, asked)
    return 0


def make_parser() -> argparse.ArgumentParser:
    """What the arguments are."""
    parser = argparse.ArgumentParser(
        prog="salver admin",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, text: str, *positional: str, changes: bool = False) -> Any:
        of = verbs.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        _add_place(of)
        for each in positional:
            of.add_argument(each.lower(), metavar=each)
        if changes:
            of.add_argument("--dry_run", action="store_true", help="only try it")
        return of

    show = verb("show", "print what is served, or one model, with the source of each value")
    show.add_argument("model", nargs="?", metavar="MODEL")
    show.add_argument("--all", action="store_true", help="flags that have their defaults too")
    verb("config", "print the configuration, as apply takes it")
    apply = verb("apply", "have the models of a file, and no others", "FILE", changes=True)
    apply.add_argument("--if_match", default="", metavar="ETAG", help="only if it is still this")
    add = verb("add", "add a model, or move it", "MODEL", "BASE_PATH", changes=True)
    add.add_argument("--platform", default="", help="model_platform")
    _add_wait(add)
    put = verb("put", "have a model as a file says", "MODEL", "FILE", changes=True)
    _add_wait(put)
    verb("remove", "remove a model", "MODEL", changes=True)
    label = verb("label", "have a label name a version", "MODEL", "LABEL", changes=True)
    label.add_argument("version", type=int, metavar="VERSION")
    verb("unlabel", "remove a label", "MODEL", "LABEL", changes=True)
    limits = verb("limits", f"set limits: {', '.join(_LIMITS)}", "MODEL", changes=True)
    limits.add_argument("limit", nargs="+", metavar="NAME=NUMBER", help="NAME= for the server's")
    batching = verb("batching", "set how requests are merged", "MODEL", changes=True)
    batching.add_argument("parameter", nargs="*", metavar="NAME=VALUE", help="none: the server's")
    for action, text in _ACTIONS.items():
        acting = verb(action, text, "MODEL")
        if action == "reload":
            _add_wait(acting)
    verb("revisions", "print the configurations there were")
    revert = verb("revert", "go back to one of them", changes=True)
    revert.add_argument("revision", type=int, metavar="REVISION")
    audit = verb("audit", "print who changed what")
    audit.add_argument("--limit", type=int, default=20, metavar="N", help="so many entries")
    return parser


def _add_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--server", default="http://127.0.0.1:8500", metavar="URL")
    parser.add_argument("--api_key_file", default="", metavar="PATH", help="file with an API key")
    parser.add_argument("--ca_file", default="", metavar="PATH", help="authorities to trust")
    parser.add_argument("--cert_file", default="", metavar="PATH", help="certificate of one's own")
    parser.add_argument("--key_file", default="", metavar="PATH", help="its private key")
    parser.add_argument("--json", action="store_true", help="print the server's answer")


def _add_wait(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--wait_seconds",
        type=float,
        default=0.0,
        metavar="S",
        help="wait so long at most until a version is available",
    )


Asked = argparse.Namespace


def _show(server: AdminServer, asked: Asked) -> None:
    if asked.model is None:
        document = server.read("/config")
        _print(asked, document, config_lines(document, is_all=asked.all))
    else:
        document = server.read(model_path(asked.model))
        _print(asked, document, model_lines(document))


def _config(server: AdminServer, asked: Asked) -> None:
    document = server.read("/config")
    _print(asked, document, json.dumps(document["config"], indent=2).splitlines())


def _apply(server: AdminServer, asked: Asked) -> None:
    body, kind = _content(asked.file)
    headers = dict(kind)
    if asked.if_match:
        headers["If-Match"] = f'"{asked.if_match.strip(chr(34))}"'
    _changed(
        asked, server.change("PUT", "/config", body, is_dry_run=asked.dry_run, headers=headers)
    )


def _add(server: AdminServer, asked: Asked) -> None:
    path = asked.base_path
    if "://" not in path:
        path = os.path.abspath(path)
    more = {"base_path": path}
    if asked.platform:
        more["model_platform"] = asked.platform
    _edit_or_put(server, asked, more)
    _wait(server, asked)


def _edit_or_put(server: AdminServer, asked: Asked, more: Mapping[str, Any]) -> None:
    """Change what there is of a model, or add it."""
    at = model_path(asked.model)
    try:
        done = server.edit(at, lambda config: {**config, **more}, is_dry_run=asked.dry_run)
    except NotFound:
        new = {"If-None-Match": "*"}
        done = server.change("PUT", at, more, is_dry_run=asked.dry_run, headers=new)
    _changed(asked, done)


def _put(server: AdminServer, asked: Asked) -> None:
    body, kind = _content(asked.file)
    at = model_path(asked.model)
    _changed(asked, server.change("PUT", at, body, is_dry_run=asked.dry_run, headers=kind))
    _wait(server, asked)


def _remove(server: AdminServer, asked: Asked) -> None:
    at = model_path(asked.model)
    _changed(asked, server.change("DELETE", at, is_dry_run=asked.dry_run))


def _label(server: AdminServer, asked: Asked) -> None:
    at = model_path(asked.model, f"/labels/{quote(asked.label, safe='')}")
    body = {"version": asked.version}
    _changed(asked, server.change("PUT", at, body, is_dry_run=asked.dry_run))


def _unlabel(server: AdminServer, asked: Asked) -> None:
    at = model_path(asked.model, f"/labels/{quote(asked.label, safe='')}")
    _changed(asked, server.change("DELETE", at, is_dry_run=asked.dry_run))


def _limits(server: AdminServer, asked: Asked) -> None:
    given = [text.partition("=") for text in asked.limit]
    for name, equals, value in given:
        if name not in _LIMITS or not equals or (value and not value.isdigit()):
            raise Misused(f"{name}{equals}{value}: limits are NAME=NUMBER, of {', '.join(_LIMITS)}")

    def edit(config: dict[str, Any]) -> dict[str, Any]:
        own = dict(config.get("salver", {}))
        for name, _, value in given:
            own.pop(name, None)
            if value:
                own[name] = int(value)
        return {**config, "salver": own}

    _changed(asked, server.edit(model_path(asked.model), edit, is_dry_run=asked.dry_run))


def _batching(server: AdminServer, asked: Asked) -> None:
    at = model_path(asked.model, "/batching")
    if not asked.parameter:
        _changed(asked, server.change("DELETE", at, is_dry_run=asked.dry_run))
        return
    parameters: dict[str, Any] = {}
    for text in asked.parameter:
        name, equals, value = text.partition("=")
        if not equals:
            raise Misused(f"{text}: batching parameters are NAME=VALUE")
        parameters[name] = _value(name, value)
    _changed(asked, server.change("PUT", at, parameters, is_dry_run=asked.dry_run))


def _value(name: str, text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise Misused(f"{name}={text}: a number, true or false is missing") from None
    return numbers if name == "allowed_batch_sizes" else numbers[0]


def _act(server: AdminServer, asked: Asked) -> None:
    document = server.do(model_path(asked.model, f":{asked.verb}"))
    _print(asked, document, model_lines(document))
    if asked.verb == "reload":
        _wait(server, asked)


def _revisions(server: AdminServer, asked: Asked) -> None:
    document = server.read("/config/revisions")
    _print(asked, document, audit_lines(document["revisions"]))


def _revert(server: AdminServer, asked: Asked) -> None:
    document = server.read(f"/config/revisions?revision={asked.revision}")
    body = document["config"]
    _changed(asked, server.change("PUT", "/config", body, is_dry_run=asked.dry_run))


def _audit(server: AdminServer, asked: Asked) -> None:
    document = server.read(f"/audit?limit={max(0, asked.limit)}")
    _print(asked, document, audit_lines(document["entries"]))


_VERBS: Final[Mapping[str, Callable[[AdminServer, Asked], None]]] = {
    "show": _show,
    "config": _config,
    "apply": _apply,
    "add": _add,
    "put": _put,
    "remove": _remove,
    "label": _label,
    "unlabel": _unlabel,
    "limits": _limits,
    "batching": _batching,
    **dict.fromkeys(_ACTIONS, _act),
    "revisions": _revisions,
    "revert": _revert,
    "audit": _audit,
}


def _content(file: str) -> tuple[bytes, dict[str, str]]:
    """What a file has, or standard input, and what kind of document it is."""
    if file == "-":
        return sys.stdin.buffer.read(), {"Content-Type": "application/yaml"}  # JSON is YAML too
    with OsErrorsOf(file):
        content = Path(file).read_bytes()
    is_json = file.lower().endswith(".json")
    return content, {"Content-Type": "application/json" if is_json else "application/yaml"}


def _wait(server: AdminServer, asked: Asked) -> None:
    """Wait until a model has an available version.

    Raises:
        FailedPrecondition: its newest version has failed.
        DeadlineExceeded: it takes longer.
    """
    until_s = time.monotonic() + asked.wait_seconds
    if not asked.wait_seconds or getattr(asked, "dry_run", False):
        return
    while True:
        document = server.read(model_path(asked.model))
        versions = document["versions"]
        if versions and all(each["state"] in ("AVAILABLE", "END") for each in versions):
            if any(each["state"] == "AVAILABLE" for each in versions):
                _print(asked, document, model_lines(document))
                return
            if text := versions[0].get("error_message"):
                raise FailedPrecondition(f"Model {asked.model} does not load: {text}")
        if time.monotonic() > until_s:
            raise DeadlineExceeded(
                f"Model {asked.model} has no available version after {asked.wait_seconds:g} s",
                hint="The change stays.",
            )
        time.sleep(_POLL_S)


def _changed(asked: Asked, document: Mapping[str, Any]) -> None:
    _print(asked, document, changed_lines(document))


def _print(asked: Asked, document: Mapping[str, Any], lines: Sequence[str]) -> None:
    print_lines([json.dumps(document, indent=2)] if asked.json else lines)
