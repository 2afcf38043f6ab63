"""OpenVINO's files: what they say of themselves, and compiling them."""

from pathlib import Path
from typing import Any, Final

from salver.backends.openvino.ir_file import ELEMENT_TYPES, Graph, read_graph
from salver.backends.openvino.library import load_library
from salver.backends.openvino.model import OpenVINOModel, Port, short_error
from salver.backends.openvino.options import OpenVINOOptions
from salver.errors import DataLoss, Internal, ServingError, Unimplemented
from salver.instruments.files import error_of_os, read_regular
from salver.vocabulary.model import ModelInfo
from salver.vocabulary.signature import DEFAULT_SIGNATURE, Signature, TensorSpec

__all__ = ["inspect", "load_model"]

_LOOPS: Final = frozenset(("Loop", "TensorIterator", "If"))


def inspect(path: Path) -> ModelInfo:
    """What an IR says of itself, without OpenVINO.

    Raises:
        DataLoss: it is malformed.
        ServingError: it cannot be read.
    """
    graph = _graph(path)
    signature = Signature(dict(sorted(graph.inputs.items())), dict(sorted(graph.outputs.items())))
    size = _size(path.with_suffix(".bin"))
    return ModelInfo({DEFAULT_SIGNATURE: signature}, footprint_bytes=size or None)


def load_model(path: Path, options: OpenVINOOptions) -> OpenVINOModel:
    """Compile an IR, which is checked first, or an ONNX file.

    Raises:
        ServingError: whatever keeps it from being compiled.
    """
    if path.suffix == ".xml":
        _graph(path)
    else:
        _size(path)  # it is there, and a file
    library = load_library()
    try:
        core = library.Core()
        read = core.read_model(path)
        inputs = [_port(each, at, _input_name(each)) for at, each in enumerate(read.inputs)]
        outputs = [_port(each, at, _output_name(each)) for at, each in enumerate(read.outputs)]
        can_loop = any(node.get_type_name() in _LOOPS for node in read.get_ops())
        compiled = core.compile_model(read, options.device, _properties(options))
        return OpenVINOModel(
            library, compiled, _told_apart(inputs), _told_apart(outputs), can_loop=can_loop
        )
    except ServingError:
        raise
    except (RuntimeError, ValueError, TypeError) as error:
        raise Internal(f"OpenVINO cannot load {path}: {short_error(error)}") from error


def _properties(options: OpenVINOOptions) -> dict[str, Any]:
    properties: dict[str, Any] = {"PERFORMANCE_HINT": options.performance_hint}
    if options.precision != "dynamic":
        properties["INFERENCE_PRECISION_HINT"] = options.precision
    if options.num_threads:
        properties["INFERENCE_NUM_THREADS"] = options.num_threads
    if options.num_streams:
        properties["NUM_STREAMS"] = options.num_streams
    return properties


def _graph(path: Path) -> Graph:
    try:
        return read_graph(read_regular(path), _size(path.with_suffix(".bin")))
    except OSError as error:
        raise error_of_os(str(path), error) from error
    except (DataLoss, Unimplemented) as error:
        raise type(error)(f"{path} cannot be served: {error.message}") from error


def _size(path: Path) -> int:
    """Bytes of a file of weights, which a graph without any has not."""
    try:
        return path.stat().st_size
    except FileNotFoundError as error:
        if path.suffix == ".bin":
            return 0
        raise error_of_os(str(path), error) from error
    except OSError as error:
        raise error_of_os(str(path), error) from error


def _port(port: Any, index: int, name: str) -> Port:
    element = port.get_element_type().to_string()
    dtype = ELEMENT_TYPES.get(element)
    if dtype is None:
        raise Unimplemented(f"{name} holds {element}, which is not served")
    shape = port.get_partial_shape()
    if shape.rank.is_dynamic:
        return Port(name, TensorSpec(dtype, None), index)
    sizes = tuple(-1 if each.is_dynamic else each.get_length() for each in shape)
    return Port(name, TensorSpec(dtype, sizes), index)


def _input_name(port: Any) -> str:
    return min(port.names) if port.names else str(port.get_node().friendly_name)


def _output_name(port: Any) -> str:
    if port.names:
        return str(min(port.names))
    return str(port.get_node().input_value(0).get_node().friendly_name)


def _told_apart(ports: list[Port]) -> list[Port]:
    """The same, each by a name of its own."""
    found: dict[str, Port] = {}
    for port in ports:
        name = port.name if port.name not in found else f"{port.name}@{len(found)}"
        found[name] = Port(name, port.spec, port.index)
    return list(found.values())
