"""The program between whoever starts a server and the server: it lets go of the parent.

What supervises processes ends their children with them: an actor of Ray that ends takes its direct
children along. So this program is started, makes the server's process, and ends; the server then
belongs to the system. Before it becomes the server the process writes down who it is, so that
nobody can start a server and die before somebody else can know of it.

Arguments: the path of this package's parent; the request, a JSON document, is read from standard
input: `{"command": […], "directory": …, "record": PATH, "about": {…}}`.
"""

import json
import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from salver.cluster.processes import identify
from salver.cluster.whole_files import replace_file

__all__ = ["LOG", "LOG_BEFORE", "main"]

LOG = "server.log"
LOG_BEFORE = "server.log.1"


def main() -> None:
    """Make the server's process and end, once it has written its record or cannot."""
    request = json.load(sys.stdin)
    reading, writing = os.pipe()
    if os.fork():
        os.close(writing)
        with os.fdopen(reading) as said:  # closed by what becomes the server, and by its end
            problem = said.read()
        sys.exit(problem or 0)
    try:
        _become(request)
    except BaseException as error:  # noqa: BLE001 - told to the parent
        with os.fdopen(writing, "w") as say:
            say.write(f"{type(error).__name__}: {error}")
        os._exit(1)


def _become(request: dict[str, Any]) -> None:
    os.setsid()
    for number in signal.Signals:
        with suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # Ray's processes block SIGINT
    _be_as_important_as_others()
    directory = Path(request["directory"])
    os.chdir(directory)
    _redirect(directory)
    own = identify(os.getpid())
    assert own is not None
    record = {"schema": 1, "pid": own.pid, "started": own.started, **request["about"]}
    replace_file(Path(request["record"]), json.dumps(record, indent=1) + "\n")
    command = request["command"]
    os.execv(command[0], command)  # noqa: S606 - the number and the start stay


def _be_as_important_as_others() -> None:
    """Undo what Ray does to its workers: the last to get the processor, the first to be killed."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("0")
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, 0, min(0, os.getpriority(os.PRIO_PROCESS, 0)))
    with suppress(OSError, ValueError):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _redirect(directory: Path) -> None:
    with suppress(FileNotFoundError):
        os.replace(directory / LOG, directory / LOG_BEFORE)
    log = os.open(directory / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    os.close(nothing)
