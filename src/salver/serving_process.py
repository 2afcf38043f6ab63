"""Servers in child processes that end with their parent.

The child is the ordinary server. It holds the reading end of a pipe, whose other end nobody but the
parent has: when the parent ends, however it does, the child sees it.
"""

import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np

from salver.client import Client
from salver.client.answers import ModelMetadata
from salver.errors import DeadlineExceeded, FailedPrecondition, ServingError
from salver.vocabulary.dtypes import DataType, numpy_dtype
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import DEFAULT_SIGNATURE, TensorSpec

__all__ = ["ServerProcess", "check_version", "flag_arguments", "free_port"]

_PROGRAM: Final = (
    "import sys; sys.path.append({path!r});"
    "from salver.cli.attended import main; sys.exit(main(sys.argv))"
)
_LOOK_S: Final = 0.5  # between two looks whether the child is still there
_STOP_S: Final = 40.0  # the server gives requests 30 s to finish
_TAIL_LINES: Final = 20
_SAYS: Final = "salver: "  # before the line in which the command says why it ends
_CHECKED: Final = "checked"
_CHECK_TIMEOUT_S: Final = 600.0


class ServerProcess:
    """`salver serve` in a child process."""

    def __init__(self, arguments: Sequence[str], *, scratch: Path) -> None:
        """Start it; see `wait_ready`.

        Args:
            arguments: of `salver serve`.
            scratch: a directory of its own, for its log and whatever else: removed when it is
                stopped, and by the child itself when the parent has ended.
        """
        self._scratch = scratch
        self._log = scratch / "server.log"
        program = _PROGRAM.format(path=str(Path(__file__).parents[1]))
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter, our own program
                [sys.executable, "-c", program, str(scratch), "--verbose", *arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                # What interrupts a notebook, or a program in a terminal, is not meant for it.
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Of the child."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def logs(self, lines: int | None = None) -> str:
        """What it has printed: all, or its last lines."""
        try:
            text = self._log.read_text(errors="replace")
        except OSError:  # stopped
            return ""
        return text if lines is None else "".join(text.splitlines(keepends=True)[-lines:])

    def wait_ready(
        self, client: Client, model: str, *, version: int | None = None, timeout_s: float
    ) -> None:
        """Wait until a model answers.

        Raises:
            FailedPrecondition: the server has ended.
            DeadlineExceeded: it was not ready in time.
            ServingError: the model does not load, in the server's words.
        """
        until_s = time.monotonic() + timeout_s
        while (unready := self._unready(client, model, version)) is not None:
            if not self.is_running:
                ended = f"The server ended with status {self._process.returncode}"
                reason = self._reason()
                said = ended if reason is None else f"{ended}: {reason}"
                raise FailedPrecondition(said, hint=self._told())
            if time.monotonic() > until_s:
                unready.hint = self._told()
                raise unready

    def _unready(self, client: Client, model: str, version: int | None) -> ServingError | None:
        """Why a model does not answer yet; None when it does."""
        try:
            client.wait_ready(model, version=version, timeout_s=_LOOK_S)
        except DeadlineExceeded as error:
            return error
        except ServingError as error:
            error.hint = error.hint or self._told()
            raise
        return None

    def _reason(self) -> str | None:
        """Why it has ended, where it says so in a line."""
        lines = reversed(self.logs(_TAIL_LINES).splitlines())
        return next((line.removeprefix(_SAYS) for line in lines if line.startswith(_SAYS)), None)

    def _told(self) -> str | None:
        tail = self.logs(_TAIL_LINES).strip()
        return f"The log of the server ends with:\n{tail}" if tail else None

    def stop(self, *, is_quick: bool = False) -> None:
        """End it, when the requests in flight are answered, and remove its directory."""
        assert self._process.stdin is not None
        if self.is_running:
            self._process.send_signal(signal.SIGKILL if is_quick else signal.SIGTERM)
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with suppress(OSError):
            self._process.stdin.close()
        shutil.rmtree(self._scratch, ignore_errors=True)


def free_port(host: str) -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def flag_arguments(flags: Mapping[str, Any]) -> list[str]:
    """`{"enable_batching": True}` → `--enable_batching=true`."""
    return [
        f"--{name}={str(value).lower() if isinstance(value, bool) else value}"
        for name, value in flags.items()
    ]


# -- checking --------------------------------------------------------------------------------------


def check_version(base_path: Path, version: int, flags: Mapping[str, str]) -> None:
    """Have a server load the only version in a model directory, and answer a request of zeros.

    The request is made where the signature leaves no more open than the number of rows; warmup
    requests are made by the server as ever.

    Args:
        base_path: the directory.
        version: its number.
        flags: further flags of the server.

    Raises:
        ServingError: it does not load, or does not answer: in the server's words.
    """
    scratch = Path(tempfile.mkdtemp(prefix="salver-check-"))
    path = scratch / "grpc.sock"
    server = ServerProcess(
        [
            f"{_CHECKED}={base_path}",
            "--port=0",
            "--rest_api_port=0",
            f"--grpc_socket_path={path}",
            "--max_num_load_retries=0",
            "--flush_filesystem_caches=false",
            *flag_arguments(flags),
        ],
        scratch=scratch,
    )
    try:
        with Client(f"unix:{path}", timeout_s=_CHECK_TIMEOUT_S) as client:
            server.wait_ready(client, _CHECKED, version=version, timeout_s=_CHECK_TIMEOUT_S)
            feeds = _zeros(client.metadata(_CHECKED))
            if feeds is not None:
                client.predict(_CHECKED, feeds)
    finally:
        server.stop(is_quick=True)


def _zeros(metadata: ModelMetadata) -> dict[str, Array] | None:
    """One row for the default signature; None where what it takes is not known that well."""
    signature = metadata.signatures.get(DEFAULT_SIGNATURE)
    if signature is None:
        return None
    feeds = {}
    for alias, spec in signature.inputs.items():
        if alias in signature.defaults:
            continue
        array = _zero(spec)
        if array is None:
            return None
        feeds[alias] = array
    return feeds


def _zero(spec: TensorSpec) -> Array | None:
    shape = spec.shape
    if not shape or not spec.is_dense or -1 in shape[1:] or spec.dtype is DataType.STRING:
        return None
    try:
        dtype = numpy_dtype(spec.dtype)
    except TypeError:
        return None
    return np.zeros((1 if shape[0] < 0 else shape[0], *shape[1:]), dtype)
