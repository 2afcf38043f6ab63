"""What a child does: loads one model by its backend, says what it is, and runs it until the end."""

import faulthandler
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final, cast

from salver.backends.options import from_plain
from salver.backends.protocol import Backend, LoadStage
from salver.backends.registry import Backends
from salver.children.description import arrays_of
from salver.children.lines import ChildHandler
from salver.children.running import Runs
from salver.children.wire import Kind, Link
from salver.errors import FailedPrecondition, Internal, ServingError, out_of_memory
from salver.instruments.threads import call_process
from salver.vocabulary.servable import ServableId

__all__ = ["run"]

_log = logging.getLogger(__name__)

_IGNORED: Final = (signal.SIGINT, signal.SIGTERM)


def run(data: int, control: int, label: str) -> None:
    """Be a child: returns when the server wants it no more.

    Args:
        data: descriptor of the socket for loads and runs.
        control: of the one for what cannot wait behind a run.
        label: what the model is called in logs.
    """
    _prepare(label)
    with socket.socket(fileno=data) as of_data, socket.socket(fileno=control) as of_control:
        link, orders = Link(of_data), Link(of_control)
        message = link.receive()
        if message is None:
            return
        model = _loaded(message.value(), link)
        if model is None:
            return
        runs, backend = model
        runs.serve(link, orders)
        runs.model.close()
        backend.stop()
    # What the model has started in threads of its own is over with it.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _prepare(label: str) -> None:
    call_process("salver-child")
    faulthandler.enable()
    for number in _IGNORED:  # they are meant for the server, which ends its children in order
        signal.signal(number, lambda *_: None)
    for stream in (sys.stdout, sys.stderr):
        cast("Any", stream).reconfigure(line_buffering=True, errors="backslashreplace")
    logging.basicConfig(level=logging.INFO, handlers=[ChildHandler()])
    del label


def _loaded(order: Mapping[str, Any], link: Link) -> "tuple[Runs, Backend] | None":
    """Load what the server orders, and say so; None where it failed, which is said too."""
    logging.getLogger().setLevel(order["log_level"])
    try:
        backend = _backend(order["backend"], order["class"])
        options = from_plain(backend.options, order["options"])
        model = backend.load(Path(order["directory"]), options, _stage(order, link))
    except ServingError as error:
        link.send_error(error)
        return None
    except MemoryError as error:
        link.send_error(out_of_memory(error))
        return None
    except Exception as error:  # noqa: BLE001 - handed to the server
        _log.error("The model cannot be loaded", exc_info=error)
        link.send_error(Internal(f"{type(error).__name__}: {error}"))
        return None
    runs = Runs(model, backend.capabilities)
    try:
        said = arrays_of(model, starts_runs=runs.starts_runs)
    except Exception as error:  # noqa: BLE001 - handed to the server
        _log.error("The model cannot be described", exc_info=error)
        link.send_error(Internal(f"The model cannot be described: {error}"))
        return None
    gc.collect()
    gc.freeze()
    link.send(Kind.READY, arrays=said)
    return runs, backend


def _backend(name: str, path: str) -> Backend:
    """A backend by its name, or by `module:Class` where no package says the name."""
    backends = Backends()
    if name in backends:
        return backends[name]
    module, _, attribute = path.partition(":")
    try:
        made: Callable[[], Backend] = getattr(import_module(module), attribute)
        return made()
    except (ImportError, AttributeError) as error:
        raise FailedPrecondition(
            f"The backend {name} is not installed for {sys.executable}: {error}",
            hint="A model with a python_executable needs the package of its backend there.",
        ) from error


def _stage(order: Mapping[str, Any], link: Link) -> LoadStage:
    def progress(what: str, part: float | None) -> None:
        link.send_text(Kind.PROGRESS, [what, part])

    def trusts(path: Path) -> bool:
        link.send_text(Kind.ASK, str(path))
        message = link.receive()
        return message is not None and message.kind is Kind.TOLD and message.value() is True

    is_serving = bool(order["is_serving"])
    return LoadStage(
        id=ServableId(order["name"], order["version"]),
        is_serving=lambda: is_serving,
        progress=progress,
        trusts=trusts,
    )
