"""Make the TF1-style models: graphs with placeholders, reference variables, assets and tags.

    python tests/models/tf1.py OUT

writes `OUT/<name>/<version>`. Run in a process of its own: neither the tests nor the server
import TensorFlow.
"""

import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo

tf1 = tf.compat.v1
tf1.logging.set_verbosity(tf1.logging.ERROR)  # the deprecations are what these models are about
build_tensor_info = tf1.saved_model.build_tensor_info
Signatures = Mapping[str, Any]

PREDICT = "tensorflow/serving/predict"
REGRESS = "tensorflow/serving/regress"
CLASSIFY = "tensorflow/serving/classify"
ASSET = "asset-file-contents"

DTYPES = [  # by the names TensorFlow's messages use
    "float", "double", "half", "bfloat16",
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "bool", "string", "complex64", "complex128",
    "qint8", "quint8", "qint16", "quint16", "qint32",
    "float8_e5m2", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e4m3b11fnuz", "float8_e5m2fnuz",
    "int4", "uint4", "int2", "uint2", "float4_e2m1fn",
]  # fmt: skip


def signature(inputs: dict[str, Any], outputs: dict[str, Any], method: str = PREDICT) -> Any:
    """A SignatureDef of tensors, or of TensorInfos where the truth is not to be told."""

    def described(tensors: dict[str, Any]) -> dict[str, Any]:
        return {
            key: tensor if isinstance(tensor, TensorInfo) else build_tensor_info(tensor)
            for key, tensor in tensors.items()
        }

    return tf1.saved_model.build_signature_def(described(inputs), described(outputs), method)


def save(
    version: Path,
    build: Callable[[], Signatures],
    *,
    tags: tuple[str, ...] = ("serve",),
    more: Mapping[tuple[str, ...], Callable[[], Signatures]] | None = None,
) -> None:
    """Write a SavedModel of one graph, and of one further graph for each further set of tags."""
    builder = tf1.saved_model.Builder(str(version))
    with tf.Graph().as_default(), tf1.Session() as session:
        signatures = build()
        session.run(tf1.global_variables_initializer())
        builder.add_meta_graph_and_variables(
            session,
            list(tags),
            signature_def_map=dict(signatures),
            assets_collection=tf1.get_collection(tf1.GraphKeys.ASSET_FILEPATHS),
        )
    for other_tags, other in (more or {}).items():
        with tf.Graph().as_default():
            builder.add_meta_graph(list(other_tags), signature_def_map=dict(other()))
    builder.save()


def variable(name: str, value: float) -> Any:
    """A TF1 reference variable."""
    return tf1.Variable(value, name=name, dtype=tf.float32, use_resource=False)


def half_plus_two_graph(asset: Path) -> Signatures:
    asset.parent.mkdir(parents=True, exist_ok=True)
    asset.write_text(ASSET)
    tf1.add_to_collection(tf1.GraphKeys.ASSET_FILEPATHS, tf.constant(str(asset), name="asset"))
    examples = tf1.placeholder(tf.string, [None], name="tf_example")
    parsed = tf1.io.parse_example(
        examples,
        {
            "x": tf1.io.FixedLenFeature([1], tf.float32),
            "x2": tf1.io.FixedLenFeature([1], tf.float32, default_value=[0.0]),
        },
    )
    x = tf.identity(parsed["x"], name="x")
    x2 = tf.identity(parsed["x2"], name="x2")
    a, b, c = variable("a", 0.5), variable("b", 2.0), variable("c", 3.0)
    y = tf.add(tf.multiply(a, x), b, name="y")
    y2 = tf.add(tf.multiply(a, x), c, name="y2")
    y3 = tf.add(tf.multiply(a, x2), c, name="y3")
    return {
        "serving_default": signature({"x": x}, {"y": y}),
        "regress_x_to_y": signature({"inputs": examples}, {"outputs": y}, REGRESS),
        "regress_x_to_y2": signature({"inputs": examples}, {"outputs": y2}, REGRESS),
        "regress_x2_to_y3": signature({"inputs": x2}, {"outputs": y3}, REGRESS),
        "classify_x_to_y": signature({"inputs": examples}, {"scores": y}, CLASSIFY),
        "classify_x2_to_y3": signature({"inputs": x2}, {"scores": y3}, CLASSIFY),
    }


def half_plus_two(out: Path) -> None:
    asset = out / "asset-source" / "foo.txt"
    save(out / "half_plus_two" / "00000123", lambda: half_plus_two_graph(asset))
    for version in ("00000123", "00000124"):
        shutil.copytree(
            out / "half_plus_two" / "00000123", out / "half_plus_two_2_versions" / version
        )
    shutil.rmtree(asset.parent)


def half_plus_three_graph() -> Signatures:
    """Signatures that lie: rank 0 for batched tensors, float for a string."""
    examples = tf1.placeholder(tf.string, name="tf_example")
    parsed = tf1.io.parse_example(examples, {"x": tf1.io.FixedLenFeature([1], tf.float32)})
    x = tf.identity(parsed["x"], name="x")
    y = tf.add(tf.multiply(variable("a", 0.5), x), variable("b", 3.0), name="y")
    lie = {"dtype": tf.float32.as_datatype_enum, "tensor_shape": tf.TensorShape([]).as_proto()}
    return {
        "serving_default": signature(
            {"x": TensorInfo(name=x.name, **lie)}, {"y": TensorInfo(name=y.name, **lie)}
        ),
        "tensorflow/serving/regress": signature(
            {"inputs": TensorInfo(name=examples.name, **lie)},
            {"outputs": TensorInfo(name=tf.identity(y, name="Identity").name, **lie)},
            REGRESS,
        ),
    }


def half_plus_three(out: Path) -> None:
    save(out / "half_plus_three" / "00000123", half_plus_three_graph)


def counter_graph() -> Signatures:
    count = variable("counter", 0.0)
    delta = tf1.placeholder(tf.float32, name="delta")
    return {
        "get_counter": signature({}, {"output": count._ref()}),
        "incr_counter": signature({}, {"output": tf1.assign_add(count, 1.0)}),
        "incr_counter_by": signature({"delta": delta}, {"output": tf1.assign_add(count, delta)}),
        "reset_counter": signature({}, {"output": tf1.assign(count, 0.0)}),
    }


def counter(out: Path) -> None:
    save(out / "counter" / "00000123", counter_graph)


def matrix_half_plus_two_graph() -> Signatures:
    x = tf1.placeholder(tf.float32, [None, 3, 3], name="x")
    return {"serving_default": signature({"x": x}, {"y": tf.add(x * 0.5, 2.0, name="y")})}


def matrix_half_plus_two(out: Path) -> None:
    save(out / "matrix_half_plus_two" / "1", matrix_half_plus_two_graph)


def every_dtype_graph() -> Signatures:
    signatures = {}
    for name in DTYPES:
        try:
            dtype = tf.as_dtype(name)
        except TypeError:  # newer than this TensorFlow
            continue
        x = tf1.placeholder(dtype, [None], name=f"x_{name}")
        signatures[name] = signature({"x": x}, {"y": tf.identity(x, name=f"y_{name}")})
    return signatures


def every_dtype(out: Path) -> None:
    save(out / "every_dtype" / "1", every_dtype_graph)


def scaled_graph(factor: float, bias: float) -> Callable[[], Signatures]:
    def graph() -> Signatures:
        x = tf1.placeholder(tf.float32, [None], name="x")
        y = tf.add(variable("a", 0.0) + x * factor, bias, name="y")
        return {"serving_default": signature({"x": x}, {"y": y})}

    return graph


def two_tags(out: Path) -> None:
    """`{serve}` answers x/2 + 2, `{serve, gpu}` answers 10 x."""
    save(
        out / "two_tags" / "1",
        scaled_graph(0.5, 2.0),
        more={("serve", "gpu"): scaled_graph(10.0, 0.0)},
    )


def spoiled(out: Path) -> None:
    """Copies of half_plus_two as they lie there when a copy was cut short or a disk failed."""
    whole = out / "half_plus_two" / "00000123"
    for name in ("truncated_pb", "lost_variables"):
        shutil.copytree(whole, out / name / "1")
    pb = out / "truncated_pb" / "1" / "saved_model.pb"
    pb.write_bytes(pb.read_bytes()[: pb.stat().st_size // 2])
    (out / "lost_variables" / "1" / "variables" / "variables.data-00000-of-00001").unlink()


def main(out: Path) -> None:
    half_plus_two(out)
    half_plus_three(out)
    counter(out)
    matrix_half_plus_two(out)
    every_dtype(out)
    two_tags(out)
    spoiled(out)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
