"""ONNX models of the sizes of well-known nets, with random weights.

    python benchmarks/onnx_nets.py OUT [NAME ...]

writes `OUT/<name>/1/model.onnx`: half_plus_two, mlp, mobilenet_v2, resnet50. What matters is which
operations there are and on how much; so batch normalization is part of the convolutions already.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET, IR_VERSION = 17, 8


class Graph:
    """Nodes one after the other."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self._random = np.random.default_rng(1)

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        output = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def weight(self, *shape: int, scale: float = 0.0) -> str:
        name = f"w{len(self.weights)}"
        spread = scale or (2.0 / max(1, int(np.prod(shape[1:])))) ** 0.5
        array = (self._random.standard_normal(shape) * spread).astype(np.float32)
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def constant(self, value: Any) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def conv(self, x: str, shape: tuple[int, int, int], stride: int = 1, group: int = 1) -> str:
        channels, given, size = shape
        pad = size // 2
        return self.add(
            "Conv",
            *(
                x,
                self.weight(channels, given // group, size, size),
                self.weight(channels, scale=0.01),
            ),
            kernel_shape=[size, size],
            pads=[pad] * 4,
            strides=[stride] * 2,
            group=group,
        )

    def relu6(self, x: str) -> str:
        return self.add("Clip", x, self.constant(np.float32(0)), self.constant(np.float32(6)))

    def classes(self, x: str, width: int) -> str:
        pooled = self.add("Flatten", self.add("GlobalAveragePool", x))
        weight, bias = self.weight(width, 1000, scale=0.01), self.weight(1000, scale=0.01)
        return self.add("Softmax", self.add("Gemm", pooled, weight, bias))

    def model(self, shape: list[int | str], last: str, outputs: list[int | str]) -> Any:
        self.nodes[-1].output[0] = "y"
        assert last == f"v{len(self.nodes) - 1}"
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, outputs)],
            self.weights,
        )
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)


IMAGE: list[int | str] = ["rows", 3, 224, 224]


def half_plus_two() -> Any:
    net = Graph()
    product = net.add("Mul", "x", net.constant(np.float32(0.5)))
    return net.model(["rows"], net.add("Add", product, net.constant(np.float32(2))), ["rows"])


def mlp() -> Any:
    net, last = Graph(), "x"
    for given, width in ((784, 64), (64, 64), (64, 10)):
        last = net.add("MatMul", last, net.weight(given, width, scale=given**-0.5))
        last = net.add("Relu", net.add("Add", last, net.weight(width, scale=0.01)))
    return net.model(["rows", 784], net.add("Softmax", last), ["rows", 10])


def mobilenet_v2() -> Any:
    net = Graph()
    last, given = net.relu6(net.conv("x", (32, 3, 3), stride=2)), 32
    for expand, channels, number, stride in (
        *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
        *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
    ):
        for at in range(number):
            before, wide = last, given * expand
            if expand > 1:
                last = net.relu6(net.conv(last, (wide, given, 1)))
            step = stride if at == 0 else 1
            last = net.relu6(net.conv(last, (wide, wide, 3), stride=step, group=wide))
            last = net.conv(last, (channels, wide, 1))
            if step == 1 and given == channels:
                last = net.add("Add", before, last)
            given = channels
    last = net.relu6(net.conv(last, (1280, given, 1)))
    return net.model(IMAGE, net.classes(last, 1280), ["rows", 1000])


def resnet50() -> Any:
    net = Graph()
    last = net.add("Relu", net.conv("x", (64, 3, 7), stride=2))
    last = net.add("MaxPool", last, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    given = 64
    for width, number, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for at in range(number):
            step, before = (stride if at == 0 else 1), last
            if at == 0:
                before = net.conv(last, (4 * width, given, 1), stride=step)
            last = net.add("Relu", net.conv(last, (width, given, 1)))
            last = net.add("Relu", net.conv(last, (width, width, 3), stride=step))
            last = net.conv(last, (4 * width, width, 1))
            last, given = net.add("Relu", net.add("Add", before, last)), 4 * width
    return net.model(IMAGE, net.classes(last, 2048), ["rows", 1000])


MODELS: dict[str, Callable[[], Any]] = {
    "half_plus_two": half_plus_two,
    "mlp": mlp,
    "mobilenet_v2": mobilenet_v2,
    "resnet50": resnet50,
}


def main(out: Path, names: list[str]) -> None:
    for name in names or MODELS:
        version = out / name / "1"
        version.mkdir(parents=True, exist_ok=True)
        onnx.save(MODELS[name](), str(version / "model.onnx"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
