"""From the command lines to the server, and the way out when a model will not end."""

import gc
import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import salver
from salver.cli.logging_setup import LogStyle, quieten_tensorflow, style_of
from salver.config.model_options import run_here
from salver.config.options import ServeMode, ServerOptions, schedulable_cpus, settings_of
from salver.instruments.own_environment import OWN_ENVIRONMENT

if TYPE_CHECKING:  # here and below: --help needs nothing of it
    from salver.config.models import ModelConfig

_THREADS_OF_NUMPY = "OPENBLAS_NUM_THREADS"

# What brings compiled modules. The dynamic loader has one lock: each of them that is imported while
# TensorFlow is opened would wait for the end of that. Imported first, they leave pure Python to be
# imported meanwhile: 0.28 s to the first prediction in place of 0.36.
_EXTENSIONS = (
    "numpy",
    "asyncio",
    "google._upb._message",
    "httptools",
    "orjson",
    "simdjson",
    "uvloop",
    "decimal",
    "tempfile",
    "google_crc32c",
    "mmap",
    "resource",
)

__all__ = ["Leave", "Run", "import_extensions", "leave_at_once", "run_server", "worker_command"]

Leave = Callable[[int], None]
"""Ends the process with a status."""


class Run(Protocol):
    """What serves."""

    def __call__(
        self, options: ServerOptions, models: "tuple[ModelConfig, ...] | None", mode: ServeMode
    ) -> bool:
        """Serve until told to stop.

        Args:
            options: the command line.
            mode: how the command wants it.
            models: what to serve when that was said without flags.

        Returns:
            False when a run of a model is still busy in some thread: the process must not wait.

        Raises:
            ServingError: the server cannot start.
        """
        ...


def run_server(
    options: ServerOptions, models: "tuple[ModelConfig, ...] | None", mode: ServeMode
) -> bool:
    """Serve what the options, or `models` in their place, name; a `Run`."""
    # numpy's linear algebra is not used here; its threads would take 40 ms of CPU at the start.
    if _THREADS_OF_NUMPY not in os.environ:
        os.environ[_THREADS_OF_NUMPY] = "1"
        os.environ[OWN_ENVIRONMENT] = _THREADS_OF_NUMPY
    style = style_of(options)
    if not options.verbose:
        quieten_tensorflow(os.environ)  # and so that of the workers
    gc.disable()  # imports make no garbage; the server enables it when it has started
    if options.workers != 1 and (options.workers or schedulable_cpus()) != 1:
        from salver.workers import supervisor

        gc.enable()
        return supervisor.run(options, models, mode=mode, command=worker_command(style))
    from salver.backends.selection import BY_FILES, prepare

    import_extensions()
    here = run_here(models or (), options.isolation)
    known = [(model.model_platform, model.base_path) for model in here]
    is_one = bool(options.model_base_path) and not options.model_config_file and not models
    if is_one and options.isolation != "process":
        known = [(BY_FILES, options.model_base_path)]
    settings = settings_of(options)
    if models and not here:
        settings["isolation"] = "process"
    preparing = prepare(known, settings)
    try:
        from salver.server import process  # while the library is opened

        return process.run(options, models, mode=mode)
    finally:
        preparing.join()  # a process that ends while a library is opened may hang


def import_extensions() -> None:
    """Import what brings compiled modules; see `_EXTENSIONS`."""
    for name in _EXTENSIONS:
        with suppress(ImportError):  # told of by whoever needs it
            import_module(name)


def worker_command(style: LogStyle | None = None) -> list[str]:
    """What runs a worker, wherever this package was imported from.

    Args:
        style: how it logs; as the environment says when None.
    """
    path = str(Path(salver.__file__).parents[1])
    more = ""
    if style is not None:
        more = f", log_level={style.level}, is_plain={style.is_plain}"
        more += ", is_json=True" if style.is_json else ""
    program = (
        f"import sys; sys.path.append({path!r});"
        f"from salver.cli.worker import main; sys.exit(main(sys.argv{more}))"
    )
    return [sys.executable, "-c", program]


def leave_at_once(status: int) -> None:
    """End the process without waiting for its threads; a `Leave`."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
