"""The file of who changed what: `--audit_log`."""

from salver.config.options import ServerOptions
from salver.errors import InvalidArgument
from salver.management.audit import Entry, audit_line
from salver.transport.access_log import LineLog

__all__ = ["drop", "open_audit_log"]


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


def drop(_entry: Entry) -> None:
    """What becomes of entries where there is no such file."""
