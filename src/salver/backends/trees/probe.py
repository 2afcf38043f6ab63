"""A first load of a file in a child process, where a file may end the process that reads it.

The checks of the backends refuse what is known to be fatal. What they do not know as well as that
(another version of the format, say) is first loaded and run by a child; only what it survives is
loaded here.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from salver.errors import DataLoss, DeadlineExceeded, ServingError
from salver.instruments.files import error_of_os

__all__ = ["probe"]

_LONGEST_S: Final = 60.0
_LAST: Final = 400  # characters of what the child said


def probe(module: str, data: bytes, name: str) -> None:
    """Have a child process do what a module of ours does with a file.

    Args:
        module: run with `python -m`; reads the file from its standard input, and exits with 0.
        data: the file.
        name: of it, for errors.

    Raises:
        DataLoss: the child ended otherwise.
        DeadlineExceeded: it did not end.
        ServingError: there could be none.
    """
    source = str(Path(__file__).parents[3])
    paths = [source, *filter(None, [os.environ.get("PYTHONPATH")])]
    try:
        done = subprocess.run(  # noqa: S603 - our own module
            [sys.executable, "-m", module],
            input=data,
            capture_output=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
            timeout=_LONGEST_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DeadlineExceeded(f"{name} was not loaded in {_LONGEST_S:.0f} s by a trial") from error
    except OSError as error:
        raise error_of_os(sys.executable, error) from error
    if done.returncode:
        raise _died(name, done.returncode, done.stderr.decode(errors="replace"))


def _died(name: str, status: int, said: str) -> ServingError:
    last = " ".join(said.split())[-_LAST:]
    how = f"signal {-status}" if status < 0 else f"status {status}"
    return DataLoss(
        f"{name} cannot be loaded: a trial in a process of its own ended by {how}: {last}"
    )
