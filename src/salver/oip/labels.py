"""The labels of classes, for classifications: read from the disk once, and not in the loop."""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from salver.about.assets import read_about
from salver.about.document import About
from salver.errors import ServingError
from salver.protocols.labels import EVERY_MODEL, find_labels
from salver.protocols.version_files import version_directory
from salver.vocabulary.servable import ServableId

__all__ = ["ModelLabels"]

_MOST_VERSIONS: Final = 256  # past that all are forgotten


class ModelLabels:
    """See `asking.Labels`. A file that cannot be read counts as none: the scores are still told."""

    def __init__(
        self, files: Mapping[str, str], base_path_of: Callable[[str, int], str | None]
    ) -> None:
        """Know none yet.

        Args:
            files: of `--labels_file`; see `protocols.labels.parse_labels_flag`.
            base_path_of: model and version → where its versions are.
        """
        self._files = files
        self._base_path_of = base_path_of
        self._lock = threading.Lock()
        self._known: dict[ServableId, tuple[Sequence[str] | None, About | None]] = {}

    def is_known(self, id: ServableId) -> bool:
        """See `asking.Labels`."""
        return id in self._known

    def read(self, id: ServableId) -> None:
        """See `asking.Labels`."""
        base_path = self._base_path_of(id.name, id.version)
        labels, about = None, None
        with suppress(ServingError, OSError):
            labels = find_labels(self._files, id.name, id.version, base_path)
        with suppress(ServingError, OSError):
            directory: Path | None = None
            if base_path is not None:
                directory = version_directory(base_path, id.version)
            about = None if directory is None else read_about(directory)
        with self._lock:
            if len(self._known) >= _MOST_VERSIONS:
                self._known.clear()
            self._known[id] = (labels, about)

    def of_output(self, id: ServableId, signature_name: str, output: str) -> Sequence[str] | None:
        """See `asking.Labels`: the flag's, else the model's own of this output, else of it all."""
        labels, about = self._known.get(id, (None, None))
        is_by_flag = bool(self._files.get(id.name) or self._files.get(EVERY_MODEL))
        if about is not None and not is_by_flag:
            signature = about.signatures.get(signature_name)
            own = None if signature is None else signature.outputs.get(output)
            if own is not None and own.labels:
                return own.labels
        return labels

    def forget(self) -> None:
        """Read all anew when they are next asked for: what the server serves has changed."""
        with self._lock:
            self._known.clear()
