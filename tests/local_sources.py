"""Sources that know directories of this machine alone."""

import threading
from pathlib import Path

from salver.instruments.cache import Cache
from salver.sources.by_scheme import Sources
from salver.sources.file_system import FileSystem
from salver.sources.polling import Wait


def local_sources(
    poll_wait_s: float = 1, *, is_watching: bool = False, wait: Wait = threading.Event.wait
) -> Sources:
    """Sources without plug-ins, and so without anything to fetch."""
    return Sources(
        FileSystem(poll_wait_s),
        lambda: Cache(Path("/nowhere")),
        is_watching=is_watching,
        wait=wait,
        make=lambda _scheme: None,
    )
