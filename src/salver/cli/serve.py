"""`salver serve`: the server with friendly defaults."""

import logging
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from salver.cli.backend_flags import all_backend_flags, find_backend_flag
from salver.cli.cloud_models import cloud_models
from salver.cli.commands import Misused
from salver.cli.logging_setup import set_up_logging, style_from
from salver.cli.printing import print_error
from salver.cli.progress import ProgressLine
from salver.cli.serve_help import serve_help
from salver.cli.starting import Leave, Run, leave_at_once, run_server
from salver.cli.versions import print_version
from salver.config.flag_sources import parse_all, source_of
from salver.config.flags import COMMAND_LINE, Parsed, nearest_flag, parse, usage
from salver.config.grpc import is_native
from salver.config.options import Announcement, ServeMode, ServerOptions, warnings_of
from salver.instruments.notices import NOTICE
from salver.instruments.served_links import PREFIX

__all__ = ["SERVE_DEFAULTS", "check_arguments", "serve"]

_log = logging.getLogger(__name__)

SERVE_DEFAULTS: Final = ServerOptions(
    rest_api_port=8501,
    host="127.0.0.1",
    open_ports_before_load=True,
    enable_playground=True,
    allowed_hosts="localhost",
    allowed_base_paths="",
    xla_cpu_compilation_enabled=True,
    verbose=False,
)
"""What `salver serve` starts from, where it differs from the reference."""

_USAGE: Final = "salver serve PATH|NAME=PATH ... [--flag=value ...]"
_HELP_WORDS: Final = frozenset({"--help", "-h", "help"})
_ALL_FLAGS: Final = frozenset({"--help-all", "--help_all"})


def serve(
    rest: Sequence[str],
    run: Run = run_server,
    leave: Leave = leave_at_once,
    environment: Mapping[str, str] | None = None,
) -> int:
    """Run `salver serve ARGUMENTS`; returns its exit status.

    Args:
        rest: the arguments.
        run: starts the server.
        leave: ends the process when a model will not.
        environment: has flags too; the process's when None.

    Raises:
        Misused: the arguments make no sense.
        ServingError: the server cannot start.
    """
    words = parse(rest, SERVE_DEFAULTS, find_backend_flag).leftovers
    paths = [word for word in words if word != "--"]
    if _ALL_FLAGS & set(paths):  # whatever a file or a variable says that is wrong
        print(usage(_USAGE, SERVE_DEFAULTS, all_backend_flags()), end="")
        return 0
    if _HELP_WORDS & set(paths):
        print(serve_help(_USAGE, SERVE_DEFAULTS), end="")
        return 0
    environment = os.environ if environment is None else environment
    parsed = parse_all(rest, SERVE_DEFAULTS, find_backend_flag, environment)
    if parsed.options.version:
        print_version()
        return 0
    typed, paths = paths, paths or cloud_models(parsed.options, environment)
    check_arguments(parsed, paths)
    set_up_logging(
        style=style_from(
            environment,
            verbose=parsed.options.verbose,
            log_format=parsed.options.log_format,
        )
    )
    for line in warnings_of(parsed.set_names):
        print(f"salver: {line}", file=sys.stderr)

    from salver.cli.locate import local_paths, locate_models
    from salver.cli.models_below import models_below

    made: list[Path] = []
    progress = ProgressLine()

    def announce(announcement: Announcement) -> None:
        progress.clear()
        if parsed.options.log_format == "json":  # for programs, which may read both outputs
            _log.log(NOTICE, "Serving on %s", announcement.rest_url or announcement.grpc_address)
        else:
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

        wait_s = parsed.options.remote_stale_wait_seconds
        below = partial(models_below, options=parsed.options, answer_s=wait_s)
        models = locate_models(paths, scratch, print_error, below)
        # An empty list, as of a variable that is not set, must not switch the check off.
        hosts = parsed.options.allowed_hosts or SERVE_DEFAULTS.allowed_hosts
        trusted = (*local_paths(typed), *map(str, made)) if typed else ()
        options = replace(parsed.options, allowed_hosts=hosts, typed_paths=trusted)
        has_ended = run(options, models or None, mode)
    if not has_ended:
        leave(0)
    return 0


def check_arguments(parsed: Parsed, paths: Sequence[str]) -> None:
    """Refuse a command line that makes no sense.

    Raises:
        Misused: it does not.
    """
    if parsed.bad:
        raise Misused(" ".join(map(str, parsed.bad)))
    for argument in paths:
        if argument.startswith("-"):
            meant = nearest_flag(argument)
            advice = f"did you mean {meant}?" if meant else "see salver serve --help"
            raise Misused(f"there is no flag {argument}: {advice}")
    if paths and "model_name" in parsed.set_names:
        raise Misused(f"name a model by NAME=PATH, not by {_shown(parsed, 'model_name')}")
    options = parsed.options
    named = options.model_base_path or options.model_config_file
    if paths and named:
        raise Misused(
            f"give paths, or {_shown(parsed, 'model_base_path')} or "
            f"{_shown(parsed, 'model_config_file')}, not both"
        )
    if not paths and not named:
        raise Misused(f"which model? usage: {_USAGE}")
    if options.rest_api_port == options.port == 0 and not options.grpc_socket_path:
        raise Misused("--rest_api_port=0 and --port=0 leave nothing to listen on")
    is_shared = options.enable_port_sharing and is_native(options)
    if options.rest_api_port == options.port != 0 and not is_shared:
        raise Misused(f"--rest_api_port and --port must differ; both are {options.port}")


def _shown(parsed: Parsed, name: str) -> str:
    """A flag as a person finds it who has set it elsewhere than on the command line."""
    place = source_of(parsed, name)
    return f"--{name}" if place in (None, COMMAND_LINE) else f"--{name} ({place})"


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
