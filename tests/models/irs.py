"""Small models of OpenVINO, and one of ONNX.

    python tests/models/irs.py OUT

writes `OUT/<name>/1`.
"""

import sys
from pathlib import Path
from typing import Any

try:
    import numpy as np
    import onnx
    import openvino
    from openvino import opset13 as op
except ModuleNotFoundError as error:
    sys.stdout.write(f"not installed: {error.name}")
    sys.exit(77)

random = np.random.default_rng(7)
FIRST = random.normal(size=(16, 64)).astype(np.float32)
SECOND = random.normal(size=(64, 5)).astype(np.float32)


def save(out: Path, name: str, model: Any) -> None:
    directory = out / name / "1"
    directory.mkdir(parents=True)
    openvino.save_model(model, directory / "model.xml", compress_to_fp16=False)


def net(out: Path) -> None:
    """Two layers; its weights stand beside it for tests, as `weights.npz`."""
    x = op.parameter([-1, 16], np.float32, name="input")
    x.output(0).set_names({"x"})
    hidden = op.relu(op.matmul(x, op.constant(FIRST), False, False))
    y = op.softmax(op.matmul(hidden, op.constant(SECOND), False, False), 1)
    y.output(0).set_names({"y"})
    save(out, "openvino_net", openvino.Model([y], [x], "net"))
    np.savez(out / "openvino_net" / "weights.npz", first=FIRST, second=SECOND)


def types(out: Path) -> None:
    """Every element type through, and a sum of two inputs without names."""
    names = "boolean f16 f32 f64 i8 i16 i32 i64 u8 u16 u32 u64 bf16".split()  # noqa: SIM905
    inputs, outputs = [], []
    for name in names:
        each = op.parameter([-1], getattr(openvino.Type, name), name=name)
        each.output(0).set_names({name})
        same = op.reshape(each, op.constant(np.array([-1])), False)
        same.output(0).set_names({f"{name}_out"})
        inputs.append(each)
        outputs.append(same)
    a = op.parameter([-1, 2], np.float32, name="a")
    b = op.parameter([-1, 2], np.float32, name="b")
    save(
        out,
        "openvino_types",
        openvino.Model([*outputs, op.add(a, b, name="sum")], [*inputs, a, b], "types"),
    )


def onnx_file(out: Path) -> None:
    make = onnx.helper
    x = make.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["rows", 2])
    y = make.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["rows", 2])
    graph = make.make_graph([make.make_node("Add", ["x", "x"], ["y"])], "twice", [x], [y])
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)])
    directory = out / "openvino_onnx" / "1"
    directory.mkdir(parents=True)
    onnx.save(model, directory / "model.onnx")


if __name__ == "__main__":
    net(Path(sys.argv[1]))
    types(Path(sys.argv[1]))
    onnx_file(Path(sys.argv[1]))
