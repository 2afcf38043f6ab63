"""`salver serve`: the server with friendly defaults."""

import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final

from salver.cli.commands import Misused
from salver.cli.logging_setup import set_up_logging, style_from
from salver.cli.printing import print_error
from salver.cli.progress import ProgressLine
from salver.cli.serve_help import serve_help
from salver.cli.starting import Leave, Run, leave_at_once, run_server
from salver.cli.versions import print_version
from salver.config.flags import Parsed, nearest_flag, parse, usage
from salver.config.grpc import is_native
from salver.config.options import Announcement, ServeMode, ServerOptions, warnings_of
from salver.served_links import PREFIX

__all__ = ["SERVE_DEFAULTS", "serve"]

SERVE_DEFAULTS: Final = ServerOptions(
    rest_api_port=8501,
    host="127.0.0.1",
    open_ports_before_load=True,
    enable_playground=True,
    allowed_hosts="localhost",
    xla_cpu_compilation_enabled=True,
    verbose=False,
)
"""What `salver serve` starts from, where it differs from the reference."""

_USAGE: Final = "salver serve PATH|NAME=PATH ... [--flag=value ...]"
_HELP_WORDS: Final = frozenset({"--help", "-h", "help"})
_ALL_FLAGS: Final = frozenset({"--help-all", "--help_all"})


def serve(rest: Sequence[str], run: Run = run_server, leave: Leave = leave_at_once) -> int:
    """Run `salver serve ARGUMENTS`; returns its exit status.

    Args:
        rest: the arguments.
        run: starts the server.
        leave: ends the process when a model will not.

    Raises:
        Misused: the arguments make no sense.
        ServingError: the server cannot start.
    """
    parsed = parse(rest, SERVE_DEFAULTS)
    paths = [argument for argument in parsed.leftovers if argument != "--"]
    if _ALL_FLAGS & set(paths):
        print(usage(_USAGE, SERVE_DEFAULTS), end="")
        return 0
    if _HELP_WORDS & set(paths):
        print(serve_help(_USAGE, SERVE_DEFAULTS), end="")
        return 0
    if parsed.options.version:
        print_version()
        return 0
    _check(parsed, paths)
    set_up_logging(style=style_from(os.environ, verbose=parsed.options.verbose))
    for line in warnings_of(parsed.set_names):
        print(f"salver: {line}", file=sys.stderr)

    from salver.cli.locate import locate_models

    made: list[Path] = []
    progress = ProgressLine()

    def announce(announcement: Announcement) -> None:
        progress.clear()
        _announce(announcement, made)

    mode = ServeMode(
        tolerate_failed_models=True,
        exit_on_bind_failure=True,
        tolerate_taken_grpc_port="port" not in parsed.set_names,
        announce=announce,
        progress=progress.show,
    )
    with ExitStack() as stack:
        stack.callback(progress.clear)

        def scratch() -> Path:
            made.append(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=PREFIX))))
            return made[-1]

        models = locate_models(paths, scratch, print_error)
        # An empty list, as of a variable that is not set, must not switch the check off.
        hosts = parsed.options.allowed_hosts or SERVE_DEFAULTS.allowed_hosts
        has_ended = run(replace(parsed.options, allowed_hosts=hosts), models or None, mode)
    if not has_ended:
        leave(0)
    return 0


def _check(parsed: Parsed, paths: Sequence[str]) -> None:
    if parsed.bad:
        raise Misused(" ".join(map(str, parsed.bad)))
    for argument in paths:
        if argument.startswith("-"):
            meant = nearest_flag(argument)
            advice = f"did you mean {meant}?" if meant else "see salver serve --help"
            raise Misused(f"there is no flag {argument}: {advice}")
    if paths and "model_name" in parsed.set_names:
        raise Misused("name a model by NAME=PATH, not by --model_name")
    named = parsed.options.model_base_path or parsed.options.model_config_file
    if paths and named:
        raise Misused("give paths, or --model_base_path or --model_config_file, not both")
    if not paths and not named:
        raise Misused(f"which model? usage: {_USAGE}")
    options = parsed.options
    if options.rest_api_port == options.port == 0 and not options.grpc_socket_path:
        raise Misused("--rest_api_port=0 and --port=0 leave nothing to listen on")
    is_shared = options.enable_port_sharing and is_native(options)
    if options.rest_api_port == options.port != 0 and not is_shared:
        raise Misused(f"--rest_api_port and --port must differ; both are {options.port}")


def _announce(announcement: Announcement, made: Sequence[Path]) -> None:
    """Print the banner, with the paths that were given in place of directories made for them."""
    from salver.cli.banner import banner
    from salver.cli.locate import given_path

    given = {str(path): str(given_path(path)) for path in made}
    models = tuple(
        replace(model, base_path=given.get(model.base_path, model.base_path))
        for model in announcement.models
    )
    print(f"\n{banner(replace(announcement, models=models))}\n", flush=True)
