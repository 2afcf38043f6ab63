"""The controller's journal on its disk: what the cluster should be like, and what is where."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson

from salver.cluster.whole_files import make_private, replace_file

__all__ = ["JournalFile", "default_journal", "node_directory"]

_log = logging.getLogger(__name__)

_NAME: Final = "journal.json"


def default_journal(cluster: str, environment: Mapping[str, str]) -> str:
    """Where the journal of a cluster is if nobody says."""
    state = environment.get("XDG_STATE_HOME") or "~/.local/state"
    return str(Path(state).expanduser() / "salver" / "cluster" / cluster / _NAME)


def node_directory(journal: str, node: str) -> Path:
    """The directory of a node, on its own machine."""
    return Path(journal).parent / "nodes" / node


class JournalFile:
    """A file that holds the last journal that could be written.

    Attributes:
        problem: why the last one could not; empty where it could.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._written = ""
        self.problem = ""

    def read(self) -> dict[str, Any] | None:
        """What was written last; None where nothing was.

        A file that cannot be read is kept beside, under another name.
        """
        try:
            self._written = self._path.read_text()
            found = orjson.loads(self._written)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            self.put_aside(str(error))
            return None
        if isinstance(found, dict):
            return found
        self.put_aside("it is no object")
        return None

    def put_aside(self, problem: str) -> None:
        """Keep a file that is of no use under another name."""
        _log.error("%s cannot be read: %s", self._path, problem)
        self._written = ""
        try:
            self._path.rename(self._path.with_suffix(".unreadable"))
        except OSError as error:
            _log.error("%s cannot be put aside: %s", self._path, error)

    def write(self, journal: Mapping[str, Any]) -> None:
        """Write a journal if it is another one than the last. A failure is kept in `problem`."""
        text = orjson.dumps(journal).decode() + "\n"
        if text == self._written:
            return
        try:
            make_private(self._path.parent)
            replace_file(self._path, text)
        except OSError as error:
            if not self.problem:
                _log.error("%s cannot be written: %s", self._path, error)
            self.problem = f"{self._path} cannot be written: {error}"
            return
        self._written, self.problem = text, ""
