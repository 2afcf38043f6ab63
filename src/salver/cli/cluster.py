"""`salver cluster`: many machines as one server, on Ray."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast

from salver.cli.cluster_text import drain_line, status_lines
from salver.cli.cluster_view import watch
from salver.cli.printing import print_lines
from salver.errors import InvalidArgument

if TYPE_CHECKING:
    from salver.cluster.on_ray.deployment import Deployment

__all__ = ["cluster_command", "make_parser"]

_DONE: Final = 0
_WRONG: Final = 1
_FILE: Final = "cluster.yaml"
_LOOK_S: Final = 1.0

_DESCRIPTION = """\
Serve models from many machines. Placing, starting and healing are done by a controller on Ray,
which `pip install 'salver[cluster]'` brings; each machine runs the ordinary server, and any of them
answers for any model.
"""
_EPILOG = """\
  salver cluster up cluster.yaml            start the cluster, or have it be as the file says now
  salver cluster status --watch             look at it
  salver cluster drain 10.0.0.7             have others take over what a node has; then stop it
  salver cluster why fraud                  why a model is where it is

docs/cluster.md says what stands in cluster.yaml. Ray's ports execute what whoever reaches them
sends: keep them from everybody else.
"""
_HELPS: Final = {
    "up": "start the cluster, or have it be as its file says now",
    "status": "print how the cluster is",
    "down": "stop all of its servers, and Ray if `up` has started it",
    "drain": "have others take over what a node has, and stop its server",
    "why": "say why a model is where it is",
    "logs": "print what a node's server has written",
}


def cluster_command(arguments: Sequence[str]) -> int:
    """Run `salver cluster ARGUMENTS`; returns its exit status.

    Raises:
        ServingError: it cannot be done.
    """
    try:
        asked = make_parser().parse_args(arguments)
    except SystemExit as end:  # it has said all there is to say
        return cast("int", end.code)
    return _VERBS[asked.verb](asked)


def make_parser() -> argparse.ArgumentParser:
    """What the arguments are."""
    parser = argparse.ArgumentParser(
        prog="salver cluster",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="|".join(_HELPS))
    made = {
        verb: verbs.add_parser(verb, help=text, description=text, allow_abbrev=False)
        for verb, text in _HELPS.items()
    }
    for verb in ("up", "status", "down"):
        made[verb].add_argument("file", nargs="?", metavar="FILE", default=_FILE)
    for verb in ("drain", "why", "logs"):
        made[verb].add_argument(
            "what", metavar="MODEL" if verb == "why" else "NODE", help="by its name"
        )
        made[verb].add_argument(
            "--cluster", dest="file", metavar="FILE", default=_FILE, help=f"default {_FILE}"
        )
    made["up"].add_argument(
        "--wait",
        type=float,
        metavar="SECONDS",
        default=300.0,
        help="for the models to be where they should be; 0: do not wait (default 300)",
    )
    status = made["status"]
    status.add_argument("--json", action="store_true", help="print it for a program")
    status.add_argument("--watch", action="store_true", help="show it anew each second")
    status.add_argument(
        "--metrics", action="store_true", help="print the metrics of all nodes, added up"
    )
    status.add_argument(
        "--serve",
        metavar="[HOST:]PORT",
        help="serve it as pages: /, /status, /metrics and /metrics/nodes; HOST is 127.0.0.1",
    )
    made["drain"].add_argument("--undo", action="store_true", help="have it take models again")
    made["logs"].add_argument("--lines", type=int, metavar="N", default=100)
    made["logs"].add_argument("--follow", action="store_true", help="go on with what comes")
    return parser


def _attach(asked: argparse.Namespace) -> "Deployment":
    from salver.cluster.api import attach

    return attach(asked.file)


def _up(asked: argparse.Namespace) -> int:
    from salver.cluster.api import up

    last = ""

    def tell(status: Mapping[str, Any]) -> None:
        nonlocal last
        line = _progress(status)
        if line != last:
            print(line, flush=True)
            last = line

    deployment = up(asked.file, wait_s=0, tell=lambda line: print(line, flush=True))
    is_settled = not asked.wait or deployment.wait_settled(asked.wait, tell)
    print_lines(["", *status_lines(deployment.status())])
    address = deployment.address
    more = (
        "" if address.startswith("127.0.0.1:") else f"; ray start --address={address} adds a node"
    )
    print(f"\nRay is at {address}{more}")
    if not is_settled:
        print(f"salver: not settled within {asked.wait:g} s", file=sys.stderr)
    return _DONE if is_settled else _WRONG


def _progress(status: Mapping[str, Any]) -> str:
    counts = ", ".join(f"{count} {word}" for word, count in status["counts"].items())
    nodes = len(status["nodes"])
    return f"{nodes} node{'' if nodes == 1 else 's'}; models: {counts or 'none'}"


def _status(asked: argparse.Namespace) -> int:
    deployment = _attach(asked)
    if asked.serve:
        _serve(deployment, asked.serve)
    elif asked.metrics:
        from salver.cluster.metrics_page import merged_page

        page, wrong = merged_page(deployment.metrics_pages())
        print(page, end="")
        for node, problem in wrong.items():
            print(f"salver: {node} is left out: {problem}", file=sys.stderr)
    elif asked.json:
        print(json.dumps(deployment.status(), indent=1))
    elif asked.watch:
        watch(deployment.status, _LOOK_S, time.sleep)
    else:
        print_lines(status_lines(deployment.status()))
    return _DONE


def _serve(deployment: "Deployment", address: str) -> None:
    from salver.cluster.pages import page_server

    host, _, port = address.rpartition(":")
    if not port.isdecimal() or not 0 <= int(port) < 1 << 16:
        raise InvalidArgument(f"--serve takes [HOST:]PORT, not {address!r}")
    server = page_server(host.strip("[]") or "127.0.0.1", int(port), deployment, status_lines)
    print(f"Pages at http://{host or '127.0.0.1'}:{server.server_address[1]}/", flush=True)
    with suppress(KeyboardInterrupt):
        server.serve_forever()
    server.server_close()


def _down(asked: argparse.Namespace) -> int:
    problems = _attach(asked).down()
    for problem in problems:
        print(f"salver: {problem}", file=sys.stderr)
    return _WRONG if problems else _DONE


def _drain(asked: argparse.Namespace) -> int:
    deployment = _attach(asked)
    deployment.drain(asked.what, is_draining=not asked.undo)
    if asked.undo:
        print(f"{asked.what} takes models again")
        return _DONE
    last = ""
    while line := drain_line(deployment.status(), asked.what):
        if line != last:
            print(line, flush=True)
            last = line
        time.sleep(_LOOK_S)
    print(f"{asked.what} is drained: it may be stopped")
    return _DONE


def _why(asked: argparse.Namespace) -> int:
    print(_attach(asked).why(asked.what))
    return _DONE


def _logs(asked: argparse.Namespace) -> int:
    if asked.lines < 1:
        raise InvalidArgument("--lines must be 1 or more")
    deployment = _attach(asked)
    said = deployment.logs(asked.what, asked.lines)
    print(said, end="", flush=True)
    while asked.follow:
        time.sleep(_LOOK_S)
        now = deployment.logs(asked.what, asked.lines)
        print(_new_part(said, now), end="", flush=True)
        said = now
    return _DONE


def _new_part(before: str, now: str) -> str:
    """What has come at the end of a text whose beginning goes."""
    lines, known = now.splitlines(keepends=True), before.splitlines(keepends=True)
    for overlap in range(min(len(lines), len(known)), 0, -1):
        if known[-overlap:] == lines[:overlap]:
            return "".join(lines[overlap:])
    return now


_VERBS: Final[Mapping[str, Callable[[argparse.Namespace], int]]] = {
    "up": _up,
    "status": _status,
    "down": _down,
    "drain": _drain,
    "why": _why,
    "logs": _logs,
}
