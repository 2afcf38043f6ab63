"""Python models: `model.py` with a class `Model` or `TritonPythonModel`."""

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from salver.backends.protocol import Backend, Capabilities, Listing, LoadStage, Match
from salver.backends.python.files import FILE, model_file, read_source
from salver.backends.python.options import PythonOptions

if TYPE_CHECKING:  # they bring numpy
    from salver.backends.python.model import PythonModel
    from salver.vocabulary.model import ModelInfo

__all__ = ["PythonBackend"]


class PythonBackend(Backend):
    """Loads `model.py` of version directories. They run as the server's user: see `Trust`."""

    name: ClassVar[str] = "python"
    title: ClassVar[str] = "Python model"
    options: ClassVar = PythonOptions
    capabilities: ClassVar[Capabilities] = Capabilities(needs_process=True)

    def detect(self, listing: Listing, options: PythonOptions) -> Match | None:
        """See `Backend.detect`."""
        del options
        found = model_file(listing)
        if found is None:
            return None
        return Match(files=[found], stored_as=FILE, runs_code="a Python model")

    def inspect(self, directory: Path, options: PythonOptions) -> "ModelInfo | None":
        """See `Backend.inspect`. The file is read as text; what it computes only a load tells."""
        del options
        from salver.backends.python.declared import declaration_of
        from salver.backends.python.failures import loading
        from salver.backends.python.literals import (
            TRITON_CLASS,
            Unreadable,
            class_of,
            literals_of,
            methods_of,
        )
        from salver.vocabulary.model import ModelInfo

        file = _file(directory)
        try:
            found = class_of(read_source(file), file)
            if found.name != TRITON_CLASS:
                declared = literals_of(found)
                with loading(f"The Python model at {file}"):
                    return ModelInfo(declaration_of(declared.get).signatures)
        except Unreadable:
            return None
        from salver.about.config_file import read_config
        from salver.backends.python.triton.signature import signature_of

        if "auto_complete_config" in methods_of(found):
            return None
        return ModelInfo(signature_of(read_config(directory, "")))

    def load(self, directory: Path, options: PythonOptions, stage: LoadStage) -> "PythonModel":
        """See `Backend.load`."""
        from salver.backends.python.loading import load_model

        return load_model(_file(directory), options, stage)


def _file(directory: Path) -> Path:
    return directory / (model_file(Listing.of(directory)) or FILE)
