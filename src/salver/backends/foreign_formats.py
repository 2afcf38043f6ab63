"""Files of models that nothing here runs, and what to do with them.

Each is told by its ending, and so is what makes a SavedModel or a TFLite file of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["advice_on", "foreign_files"]


@dataclass(frozen=True, slots=True)
class _Format:
    """A format that is not served.

    Attributes:
        name: with its article.
        advice: what to do; `{file}` is the name of the file, `{stem}` the same without its ending.
    """

    name: str
    advice: str


_PYTORCH: Final = _Format(
    "what torch.save writes: weights, or a pickled PyTorch module",
    "Load it into the module it belongs to, and export that where it was made: "
    "torch.export.save(torch.export.export(module.eval(), (example,)), '{stem}.pt2'); and serve "
    "that",
)
_WEIGHTS: Final = _Format(
    "a file of weights without a model",
    "Put a model.py beside it whose class loads it, and serve the directory; or load it into the "
    "model it belongs to, export that, and serve what was exported",
)
_KERAS_WEIGHTS: Final = _Format(
    "a file of Keras weights without a model",
    "Save the model whole where it is built: model.save('{stem}.keras'); and serve that",
)
_FROZEN: Final = _Format(
    "a TensorFlow graph without signatures",
    "Load it with tf.compat.v1.import_graph_def, save it with "
    "tf.compat.v1.saved_model.simple_save(session, '{stem}/1', inputs, outputs), and serve {stem}",
)
_CHECKPOINT: Final = _Format(
    "a TensorFlow checkpoint",
    "Restore it into the model it belongs to, tf.saved_model.save(model, '{stem}/1'), and serve "
    "{stem}",
)
_PYTHON: Final = _Format(
    "a pickled Python object, of scikit-learn perhaps",
    "Save it by skops where it was made: skops.io.dump(model, '{stem}.skops'); and serve that",
)
_CORE_ML: Final = _Format(
    "a Core ML model",
    "It cannot be converted back: export the model it was made of as a SavedModel, a Keras file or "
    "a TFLite file, and serve that",
)
_LANGUAGE: Final = _Format(
    "a language model for llama.cpp",
    "Salver does not run it: a server for language models does, such as llama-server",
)

_BY_SUFFIX: Final[Mapping[str, _Format]] = {
    ".pth": _PYTORCH,
    ".safetensors": _WEIGHTS,
    ".pb": _FROZEN,
    ".meta": _CHECKPOINT,
    ".ckpt": _CHECKPOINT,
    ".pickle": _PYTHON,
    ".mlmodel": _CORE_ML,
    ".mlpackage": _CORE_ML,
    ".gguf": _LANGUAGE,
}
# What TensorFlow keeps beside a SavedModel.
_OURS: Final = frozenset({"saved_model.pb", "fingerprint.pb", "keras_metadata.pb"})


def advice_on(file: str | Path) -> str | None:
    """What a file is, by its name, and what to do with it; None where that is not known."""
    path = Path(file)
    found = _format_of(path)
    if found is None:
        return None
    advice = found.advice.format(file=path.name, stem=path.name.partition(".")[0] or path.name)
    return f"{path.name} is {found.name}, which is not served. {advice}."


def foreign_files(directory: str | Path) -> list[str]:
    """The names of such files directly in a directory, sorted; none where it cannot be read."""
    try:
        children = sorted(Path(directory).iterdir())
    except OSError:
        return []
    return [child.name for child in children if _format_of(child) is not None]


def _format_of(path: Path) -> _Format | None:
    if path.name in _OURS:
        return None
    if path.name.endswith((".weights.h5", ".weights.hdf5")):
        return _KERAS_WEIGHTS
    return _BY_SUFFIX.get(path.suffix.lower())
