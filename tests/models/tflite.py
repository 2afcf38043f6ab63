"""Convert models to TFLite; most stand beside the SavedModel they were made from.

    python tests/models/tflite.py OUT

writes `OUT/<name>/1`.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from flatbuffers import Builder, flexbuffers  # type: ignore[import-untyped]
from tensorflow.lite.python import schema_py_generated as schema

Body = Callable[..., dict[str, Any]]
FILE = "model.tflite"


def spec(shape: list[int | None], dtype: Any, name: str) -> Any:
    return tf.TensorSpec(shape, dtype, name=name)


def function(*takes: Any) -> Callable[[Body], Any]:
    def decorate(body: Body) -> Any:
        return tf.function(body, input_signature=takes)

    return decorate


def save(version: Path, signatures: Mapping[str, Any], **settings: Any) -> None:
    """Write a SavedModel, and beside it what the converter makes of it."""
    tf.saved_model.save(tf.Module(), str(version), signatures=dict(signatures))
    convert(version, list(signatures), version / FILE, **settings)


def convert(saved: Path, names: list[str], into: Path, **settings: Any) -> None:
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved), signature_keys=names)
    for name, value in settings.items():
        setattr(converter, name, value)
    into.parent.mkdir(parents=True, exist_ok=True)
    into.write_bytes(converter.convert())


def lite(out: Path) -> None:
    """Several signatures, of several inputs and dtypes."""

    @function(spec([None], tf.float32, "x"))
    def half_plus_two(x: Any) -> dict[str, Any]:
        return {"y": x * 0.5 + 2.0}

    @function(spec([None, 2], tf.float32, "a"), spec([None], tf.int32, "b"))
    def mixed(a: Any, b: Any) -> dict[str, Any]:
        return {"product": a * tf.cast(b, tf.float32)[:, tf.newaxis], "next": b + 1}

    @function(spec([None], tf.string, "text"))
    def strings(text: Any) -> dict[str, Any]:
        return {"first": tf.gather(text, [0]), "column": tf.reshape(text, [-1, 1])}

    @function(spec([None], tf.string, "inputs"))
    def ones(inputs: Any) -> dict[str, Any]:
        return {"outputs": tf.fill([tf.shape(inputs)[0], 1], 1.5)}

    @function(spec([None], tf.string, "inputs"))
    def halves(inputs: Any) -> dict[str, Any]:
        return {"scores": tf.fill([tf.shape(inputs)[0], 2], 0.5)}

    signatures = {
        "serving_default": half_plus_two,
        "mixed": mixed,
        "strings": strings,
        "regress": ones,
        "classify": halves,
    }
    save(out / "lite" / "1", signatures)


def lite_net(out: Path) -> None:
    """A conv net, untrained."""
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            keras.layers.Conv2D(16, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax", name="classes"),
        ]
    )
    version = out / "lite_net" / "1"
    version.parent.mkdir(parents=True)
    model.export(str(version), verbose=False)
    convert(version, ["serving_default"], version / FILE)
    random = np.random.default_rng(seed=5)

    def examples() -> Any:
        for _ in range(50):
            yield [random.uniform(0, 1, (1, 8, 8, 1)).astype(np.float32)]

    convert(
        version,
        ["serving_default"],
        out / "lite_quantized" / "1" / FILE,
        optimizations=[tf.lite.Optimize.DEFAULT],
        representative_dataset=examples,
        target_spec=tf.lite.TargetSpec(supported_ops=[tf.lite.OpsSet.TFLITE_BUILTINS_INT8]),
        inference_input_type=tf.uint8,
        inference_output_type=tf.int8,
    )


def lite_dtypes(out: Path) -> None:
    """A signature per element type, which gives back what it takes in another shape."""

    def column(dtype: Any) -> Any:
        @function(spec([None], dtype, "x"))
        def reshaped(x: Any) -> dict[str, Any]:
            return {"y": tf.reshape(x, [-1, 1])}

        return reshaped

    names = (
        "float32 float16 float64 int8 uint8 int16 uint16 int32 uint32 int64 uint64 bool string"
        " complex64"
    )
    save(
        out / "lite_dtypes" / "1",
        {name: column(tf.as_dtype(name)) for name in names.split()},
    )


def lite_loop(out: Path) -> None:
    """Runs as long as it is told."""

    @function(spec([], tf.int32, "times"))
    def count(times: Any) -> dict[str, Any]:
        return {
            "counted": tf.while_loop(lambda i: i < times, lambda i: (i + 1,), (tf.constant(0),))[0]
        }

    save(out / "lite_loop" / "1", {"serving_default": count})


def lite_fixed(out: Path) -> None:
    """Takes one row and no more."""

    @function(spec([1, 4], tf.float32, "x"))
    def square(x: Any) -> dict[str, Any]:
        return {"y": tf.reshape(x, [2, 2])}

    save(out / "lite_fixed" / "1", {"serving_default": square})


def lite_custom(out: Path) -> None:
    """Parses Examples, by an operation that only some runtimes have."""

    @function(spec([None], tf.string, "inputs"))
    def parse(inputs: Any) -> dict[str, Any]:
        parsed = tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([1], tf.float32)})
        return {"outputs": parsed["x"] * 0.5 + 2.0}

    save(out / "lite_custom" / "1", {"serving_default": parse}, allow_custom_ops=True)


def info(name: str, dtype: Any, shape: list[int | None]) -> Any:
    return tf.compat.v1.saved_model.build_tensor_info(
        tf.compat.v1.placeholder(dtype, shape, name=name)
    )


def lite_metadata(out: Path) -> None:
    """Signatures in the metadata, as tools for TensorFlow Serving write them, and none besides."""
    define = tf.compat.v1.saved_model.build_signature_def
    with tf.Graph().as_default():
        x, y = info("x_in", tf.float32, [None]), info("y_out", tf.float32, [None])
        x.name, y.name = "x_in:0", "y_out:0"
        definitions = {
            "serving_default": define({"x": x}, {"y": y}, "tensorflow/serving/predict"),
            "doubtful": define({"number": x}, {"half": y}, "some/method"),
        }
    plain = (out / "lite_plain" / "1" / FILE).read_bytes()
    version = out / "lite_metadata" / "1"
    version.mkdir(parents=True)
    (version / FILE).write_bytes(with_metadata(plain, definitions))
    wrong = out / "lite_unknown_tensor" / "1"
    wrong.mkdir(parents=True)
    definitions["serving_default"].outputs["y"].name = "elsewhere:0"
    (wrong / FILE).write_bytes(with_metadata(plain, definitions))


def lite_plain(out: Path) -> None:
    """No signatures: the names of the tensors are all there is."""

    @function(spec([None], tf.float32, "x"))
    def half_plus_two(x: Any) -> dict[str, Any]:
        return {"y": x * 0.5 + 2.0}

    version = out / "lite_plain" / "1"
    save(version, {"serving_default": half_plus_two})
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel((version / FILE).read_bytes(), 0))
    model.signatureDefs = []
    graph = model.subgraphs[0]
    graph.tensors[graph.inputs[0]].name = "x_in"
    graph.tensors[graph.outputs[0]].name = "y_out"
    (version / FILE).write_bytes(packed(model))


def with_metadata(content: bytes, definitions: Mapping[str, Any]) -> bytes:
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
    flexible = flexbuffers.Builder()
    with flexible.Map():
        for name, definition in sorted(definitions.items()):
            flexible.Key(name)
            flexible.Blob(definition.SerializeToString())
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(flexible.Finish(), np.uint8)
    metadata = schema.MetadataT()
    metadata.name = "signature_defs_metadata"
    metadata.buffer = len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), metadata]
    return packed(model)


def packed(model: Any) -> bytes:
    builder = Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def main(out: Path) -> None:
    for make in (lite, lite_net, lite_dtypes, lite_loop, lite_fixed, lite_custom, lite_plain):
        make(out)
    lite_metadata(out)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
