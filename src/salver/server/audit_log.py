"""The file of who changed what: `--audit_log`."""

from salver.config.options import ServerOptions
from salver.errors import InvalidArgument
from salver.management.audit import Entry, audit_line
from salver.metrics.catalogue import BY_NAME
from salver.metrics.text import Family
from salver.transport.access_log import LineLog

__all__ = ["drop", "lost_entries", "open_audit_log"]


def open_audit_log(options: ServerOptions) -> LineLog[Entry] | None:
    """The log that the flags ask for, open; None without one.

    Raises:
        InvalidArgument: it cannot be opened.
    """
    if not options.audit_log:
        return None
    try:
        return LineLog(options.audit_log, audit_line, name="audit log")
    except OSError as error:
        text = f"Could not open --audit_log={options.audit_log}: {error.strerror}"
        raise InvalidArgument(text) from error


def lost_entries(log: LineLog[Entry] | None) -> list[Family]:
    """What is told of entries that the file has not got; nothing where there is no file.

    It is told from the start, as 0, so that the first loss is a change that alerts see.
    """
    if log is None:
        return []
    cells = [(("audit", "disk"), log.dropped)]
    return [Family(BY_NAME["salver_dropped_log_records_total"], list(cells))]


def drop(_entry: Entry) -> None:
    """What becomes of entries where there is no such file."""
