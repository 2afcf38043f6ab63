"""`salver show`: what `saved_model_cli show --all` tells of a SavedModel, without TensorFlow."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from salver.backends.tensorflow.saved_model import MetaGraph, read_meta_graphs
from salver.cli.locate import locate_saved_model
from salver.signature import Signature, TensorSpec

__all__ = ["describe", "show"]


def show(path: Path) -> str:
    """Describe the SavedModel at `path`: one, a version of one, or a model directory's newest.

    Raises:
        NotFound: there is none.
        ServingError: it cannot be read.
    """
    located = locate_saved_model(path)
    head = f"SavedModel at {located.path}"
    if located.version is not None:
        head += f" (version {located.version})"
    return f"{head}\n\n{describe(read_meta_graphs(located.path))}"


def describe(meta_graphs: Sequence[MetaGraph]) -> str:
    """Tags, signatures, inputs, outputs, dtypes and shapes, one under the other."""
    return "\n\n".join("\n".join(_graph(meta_graph)) for meta_graph in meta_graphs)


def _graph(meta_graph: MetaGraph) -> Iterator[str]:
    tags = ", ".join(meta_graph.tags)
    yield f"MetaGraphDef with tag-set: '{tags}' contains the following SignatureDefs:"
    for name, signature in meta_graph.signatures.items():
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
