"""`salver`: the server with friendly defaults, and a look into SavedModels."""

import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from salver import __version__
from salver.cli.logging_setup import set_up_logging
from salver.cli.starting import Leave, Run, leave_at_once, run_server
from salver.cli.versions import tensorflow_version
from salver.config.flags import Parsed, nearest_flag, parse, usage
from salver.config.grpc import is_native
from salver.config.options import Announcement, ServeMode, ServerOptions, warnings_of
from salver.errors import ServingError

__all__ = ["SERVE_DEFAULTS", "main"]

SERVE_DEFAULTS = ServerOptions(
    rest_api_port=8501,
    host="127.0.0.1",
    open_ports_before_load=True,
    enable_playground=True,
    xla_cpu_compilation_enabled=True,
)
"""What `salver serve` starts from, where it differs from the reference."""

_USAGE_ERROR = 2
_FAILURE = 1
_INTERRUPTED = 130  # as a shell sees a process that SIGINT ended

_HELP = """\
usage: salver serve PATH|NAME=PATH ... [--flag=value ...]   serve models over REST and gRPC
       salver demo                                      serve a model that comes with the package
       salver show PATH                                 print the signatures of a model
       salver publish SOURCE BASE_PATH                  put the next version of a model in place
       salver warmup make|show PATH ...                 write or print a version's warmup file
       salver replay LOG ... --to URL                   send a request log again, compare answers
       salver bench URL MODEL ...                       put load on a server and measure it
       salver --version
       salver serve --help                              list every flag

PATH is a model directory (with versions in numbered subdirectories), a SavedModel, or a directory
of such models; or a file, .keras, .h5 or .tflite.
"""
_SHOW_USAGE = "usage: salver show PATH [--keras_safe_mode=false and the other flags of Keras files]"
_HELP_WORDS = frozenset({"--help", "-h", "help"})


class _Misused(Exception):
    """The command line makes no sense; the text says why."""


def main(
    argv: Sequence[str] | None = None, run: Run = run_server, leave: Leave = leave_at_once
) -> int:
    """Run the command; returns its exit status: 0, 1 for a failure, 2 for a command misused.

    Args:
        argv: with the program's name; the process's own when None.
        run: starts the server.
        leave: ends the process when a model will not.
    """
    arguments = list(sys.argv if argv is None else argv)[1:]
    command, *rest = arguments or [""]
    try:
        return _dispatch(command, rest, run, leave)
    except _Misused as error:
        print(f"salver: {error}", file=sys.stderr)
        return _USAGE_ERROR
    except ServingError as error:
        _complain(error)
        return _FAILURE
    except KeyboardInterrupt:
        return _INTERRUPTED


def _complain(error: ServingError) -> None:
    print(f"salver: {error.message}", file=sys.stderr)
    if error.hint:
        print(f"  {error.hint}", file=sys.stderr)


def _dispatch(command: str, rest: Sequence[str], run: Run, leave: Leave) -> int:
    if command == "serve":
        return _serve(rest, run, leave)
    if command == "show":
        return _show(rest)
    if command == "warmup":
        from salver.cli.warmup import warmup

        return warmup(rest)
    if command == "replay":
        from salver.cli.replay import replay_command

        return replay_command(rest)
    if command == "bench":
        from salver.cli.bench import bench

        return bench(rest)
    if command == "demo":
        from salver.cli.demo import demo

        return demo(rest, SERVE_DEFAULTS, run, leave)
    if command == "publish":
        from salver.cli.publish import publish_command

        return publish_command(rest)
    if command in _HELP_WORDS:
        print(_HELP, end="")
        return 0
    if command == "--version":
        return _version()
    print(_HELP, end="", file=sys.stderr)
    raise _Misused(f"there is no command {command!r}" if command else "a command is missing")


def _version() -> int:
    print(f"salver {__version__}")
    print(f"TensorFlow Library: {tensorflow_version()}")
    return 0


def _show(rest: Sequence[str]) -> int:
    if _HELP_WORDS & set(rest[:1]):
        print(_SHOW_USAGE)
        return 0
    parsed = parse(rest, SERVE_DEFAULTS)
    if parsed.bad:
        raise _Misused(" ".join(map(str, parsed.bad)))
    paths = [argument for argument in parsed.leftovers if not argument.startswith("-")]
    if len(paths) != 1 or len(parsed.leftovers) != 1:
        raise _Misused(_SHOW_USAGE)

    from salver.backends.keras.options import keras_options
    from salver.cli.show import show

    text = show(Path(paths[0]), keras_options(parsed.options))
    try:
        print(text, flush=True)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _serve(rest: Sequence[str], run: Run, leave: Leave) -> int:
    parsed = parse(rest, SERVE_DEFAULTS)
    paths = [argument for argument in parsed.leftovers if argument != "--"]
    if _HELP_WORDS & set(paths):
        print(_HELP)
        print(usage("salver serve PATH|NAME=PATH ...", SERVE_DEFAULTS), end="")
        return 0
    if parsed.options.version:
        return _version()
    _check(parsed, paths)
    set_up_logging()
    for line in warnings_of(parsed.set_names):
        print(f"salver: {line}", file=sys.stderr)

    from salver.cli.locate import locate_models

    made: list[Path] = []
    mode = ServeMode(
        tolerate_failed_models=True,
        exit_on_bind_failure=True,
        tolerate_taken_grpc_port="port" not in parsed.set_names,
        announce=lambda announcement: _announce(announcement, made),
    )
    with ExitStack() as stack:

        def scratch() -> Path:
            made.append(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="salver-"))))
            return made[-1]

        models = locate_models(paths, scratch, _complain)
        has_ended = run(parsed.options, models or None, mode)
    if not has_ended:
        leave(0)
    return 0


def _check(parsed: Parsed, paths: Sequence[str]) -> None:
    if parsed.bad:
        raise _Misused(" ".join(map(str, parsed.bad)))
    for argument in paths:
        if argument.startswith("-"):
            meant = nearest_flag(argument)
            advice = f"did you mean {meant}?" if meant else "see salver serve --help"
            raise _Misused(f"there is no flag {argument}: {advice}")
    if paths and "model_name" in parsed.set_names:
        raise _Misused("name a model by NAME=PATH, not by --model_name")
    named = parsed.options.model_base_path or parsed.options.model_config_file
    if paths and named:
        raise _Misused("give paths, or --model_base_path or --model_config_file, not both")
    if not paths and not named:
        raise _Misused("which model? usage: salver serve PATH|NAME=PATH ... [--flag=value ...]")
    options = parsed.options
    if options.rest_api_port == options.port == 0 and not options.grpc_socket_path:
        raise _Misused("--rest_api_port=0 and --port=0 leave nothing to listen on")
    is_shared = options.enable_port_sharing and is_native(options)
    if options.rest_api_port == options.port != 0 and not is_shared:
        raise _Misused(f"--rest_api_port and --port must differ; both are {options.port}")


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
