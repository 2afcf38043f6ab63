"""One conversion of a Keras file to a SavedModel, in a child process."""

import importlib.util
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from salver.backends.keras.explanations import ended, explain, took_too_long
from salver.backends.keras.options import KerasOptions
from salver.errors import NotInstalled, PermissionDenied, ServingError, Unavailable
from salver.instruments.files import error_of_os
from salver.instruments.installing import install_command
from salver.instruments.notices import NOTICE

__all__ = ["CHILD", "STOPPING", "convert", "require_keras"]

_log = logging.getLogger(__name__)

STOPPING: Final = "The server is stopping"

CHILD: Final = Path(__file__).with_name("child.py")
"""The script that converts."""

_POLL_S: Final = 0.05
_LAST_BYTES: Final = 4096
_LAST_LINES: Final = 5
_LONGEST_LINE: Final = 200
_ENVIRONMENT: Final = {
    "KERAS_BACKEND": "tensorflow",  # whatever the user's keras.json says
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "CUDA_VISIBLE_DEVICES": "-1",  # the server has the GPU
    "PYTHONUNBUFFERED": "1",
}


def require_keras() -> None:
    """See that the child will find what it needs.

    Raises:
        NotInstalled: Keras or TensorFlow is missing; the text says what to install.
    """
    missing = [name for name in ("keras", "tensorflow") if importlib.util.find_spec(name) is None]
    if missing:
        raise NotInstalled(
            "Serving a Keras file needs TensorFlow and Keras 3; not installed here: "
            f"{' and '.join(missing)}. Install them with: {install_command('tensorflow')}"
        )


def convert(
    source: Path,
    target: Path,
    options: KerasOptions,
    *,
    stopping: threading.Event,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Write the SavedModel of a Keras file, in a child process that ends before this does.

    Args:
        source: the file.
        target: a directory that is not there yet; whoever calls removes it when this fails.
        options: how.
        stopping: ends the child when it is set.
        clock: seconds.

    Raises:
        Unavailable: `stopping` was set.
        ServingError: whatever kept the file from being converted, with what to do about it.
    """
    require_keras()
    text = "Converting %s to a SavedModel; this takes seconds, and is done once"
    _log.log(NOTICE, text, _named(source))
    began_s = clock()
    with tempfile.TemporaryDirectory(prefix="salver-keras-") as scratch:
        output, report = Path(scratch, "output"), Path(scratch, "report.json")
        request = {
            "source": os.path.abspath(source),
            "target": os.path.abspath(target),
            "report": str(report),
            "safe_mode": options.safe_mode,
            "custom_objects": [_absolute(module) for module in options.custom_objects],
        }
        with output.open("wb") as log:
            child = _start(json.dumps(request), log.fileno())
        try:
            is_in_time = _wait(child, stopping, began_s + options.timeout_s, clock)
        finally:
            _end(child)
        last_lines = _last_lines(output)
        error = (
            _error(_named(source), report, child.returncode, last_lines)
            if is_in_time
            else took_too_long(_named(source), options.timeout_s)
        )
    if error is not None:
        if not isinstance(error, PermissionDenied):  # safe mode's own error says all there is
            _log.warning("The conversion of %s said at last: %s", _named(source), last_lines)
        raise error
    _log.log(NOTICE, "Converted %s in %.1f s", _named(source), clock() - began_s)


def _named(source: Path) -> str:
    """The path that was given, where `source` is a link that `salver serve` made for it."""
    if source.is_symlink() and (target := source.readlink()).is_absolute():
        return str(target)
    return str(source)


def _absolute(module: str) -> str:
    return os.path.abspath(module) if module.endswith(".py") else module


def _start(request: str, log: int) -> "subprocess.Popen[bytes]":
    """Start the child: it inherits no file or socket but its log, and hears no Ctrl-C of ours."""
    try:
        return subprocess.Popen(  # noqa: S603 - our own script
            [sys.executable, str(CHILD), request],
            stdin=subprocess.PIPE,  # never written; that it closes tells the child of our end
            stdout=log,
            stderr=log,
            env={**os.environ, **_ENVIRONMENT},
            start_new_session=True,
            close_fds=True,
        )
    except OSError as error:
        raise error_of_os(sys.executable, error) from error


def _wait(
    child: "subprocess.Popen[bytes]",
    stopping: threading.Event,
    until_s: float,
    clock: Callable[[], float],
) -> bool:
    """Wait for the child; False when its time was over before."""
    while child.poll() is None:
        if stopping.wait(_POLL_S):
            raise Unavailable(STOPPING)
        if clock() >= until_s:
            return False
    return True


def _end(child: "subprocess.Popen[bytes]") -> None:
    """End the child and what it may have started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    assert child.stdin is not None
    child.stdin.close()


def _error(file: str, report: Path, status: int, last_lines: str) -> ServingError | None:
    """What the child reports; None when it has done its work."""
    try:
        told = json.loads(report.read_text())
    except (OSError, ValueError):
        return ended(file, status, last_lines)
    if told.pop("status", "") == "done":
        return None
    return explain(
        file,
        step=told["step"],
        kind=told["type"],
        message=told["message"],
        origin=told.get("origin", ""),
    )


def _last_lines(output: Path) -> str:
    with output.open("rb") as file:
        file.seek(max(0, output.stat().st_size - _LAST_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
    said = [line.strip()[:_LONGEST_LINE] for line in lines if line.strip(" ^")]
    return " | ".join(said[-_LAST_LINES:])
