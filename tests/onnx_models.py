"""ONNX models for tests, made with the `onnx` package where they are used."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, STRING, INT64 = TensorProto.FLOAT, TensorProto.STRING, TensorProto.INT64
OPSET = 17
IR_VERSION = 8


def value(name: str, shape: Sequence[int | str | None] | None, element: int = FLOAT) -> Any:
    """An input or output."""
    return helper.make_tensor_value_info(name, element, shape)


def weights(name: str, array: Any) -> Any:
    """An initializer."""
    return numpy_helper.from_array(np.asarray(array), name)


def model(
    nodes: Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    initializers: Sequence[Any] = (),
    *,
    opset: int = OPSET,
    ir_version: int = IR_VERSION,
    **more: Any,
) -> Any:
    """A ModelProto."""
    graph = helper.make_graph(
        list(nodes), "graph", list(inputs), list(outputs), list(initializers), **more
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)


def save(proto: Any, directory: Path, name: str = "model.onnx") -> Path:
    """Put a model into a directory; returns the file."""
    directory.mkdir(parents=True, exist_ok=True)
    onnx.save(proto, str(directory / name))
    return directory / name


def half_plus_two(rows: int | str = "rows") -> Any:
    """y = x / 2 + 2, as the model of TensorFlow Serving's tests."""
    nodes = [
        helper.make_node("Mul", ["x", "half"], ["product"]),
        helper.make_node("Add", ["product", "two"], ["y"]),
    ]
    constants = [weights("half", np.float32(0.5)), weights("two", np.float32(2))]
    return model(nodes, [value("x", [rows])], [value("y", [rows])], constants)


def several() -> Any:
    """Inputs and outputs whose order in the graph is not that of their names."""
    nodes = [
        helper.make_node("MatMul", ["z_matrix", "weights"], ["product"]),
        helper.make_node("Add", ["product", "a_bias"], ["sum"]),
        helper.make_node("Identity", ["sum"], ["z_sum"]),
        helper.make_node("ReduceSum", ["sum"], ["a_total"], keepdims=0),
    ]
    return model(
        nodes,
        [value("z_matrix", ["n", 3]), value("a_bias", [2])],
        [value("z_sum", ["n", 2]), value("a_total", [])],
        [weights("weights", np.arange(6, dtype=np.float32).reshape(3, 2))],
    )


def identity(element: int, shape: Sequence[int | str | None] | None = ("n",)) -> Any:
    """y = x, of any element type."""
    return model(
        [helper.make_node("Identity", ["x"], ["y"])],
        [value("x", shape, element)],
        [value("y", shape, element)],
    )


def classifier(*, zip_map: bool = True, labels: Sequence[int | str] = ("cat", "dog", "eel")) -> Any:
    """A LinearClassifier, as converters write one: `label` and `probabilities`."""
    key = "classlabels_strings" if isinstance(labels[0], str) else "classlabels_ints"
    map_key = "classlabels_strings" if isinstance(labels[0], str) else "classlabels_int64s"
    element = STRING if isinstance(labels[0], str) else INT64
    number = len(labels)
    nodes = [
        helper.make_node(
            "LinearClassifier",
            ["x"],
            ["label", "scores"],
            domain="ai.onnx.ml",
            coefficients=[float(n) / 10 for n in range(4 * number)],
            intercepts=[0.0] * number,
            post_transform="SOFTMAX",
            multi_class=1,
            **{key: list(labels)},
        )
    ]
    if zip_map:
        nodes.append(
            helper.make_node(
                "ZipMap",
                ["scores"],
                ["probabilities"],
                domain="ai.onnx.ml",
                **{map_key: list(labels)},
            )
        )
        map_type = helper.make_map_type_proto(element, helper.make_tensor_type_proto(FLOAT, None))
        answer = helper.make_value_info("probabilities", helper.make_sequence_type_proto(map_type))
    else:
        nodes.append(helper.make_node("Identity", ["scores"], ["probabilities"]))
        answer = value("probabilities", ["n", number])
    return model(nodes, [value("x", ["n", 4])], [value("label", ["n"], element), answer])


def regressor() -> Any:
    """A LinearRegressor of two columns, each an input."""
    nodes = [
        helper.make_node("Concat", ["age", "height"], ["x"], axis=1),
        helper.make_node(
            "LinearRegressor",
            ["x"],
            ["y"],
            domain="ai.onnx.ml",
            coefficients=[2.0, 3.0],
            intercepts=[1.0],
        ),
    ]
    return model(nodes, [value("age", ["n", 1]), value("height", ["n", 1])], [value("y", ["n", 1])])


def words() -> Any:
    """Each word twice."""
    return model(
        [helper.make_node("StringConcat", ["words", "words"], ["twice"])],
        [value("words", ["n"], STRING)],
        [value("twice", ["n"], STRING)],
        opset=20,
        ir_version=9,
    )


def sequence(element: int = FLOAT) -> Any:
    """Pieces of x, as a sequence."""
    nodes = [
        helper.make_node("SplitToSequence", ["x", "length"], ["pieces"], axis=0),
    ]
    type_ = helper.make_sequence_type_proto(helper.make_tensor_type_proto(element, [None, 2]))
    return model(
        nodes,
        [value("x", ["n", 2], element)],
        [helper.make_value_info("pieces", type_)],
        [weights("length", np.int64(2))],
    )


def looping() -> Any:
    """Adds `step` to a float `times` times over."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["goes_on"]),
            helper.make_node("Add", ["sum", "step"], ["next"]),
        ],
        "body",
        [
            value("i", [], INT64),
            value("go_on", [], TensorProto.BOOL),
            value("sum", []),
        ],
        [value("goes_on", [], TensorProto.BOOL), value("next", [])],
    )
    return model(
        [helper.make_node("Loop", ["times", "", "step"], ["y"], body=body)],
        [value("times", [], INT64), value("step", [])],
        [value("y", [])],
    )


def layers(width: int = 64, depth: int = 3, rows: int | str = "rows") -> Any:
    """A multilayer perceptron."""
    random = np.random.default_rng(3)
    nodes, constants, last = [], [], "x"
    for number in range(depth):
        array = random.normal(size=(width, width)).astype(np.float32) / width**0.5
        constants.append(weights(f"w{number}", array))
        nodes.append(helper.make_node("MatMul", [last, f"w{number}"], [f"m{number}"]))
        nodes.append(helper.make_node("Relu", [f"m{number}"], [f"h{number}"]))
        last = f"h{number}"
    nodes.append(helper.make_node("Identity", [last], ["y"]))
    return model(nodes, [value("x", [rows, width])], [value("y", [rows, width])], constants)
