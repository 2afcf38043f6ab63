"""`salver show`: what `saved_model_cli show --all` tells of a SavedModel, without TensorFlow.

Of a TFLite file it tells the same, without LiteRT. A Keras file is converted for that, as a server
would, unless that has been done.
"""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from salver.backends.by_format import holds_saved_model, holds_tflite
from salver.backends.keras.files import is_keras_file, keras_file
from salver.backends.keras.options import KerasOptions, keras_options
from salver.backends.tensorflow.saved_model import MetaGraph, read_meta_graphs
from salver.backends.tflite.model_file import FILE_NAME, read
from salver.backends.tflite.signatures import read_signatures
from salver.cli.commands import Misused
from salver.cli.locate import is_tflite_file, locate_saved_model
from salver.cli.show_about import show_about
from salver.config.flags import parse
from salver.errors import InvalidArgument
from salver.signature import Signature, TensorSpec, is_internal

__all__ = ["describe", "show", "show_command"]

_USAGE: Final = (
    "usage: salver show PATH [--keras_safe_mode=false and the other flags of Keras files]"
)
_HELP_WORDS: Final = ("--help", "-h", "help")


def show_command(arguments: Sequence[str]) -> int:
    """Run `salver show ARGUMENTS`; returns its exit status.

    Raises:
        Misused: the arguments make no sense.
        ServingError: there is no model, or it cannot be read.
    """
    if arguments and arguments[0] in _HELP_WORDS:
        print(_USAGE)
        return 0
    parsed = parse(arguments)
    if parsed.bad:
        raise Misused(" ".join(map(str, parsed.bad)))
    paths = [argument for argument in parsed.leftovers if not argument.startswith("-")]
    if len(paths) != 1 or len(parsed.leftovers) != 1:
        raise Misused(_USAGE)
    text = show(_local(paths[0]), keras_options(parsed.options))
    try:
        print(text, flush=True)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _local(text: str) -> Path:
    """A path; what is none is refused with what to do instead.

    Raises:
        InvalidArgument: it is a URL.
    """
    scheme, separator, rest = text.partition("://")
    if not separator or Path(text).exists():
        return Path(text)
    if scheme.lower() in ("http", "https"):
        server = f"{scheme}://{rest.partition('/')[0]}"
        raise InvalidArgument(
            f"{text} is a URL, and show reads files. Of a server one asks the signatures so: "
            f"curl {server}/v1/models/NAME/metadata"
        )
    raise InvalidArgument(f"{text} is not on this machine, and show reads local files alone.")


def show(path: Path, keras: KerasOptions | None = None) -> str:
    """Describe the SavedModel at `path`: one, a version of one, or a model directory's newest.

    Where a TFLite file stands beside it, or in its place, that is described too.

    Args:
        path: of a directory, or of a Keras or TFLite file.
        keras: how Keras files are converted; as by default when None.

    Raises:
        NotFound: there is none.
        ServingError: it cannot be read.
    """
    keras = keras or KerasOptions()
    if is_keras_file(path):
        return _with_about([_keras(path, keras)], path.parent)
    if is_tflite_file(path):
        return _with_about([_tflite(path)], path.parent)
    located = locate_saved_model(path)
    version = "" if located.version is None else f" (version {located.version})"
    parts = []
    if holds_saved_model(located.path):
        parts.append(f"SavedModel at {located.path}{version}")
        parts.append(describe(read_meta_graphs(located.path)))
    if holds_tflite(located.path):
        parts.append(_tflite(located.path / FILE_NAME, version))
    if not parts:
        parts.append(_keras(keras_file(located.path), keras, version))
    return _with_about(parts, located.path)


def _with_about(parts: Sequence[str], version: Path) -> str:
    """The parts, and what the model says of itself."""
    return "\n\n".join(filter(None, (*parts, show_about(version))))


def _tflite(file: Path, version: str = "") -> str:
    described = _signatures("The file", read_signatures(read(file)).signatures)
    return "\n".join((f"TFLite model at {file}{version}", "", *described))


def _keras(file: Path, options: KerasOptions, version: str = "") -> str:
    from salver.backends.keras.converted import ConvertedFiles  # for these files alone

    with ConvertedFiles(options).of(file) as converted:
        described = describe(read_meta_graphs(converted))
    return f"Keras model at {file}{version}\n\n{described}"


def describe(meta_graphs: Sequence[MetaGraph]) -> str:
    """Tags, signatures, inputs, outputs, dtypes and shapes, one under the other."""
    return "\n\n".join("\n".join(_graph(meta_graph)) for meta_graph in meta_graphs)


def _graph(meta_graph: MetaGraph) -> Iterator[str]:
    tags = ", ".join(meta_graph.tags)
    yield from _signatures(f"MetaGraphDef with tag-set: '{tags}'", meta_graph.signatures)


def _signatures(what: str, signatures: Mapping[str, Signature]) -> Iterator[str]:
    yield f"{what} contains the following SignatureDefs:"
    for name, signature in signatures.items():
        if is_internal(name):
            continue
        yield ""
        yield f"signature_def['{name}']:"
        yield from _signature(signature)


def _signature(signature: Signature) -> Iterator[str]:
    for kind, tensors in (("inputs", signature.inputs), ("outputs", signature.outputs)):
        yield f"  {kind}:" if tensors else f"  {kind}: none"
        for alias, spec in tensors.items():
            yield f"    {kind}['{alias}'] tensor_info:"
            yield f"        dtype: DT_{spec.dtype.name}"
            yield f"        shape: {_shape(spec)}"
            yield f"        name: {spec.tensor_name}"
    yield f"  method name: {signature.method_name}"


def _shape(spec: TensorSpec) -> str:
    if spec.shape is None:
        return "unknown_rank"
    return f"({', '.join(str(size) for size in spec.shape)})"
