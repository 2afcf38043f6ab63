"""`salver demo`: a model of the package, served at once, and replaced while it serves."""

import argparse
import itertools
import json
import os
import shlex
import signal
import socket
import sys
import tempfile
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from salver import __version__
from salver.cli.logging_setup import set_up_logging, style_of
from salver.cli.starting import Leave, Run
from salver.config.flags import Parsed, nearest_flag, parse
from salver.config.models import TENSORFLOW_PLATFORM, ModelConfig
from salver.config.options import Announcement, ServedModel, ServeMode, ServerOptions
from salver.demo.models import (
    DIGITS,
    Format,
    digit_examples,
    put_digits,
    usable_format,
    write_models,
)
from salver.errors import DeadlineExceeded, FailedPrecondition, ServingError
from salver.vocabulary.servable import Latest

if TYPE_CHECKING:
    from salver.client import Client

__all__ = ["demo", "make_parser"]

_SECOND_AFTER_S: Final = 20.0
_ANSWERS_S: Final = 120.0  # for the second version to come, on a machine with much else to do
_PAUSE_S: Final = 0.02
_USAGE_ERROR: Final = 2

_DESCRIPTION = """\
Serve a model that reads handwritten digits: it comes with the package, nothing is downloaded or
trained. A page on which to draw opens; after a while a second version takes its place.
"""
_EPILOG = """\
Flags of `salver serve`, such as --rest_api_port=9000 or --workers=2, may be given too.
"""


def demo(
    arguments: Sequence[str],
    defaults: ServerOptions,
    run: Run,
    leave: Leave,
    *,
    show: Callable[[str], object] = webbrowser.open,
) -> int:
    """Run `salver demo ARGUMENTS`; returns its exit status.

    Args:
        arguments: behind the command.
        defaults: of the server's flags.
        run: starts the server.
        leave: ends the process when a model will not.
        show: opens an address in a browser.

    Raises:
        ServingError: nothing is installed that could run the model, or the server cannot start.
    """
    try:
        asked, rest = make_parser().parse_known_args(arguments)
    except SystemExit as end:  # it has said all there is to say
        return cast("int", end.code)
    parsed = parse(rest, defaults)
    wrong = [*map(str, parsed.bad), *map(_unknown, parsed.leftovers), *_unfit(parsed)]
    if wrong:
        print(f"salver demo: {wrong[0]}", file=sys.stderr)
        return _USAGE_ERROR
    if asked.write_models is not None:
        return _write(Path(asked.write_models))

    set_up_logging(style=style_of(replace(parsed.options, verbose=False)))
    form = usable_format()
    options = _with_ports(parsed.options, parsed.set_names)
    options = replace(options, allowed_hosts=options.allowed_hosts or defaults.allowed_hosts)
    with tempfile.TemporaryDirectory(prefix="salver-demo-") as scratch:
        base_path = Path(scratch, DIGITS)
        base_path.mkdir()
        put_digits(base_path, 1, form)
        walk = _Walk(base_path, form, is_once=asked.once, show=show)
        mode = ServeMode(
            tolerate_failed_models=True,
            exit_on_bind_failure=True,
            tolerate_taken_grpc_port="port" not in parsed.set_names,
            announce=walk.announce,
        )
        model = ModelConfig(
            name=DIGITS,
            base_path=str(base_path),
            model_platform=TENSORFLOW_PLATFORM,
            version_policy=Latest(2),  # so that the two can be compared
        )
        print(f"Salver {__version__}: starting the demo …", flush=True)
        has_ended = run(options, (model,), mode)
        status = walk.end()
    if not has_ended:
        leave(status)
    return status


def make_parser() -> argparse.ArgumentParser:
    """What the arguments are."""
    parser = argparse.ArgumentParser(
        prog="salver demo", description=_DESCRIPTION, epilog=_EPILOG, allow_abbrev=False
    )
    parser.add_argument(
        "--write_models",
        metavar="DIR",
        help="write this model, half_plus_two and its relatives there, and end",
    )
    parser.add_argument(
        "--once", action="store_true", help="bring the second version at once, ask both, and end"
    )
    return parser


def _unknown(argument: str) -> str:
    meant = nearest_flag(argument)
    return f"there is no {argument}" + (f": did you mean {meant}?" if meant else "")


def _unfit(parsed: Parsed) -> Iterator[str]:
    """What makes sense of a server, and not of this one."""
    for name in ("model_name", "model_base_path", "model_config_file"):
        if name in parsed.set_names:
            yield f"--{name}: the demo has a model of its own; salver serve takes others"
    if parsed.options.rest_api_port == 0:
        yield "--rest_api_port=0 leaves nowhere to draw"


def _write(directory: Path) -> int:
    try:
        form = usable_format()
    except FailedPrecondition:  # written here, and served elsewhere
        form = Format.SAVED_MODEL
    written = write_models(directory, form)
    width = max(len(each.name) for each in written)
    for each in written:
        there = "" if each.is_new else " (was there already)"
        print(f"{directory / each.name}{' ' * (width - len(each.name))}  {each.words}{there}")
    print(f"Serve them: salver serve {shlex.quote(str(directory))}")
    return 0


def _with_ports(options: ServerOptions, set_names: Sequence[str]) -> ServerOptions:
    """The usual REST port, or, where that is taken, a free one."""
    if "rest_api_port" in set_names or _is_free(options.host, options.rest_api_port):
        return options
    with _socket(options.host) as probe:
        probe.bind((options.host, 0))
        return replace(options, rest_api_port=probe.getsockname()[1])


def _is_free(host: str, port: int) -> bool:
    with _socket(host) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _socket(host: str) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)


# -- while it serves -------------------------------------------------------------------------------


class _Walk:
    """What is shown, from the server's start on."""

    def __init__(
        self, base_path: Path, form: Format, *, is_once: bool, show: Callable[[str], object]
    ) -> None:
        self._base_path = base_path
        self._form = form
        self._is_once = is_once
        self._show = show
        self._is_over = threading.Event()
        self._thread: threading.Thread | None = None
        self._has_failed = False

    def announce(self, announcement: Announcement) -> None:
        """The server answers: say where, and go on in a thread."""
        (model,) = announcement.models
        if not model.versions:
            self._fail(f"the model does not load: {model.error or 'it takes too long'}")
            return
        print(_banner(announcement, model, self._base_path, self._is_once), flush=True)
        if not self._is_once and _has_screen(os.environ, sys.platform):
            self._show(_page(announcement))
        self._thread = threading.Thread(
            target=self._go_on, args=(announcement.rest_url,), name="salver-demo", daemon=True
        )
        self._thread.start()

    def end(self) -> int:
        """The server has stopped; returns the exit status."""
        self._is_over.set()
        if self._thread is not None:
            self._thread.join(1.0)
        if not self._is_once:
            print("\nStopped.", flush=True)
        return int(self._has_failed)

    def _go_on(self, url: str) -> None:
        try:
            self._bring_the_second(url)
        except ServingError as error:
            if not self._is_over.is_set():
                self._fail(error.message)
        if self._is_once:
            self._stop_server()

    def _bring_the_second(self, url: str) -> None:
        from salver.client import Client  # a server needs no client, but for this

        if self._is_over.wait(0.0 if self._is_once else _SECOND_AFTER_S):
            return
        title, picture = digit_examples()[-1]
        with Client(url) as client:
            before = _answer(client, picture, 1)
            put_digits(self._base_path, 2, self._form)
            count = self._ask_until(client, 2, picture)
            after = _answer(client, picture, 2)
        print(
            f"\nVersion 2 has taken over: {count} requests meanwhile, and each was answered.\n"
            f"  Of {title}, version 1 says: {before}\n"
            f"  {' ' * len(f'Of {title},')} version 2 says: {after}",
            flush=True,
        )
        if not self._is_once:
            print("On the page, “Compare with” shows both answers. Ctrl-C ends the demo.")

    def _ask_until(self, client: "Client", version: int, picture: Any) -> int:
        """Ask the newest version again and again; returns how often."""
        until_s = time.monotonic() + _ANSWERS_S
        for count in itertools.count(1):
            if client.predict(DIGITS, [picture]).version == version or self._is_over.wait(_PAUSE_S):
                return count
            if time.monotonic() > until_s:
                break
        raise DeadlineExceeded(f"version {version} did not come in {_ANSWERS_S:g} s")

    def _fail(self, words: str) -> None:
        print(f"salver demo: {words}", file=sys.stderr, flush=True)
        self._has_failed = True
        self._stop_server()

    @staticmethod
    def _stop_server() -> None:
        os.kill(os.getpid(), signal.SIGTERM)


def _banner(announcement: Announcement, model: ServedModel, base_path: Path, is_once: bool) -> str:
    _, picture = digit_examples()[0]
    body = json.dumps({"instances": [picture]}, separators=(",", ":"))
    url = f"{announcement.rest_url}/v1/models/{model.name}:predict"
    lines = [
        "",
        "A model that reads handwritten digits is served.",
        "",
        f"  Draw one:  {_page(announcement)}",
        f"  Or ask:    curl -d '{body}' {shlex.quote(url)}",
        f"  Its files: {base_path}",
    ]
    if announcement.grpc_address:
        lines.append(f"  gRPC:      {announcement.grpc_address}")
    if not is_once:
        soon = f"{_SECOND_AFTER_S:g} s"
        lines += ["", f"In {soon} a second, better version takes its place. Ctrl-C ends it."]
    return "\n".join(lines)


def _page(announcement: Announcement) -> str:
    return f"{announcement.playground_url or announcement.rest_url + '/'}#/model/{DIGITS}"


def _answer(client: "Client", picture: Any, version: int) -> str:
    """What a version says of a picture."""
    shares = client.predict(DIGITS, [picture], version=version)["probabilities"][0]
    best = int(shares.argmax())
    return f"{best}, {shares[best]:.0%}"


def _has_screen(environment: Mapping[str, str], platform: str) -> bool:
    """Whether somebody sits before it: a browser in a terminal would take that over."""
    if not sys.stdout.isatty() or "SSH_CONNECTION" in environment:
        return False
    return platform == "darwin" or bool({"DISPLAY", "WAYLAND_DISPLAY"} & environment.keys())
