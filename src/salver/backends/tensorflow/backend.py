"""SavedModels, run by TensorFlow's C API."""

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from salver.backends.protocol import Backend, Capabilities, Listing, LoadStage, Match, Variant
from salver.backends.tensorflow.library import Library, load_library, require_library
from salver.backends.tensorflow.options import TensorFlowOptions
from salver.errors import NotFound
from salver.vocabulary.servable import ServableId

if TYPE_CHECKING:  # they bring numpy
    from salver.backends.tensorflow.session import SavedModel
    from salver.vocabulary.model import ModelInfo

__all__ = ["TensorFlowBackend"]

_log = logging.getLogger(__name__)

_FILES = ("saved_model.pb", "saved_model.pbtxt")


class TensorFlowBackend(Backend):
    """Loads SavedModels; opens TensorFlow and the custom-op libraries at the first load."""

    name: ClassVar[str] = "tensorflow_savedmodel"
    title: ClassVar[str] = "SavedModel"
    options: ClassVar = TensorFlowOptions
    capabilities: ClassVar[Capabilities] = Capabilities(may_run_inline=True)

    def __init__(self) -> None:
        """Open nothing yet."""
        self._opening = threading.Lock()
        self._library: Library | None = None
        self._custom_ops: set[str] = set()

    def detect(self, listing: Listing, options: TensorFlowOptions) -> Match | None:
        """See `Backend.detect`."""
        del options
        return Match(files=(), rank=1) if any(name in listing.files for name in _FILES) else None

    def require(self) -> None:
        """See `Backend.require`."""
        require_library()

    def prepare(self) -> None:
        """See `Backend.prepare`."""
        load_library()

    def inspect(self, directory: Path, options: TensorFlowOptions) -> "ModelInfo":
        """See `Backend.inspect`."""
        from salver.backends.tensorflow.saved_model import meta_graph_with_tags, read_meta_graphs

        graphs = read_meta_graphs(directory)
        return meta_graph_with_tags(graphs, options.saved_model_tags, str(directory)).info

    def describe(self, directory: Path, options: TensorFlowOptions) -> Sequence[Variant]:
        """See `Backend.describe`."""
        del options
        from salver.backends.tensorflow.saved_model import read_meta_graphs

        return [
            Variant(f"MetaGraphDef with tag-set: '{', '.join(graph.tags)}'", graph.info)
            for graph in read_meta_graphs(directory)
        ]

    def load(
        self, directory: Path, options: TensorFlowOptions, stage: LoadStage, *, settings: str = ""
    ) -> "SavedModel":
        """See `Backend.load`.

        Args:
            directory: of the SavedModel.
            options: how.
            stage: see there.
            settings: the version directory, whose `assets.extra` counts, where it is another one.
        """
        from salver.backends.tensorflow.saved_model_config import override_session
        from salver.backends.tensorflow.session import load_saved_model

        session_config = options.session_config
        if options.has_session_metadata:
            session_config = _with_metadata(session_config, stage.id)
        return load_saved_model(
            self._open(options),
            str(directory),
            tags=options.saved_model_tags,
            session_config=override_session(session_config, settings or str(directory)),
            target=options.session_target,
            thread_pool=options.load_thread_pool,
            steps_back=stage.is_serving(),
        )

    def _open(self, options: TensorFlowOptions) -> Library:
        with self._opening:
            library = self._library
            if library is None:
                library = load_library()
                if not options.is_xla_enabled and not library.disable_xla():
                    _log.warning(
                        "This TensorFlow does not let XLA be turned off: models that ask for it "
                        "are compiled, as with --xla_cpu_compilation_enabled"
                    )
            for path in options.custom_op_libraries:
                if path not in self._custom_ops:
                    _load_custom_ops(library, path)
                    self._custom_ops.add(path)
            self._library = library
            return library


def _with_metadata(session_config: bytes, id: ServableId) -> bytes:
    from salver._pb import message_class

    config = message_class("tensorflow.ConfigProto").FromString(session_config)
    config.experimental.session_metadata.name = id.name
    config.experimental.session_metadata.version = id.version
    serialized: bytes = config.SerializeToString(deterministic=True)
    return serialized


def _load_custom_ops(library: Library, path: str) -> None:
    if not Path(path).is_file():
        raise NotFound(f"Custom op library {path} not found")
    status = library.quick.TF_NewStatus()
    try:
        handle = library.long.TF_LoadLibrary(str(Path(path).resolve()).encode(), status)
        library.check(status)
        library.quick.TF_DeleteLibraryHandle(handle)  # the operations stay registered
    finally:
        library.quick.TF_DeleteStatus(status)
