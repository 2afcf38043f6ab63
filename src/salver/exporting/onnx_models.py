"""ONNX's `ModelProto` → `model.onnx`, and a file of weights beside it where they are many."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from salver.errors import InvalidArgument
from salver.exporting.asked import Asked, Made

__all__ = ["export_onnx", "is_onnx"]

_NAME: Final = "onnx.ModelProto"
_EXTERNAL: Final = 1  # TensorProto.EXTERNAL
_MOST_BYTES: Final = 2**31 - 1  # of a message of protocol buffers


def is_onnx(model: Any) -> bool:
    """Whether it is a `ModelProto`."""
    descriptor = getattr(type(model), "DESCRIPTOR", None)
    return getattr(descriptor, "full_name", None) == _NAME


def export_onnx(model: Any, directory: Path, asked: Asked) -> Made:
    """Write `model.onnx`.

    Raises:
        InvalidArgument: it has no graph, or its weights stand in files that are not here.
    """
    del asked
    if not model.graph.node:
        raise InvalidArgument("The ONNX model has no graph")
    if away := next(_external(model.graph), None):
        raise InvalidArgument(
            f"The weight {away} of the ONNX model stands in a file of its own",
            hint="Publish the path of the model, or load it with its weights: onnx.load(path).",
        )
    path = directory / "model.onnx"
    try:
        if model.ByteSize() <= _MOST_BYTES:
            path.write_bytes(model.SerializeToString())
        else:
            onnx = import_module("onnx")
            copy = onnx.ModelProto()
            copy.CopyFrom(model)  # saving empties the weights of what it saves
            onnx.save_model(
                *(copy, str(path)), save_as_external_data=True, location="model.onnx.data"
            )
    except Exception as error:  # the library's own words are the best there are
        raise InvalidArgument(f"ONNX cannot write the model: {error}") from error
    return Made()


def _external(graph: Any) -> Iterator[str]:
    """The names of weights that stand elsewhere, of graphs within the graph too."""
    yield from (of.name for of in graph.initializer if of.data_location == _EXTERNAL)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t") and attribute.t.data_location == _EXTERNAL:
                yield attribute.t.name or attribute.name
            if attribute.HasField("g"):
                yield from _external(attribute.g)
            for inner in attribute.graphs:
                yield from _external(inner)
