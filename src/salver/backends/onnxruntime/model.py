"""An ONNX model loaded into a session, and what answers its signatures."""

from collections.abc import Callable, Sequence
from pathlib import Path

from salver.backends.onnxruntime.examples import ExamplesProgram
from salver.backends.onnxruntime.files import Examined, examine
from salver.backends.onnxruntime.library import Library
from salver.backends.onnxruntime.meaning import CLASSIFY, REGRESS
from salver.backends.onnxruntime.options import OnnxRuntimeOptions
from salver.backends.onnxruntime.program import OnnxProgram
from salver.backends.onnxruntime.rewriting import without_zip_maps
from salver.backends.onnxruntime.session import Session, open_session
from salver.backends.protocol import LoadStage
from salver.errors import FailedPrecondition, NotFound
from salver.instruments.threads import Breather
from salver.vocabulary.model import ModelInfo, Program
from salver.vocabulary.requests import Array

__all__ = ["OnnxModel", "inspect", "load_model"]


class OnnxModel:
    """One loaded ONNX file: see `salver.vocabulary.model.Model`, and `CancellableModel`."""

    definitions = None
    batching = None
    graph = None

    def __init__(self, examined: Examined, session: Session) -> None:
        """Take over a session."""
        self.signatures = examined.meaning.signatures
        self._examined = examined
        self._session = session

    def program(self, signature_name: str, outputs: Sequence[str] | None = None) -> Program:
        """See `Model.program`."""
        meaning = self._examined.meaning
        signature = self.signatures[signature_name]
        wanted = list(signature.outputs if outputs is None else outputs)
        if signature_name in (CLASSIFY, REGRESS) and meaning.answer is not None:
            graph = self._program([meaning.answer.name])
            return ExamplesProgram(graph, meaning.inputs, meaning.labels, wanted)
        return self._program(wanted)

    def cancel(self, feeds: Sequence[Array]) -> None:
        """See `CancellableModel.cancel`."""
        self._session.cancel(feeds)

    def close(self) -> None:
        """See `Model.close`."""
        self._session.close()

    def _program(self, outputs: Sequence[str]) -> OnnxProgram:
        meaning = self._examined.meaning
        by_name = {each.name: each for each in meaning.outputs}
        return OnnxProgram(
            self._session,
            meaning.inputs,
            [by_name[name] for name in outputs],
            can_loop=self._examined.file.can_loop,
        )


def inspect(path: Path, options: OnnxRuntimeOptions) -> ModelInfo:
    """What the model of a file says of itself, without ONNX Runtime.

    Raises:
        ServingError: the file cannot be read, is no ONNX model, or none that is served.
    """
    found = examine(path, max_nodes=options.max_nodes)
    return ModelInfo(found.meaning.signatures, footprint_bytes=found.size)


def load_model(
    library: Library, path: Path, options: OnnxRuntimeOptions, stage: LoadStage
) -> OnnxModel:
    """Load an ONNX file.

    Raises:
        FailedPrecondition: it is to have operations from where nothing is trusted.
        ServingError: see `inspect`; or ONNX Runtime refuses it.
    """
    _check_custom_ops(options, stage.trusts)
    is_behind = stage.is_serving()
    breathe = Breather() if is_behind else _go_on
    found = examine(path, max_nodes=options.max_nodes, breathe=breathe)
    stage.check()
    model: Path | bytes = path
    if found.meaning.zip_maps:
        model = without_zip_maps(path, found.file.graph_spans, found.meaning.zip_maps)
    return OnnxModel(found, open_session(library, model, path.parent, options, is_behind=is_behind))


def _go_on() -> None:
    """Rest never."""


def _check_custom_ops(options: OnnxRuntimeOptions, trusts: Callable[[Path], bool]) -> None:
    for name in options.custom_op_libraries:
        path = Path(name)
        if not path.is_file():
            raise NotFound(f"Custom op library {name} not found")
        if not trusts(path):
            raise FailedPrecondition(
                f"Custom op library {name} is code, and not under a trusted path",
                hint="Name a directory above it in --trusted_model_paths.",
            )
