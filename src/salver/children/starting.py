"""Starts the processes of children: fresh programs that inherit four descriptors and no more."""

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from salver.errors import FailedPrecondition, ServingError, Unavailable
from salver.instruments.own_environment import OWN_ENVIRONMENT

__all__ = ["Spawn", "Spawned", "Starter", "environment_of"]

_BOOT: Final = Path(__file__).with_name("boot.py")
_PACKET_ROOM: Final = 1 << 18
_PIPE_ROOM: Final = 1 << 20
_PIPE_SIZE: Final = 1031  # F_SETPIPE_SZ
_UMASK: Final = 0o077
_FLAGS_PREFIX: Final = "SALVER_FLAG_"
_OF_PYTHON: Final = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
_THREAD_COUNTS: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "RAYON_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)


@dataclass(frozen=True, slots=True)
class Spawn:
    """Which process is to be started.

    Attributes:
        label: what it is called in the list of processes.
        python_executable: empty for the Python of the server.
        cpus: processors that it may run on; none for all of the server's.
        environment: see `environment_of`.
    """

    label: str
    python_executable: str
    cpus: Sequence[int]
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Spawned:
    """A process that was started. Whoever has it closes the rest.

    Attributes:
        process: reaped by whoever has this.
        pidfd: becomes readable when it ends.
        data: the socket for loads and runs.
        control: the socket for what cannot wait behind a run.
        output: what it writes to its standard output and error.
        lifeline: a pipe to which nothing is written. When it closes, the system kills the process
            group of the child: also what the child has started, if this process ends first.
    """

    process: "subprocess.Popen[bytes]"
    pidfd: int
    data: socket.socket
    control: socket.socket
    output: int
    lifeline: int

    def kill(self) -> None:
        """End it, and what it has started in its process group. Not after it was reaped."""
        with suppress(OSError):
            os.killpg(self.process.pid, signal.SIGKILL)
        with suppress(OSError):
            self.process.kill()

    def close(self) -> None:
        """Close all but the process, which must have ended."""
        self.data.close()
        self.control.close()
        for descriptor in (self.pidfd, self.output, self.lifeline):
            with suppress(OSError):
                os.close(descriptor)


def environment_of(python_executable: str, num_cpus: int) -> Mapping[str, str]:
    """The environment of a child: that of the server, but for what is only the server's.

    Args:
        python_executable: with one, nothing that would lead it to the server's packages.
        num_cpus: so many threads for libraries that compute; 0 leaves that to them.
    """
    left_out = {*(_OF_PYTHON if python_executable else ()), OWN_ENVIRONMENT}
    left_out.update(filter(None, os.environ.get(OWN_ENVIRONMENT, "").split(",")))
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_FLAGS_PREFIX) and name not in left_out
    }
    if num_cpus:
        environment.update(dict.fromkeys(_THREAD_COUNTS, str(num_cpus)))
    return environment


class Starter:
    """Starts processes in one thread that lives as long as they may.

    The system ends a child when the *thread* that started it ends, so no load thread may.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._orders: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def start(self, spawn: Spawn) -> "Future[Spawned]":
        """Start a process, soon; fails with a `ServingError`. Called from any thread."""
        future: Future[Spawned] = Future()

        def work() -> None:
            try:
                spawned = _started(spawn)
            except BaseException as error:  # noqa: BLE001 - handed to who waits
                future.set_exception(error)
            else:
                future.set_result(spawned)

        with self._lock:
            if self._is_closed:
                future.set_exception(Unavailable("The server is stopping"))
                return future
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, name="salver-children", daemon=True
                )
                try:
                    self._thread.start()
                except RuntimeError as error:
                    self._thread = None
                    future.set_exception(Unavailable(f"There is no thread to be had: {error}"))
                    return future
            self._orders.put(work)
        return future

    def close(self) -> None:
        """Start none any more, and end those that there are with the thread."""
        with self._lock:
            self._is_closed = True
            thread = self._thread
            self._orders.put(None)
        if thread is not None:
            thread.join()

    def _work(self) -> None:
        while (order := self._orders.get()) is not None:
            order()
            del order


def _started(spawn: Spawn) -> Spawned:
    pairs: list[socket.socket] = []
    descriptors: list[int] = []
    try:
        for _ in range(2):
            pairs += socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for each in pairs:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _PACKET_ROOM)
        for _ in range(2):
            descriptors += os.pipe2(os.O_CLOEXEC)
        output, written, lifeline, held = descriptors
        process = _process(spawn, (pairs[1].fileno(), pairs[3].fileno(), lifeline), written)
    except ServingError:
        _close_all(pairs, descriptors)
        raise
    except OSError as error:
        _close_all(pairs, descriptors)
        raise Unavailable(f"The system gives no process for {spawn.label}: {error}") from error
    pairs[1].close()
    pairs[3].close()
    os.close(written)
    os.close(lifeline)
    try:
        pidfd = os.pidfd_open(process.pid)
    except OSError as error:
        process.kill()
        process.wait()
        _close_all([pairs[0], pairs[2]], [output, held])
        raise Unavailable(f"The process for {spawn.label} cannot be watched: {error}") from error
    for each in (pairs[0], pairs[2]):
        each.setblocking(False)
    os.set_blocking(output, False)
    return Spawned(process, pidfd, pairs[0], pairs[2], output, held)


def _process(spawn: Spawn, inherited: Sequence[int], output: int) -> "subprocess.Popen[bytes]":
    import fcntl  # here: it is for Linux

    with suppress(OSError):  # there is little room for all pipes of a user
        fcntl.fcntl(output, _PIPE_SIZE, _PIPE_ROOM)
    python = spawn.python_executable or sys.executable
    command = [
        *(python, str(_BOOT), *map(str, inherited), str(os.getpid())),
        *(",".join(map(str, spawn.cpus)), spawn.label),
    ]
    try:
        return subprocess.Popen(  # noqa: S603 - our own program
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=inherited,
            env=spawn.environment,
            start_new_session=True,  # what a terminal sends to the server is not for it
            umask=_UMASK,
        )
    except (FileNotFoundError, PermissionError, NotADirectoryError) as error:
        if not spawn.python_executable:
            raise
        raise FailedPrecondition(
            f"python_executable {python} cannot be run: {error.strerror}",
            hint="It must be the Python of an environment on the machine of the server.",
        ) from error


def _close_all(sockets: Sequence[socket.socket], descriptors: Sequence[int]) -> None:
    for each in sockets:
        each.close()
    for descriptor in descriptors:
        os.close(descriptor)
