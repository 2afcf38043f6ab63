"""Make the TF2 models: modules with functions, resources and an initialiser.

    python tests/models/tf2.py OUT

writes `OUT/<name>/<version>`.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

BIG_BYTES = 64 << 20
Body = Callable[..., dict[str, Any]]


def spec(shape: list[int | None], dtype: Any, name: str) -> Any:
    return tf.TensorSpec(shape, dtype, name=name)


def function(*takes: Any) -> Callable[[Body], Any]:
    """A `tf.function` that takes just these inputs."""

    def decorate(body: Body) -> Any:
        return tf.function(body, input_signature=takes)

    return decorate


def save(version: Path, module: Any, signatures: dict[str, Any]) -> None:
    tf.saved_model.save(module, str(version), signatures=signatures)


def set_default(version: Path, name: str, key: str, value: Any) -> None:
    """Give an input of a signature the value that is fed when a request leaves it out."""
    from tensorflow.core.protobuf import saved_model_pb2

    file = version / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for graph in saved.meta_graphs:
        graph.signature_def[name].defaults[key].CopyFrom(tf.make_tensor_proto(value))
    file.write_bytes(saved.SerializeToString())


class HalfPlusTwo(tf.Module):  # type: ignore[misc]
    """y = a x + b, y2 = a x + c, y3 = a2 x2 + c2, from floats or from serialized Examples."""

    def __init__(self, asset: Path) -> None:
        super().__init__()
        self.a, self.b, self.c = tf.Variable(0.5), tf.Variable(2.0), tf.Variable(3.0)
        self.a2, self.c2 = tf.Variable(0.5), tf.Variable(3.0)
        self.asset = tf.saved_model.Asset(str(asset))
        self.table = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(
                self.asset,
                tf.string,
                tf.lookup.TextFileIndex.WHOLE_LINE,
                tf.int64,
                tf.lookup.TextFileIndex.LINE_NUMBER,
            ),
            default_value=-1,
        )

    def line(self, feature: str, a: Any, b: Any) -> Callable[[Any], Any]:
        def of_examples(inputs: Any) -> Any:
            parsed = tf.io.parse_example(
                inputs,
                {
                    "x": tf.io.FixedLenFeature([1], tf.float32),
                    "x2": tf.io.FixedLenFeature([1], tf.float32, default_value=[0.0]),
                },
            )
            return a * parsed[feature] + b

        return of_examples


def half_plus_two_tf2(out: Path) -> None:
    asset = out / "foo.txt"
    asset.write_text("asset-file-contents")
    module = HalfPlusTwo(asset)
    text = spec([None], tf.string, "inputs")
    number = spec([1], tf.float32, "inputs")

    def gives(output: str, line: Callable[[Any], Any]) -> Body:
        return lambda inputs: {output: line(inputs)}

    def x2_to_y3(x2: Any) -> Any:
        return module.a2 * x2 + module.c2

    @function(spec([1], tf.float32, "x"))
    def serving_default(x: Any) -> dict[str, Any]:
        return {"y": module.a * x + module.b}

    x_to_y = module.line("x", module.a, module.b)
    x_to_y2 = module.line("x", module.a, module.c)
    version = out / "half_plus_two_tf2" / "00000123"
    signatures = {
        "serving_default": serving_default,
        "regress_x_to_y": function(text)(gives("outputs", x_to_y)),
        "regress_x_to_y2": function(text)(gives("outputs", x_to_y2)),
        "regress_x2_to_y3": function(number)(gives("outputs", x2_to_y3)),
        "classify_x_to_y": function(text)(gives("scores", x_to_y)),
        "classify_x2_to_y3": function(number)(gives("scores", x2_to_y3)),
    }
    save(version, module, signatures)
    set_default(version, "serving_default", "x", [0.0])
    asset.unlink()


def several(out: Path) -> None:
    """Signatures of several inputs and outputs, and those of unusual shapes."""
    module = tf.Module()

    @function(
        spec([None, 2], tf.float32, "a"),
        spec([None], tf.int32, "b"),
        spec([None], tf.string, "text"),
    )
    def mixed(a: Any, b: Any, text: Any) -> dict[str, Any]:
        scaled = a * tf.cast(b, tf.float32)[:, tf.newaxis]
        return {"product": scaled, "next": b + 1, "upper": tf.strings.upper(text)}

    @function(spec([None], tf.float32, "x"))
    def scalar_output(x: Any) -> dict[str, Any]:
        return {"total": tf.reduce_sum(x)}

    @function(spec([None], tf.float32, "x"))
    def uneven(x: Any) -> dict[str, Any]:
        return {"all": x, "most": x[1:]}

    @function()
    def constant() -> dict[str, Any]:
        return {"y": tf.constant([1.0, 2.0])}

    @function(spec([None], tf.float32, "x"), spec([], tf.float32, "scale"))
    def optional(x: Any, scale: Any) -> dict[str, Any]:
        return {"y": x * scale}

    @function(spec([None], tf.float32, "x"))
    def not_finite(x: Any) -> dict[str, Any]:
        return {"y": x / 0.0}

    version = out / "several" / "1"
    signatures = {
        "serving_default": mixed,
        "scalar_output": scalar_output,
        "uneven": uneven,
        "constant": constant,
        "optional": optional,
        "not_finite": not_finite,
    }
    save(version, module, signatures)
    set_default(version, "optional", "scale", 3.0)


def strings(out: Path) -> None:
    """Words to numbers and back by a table from an asset; bytes that are no text."""
    vocabulary = out / "vocabulary.txt"
    vocabulary.write_text("the\nquick\nbrown\nfox\n")
    module = tf.Module()
    module.words = tf.lookup.StaticVocabularyTable(
        tf.lookup.TextFileInitializer(
            str(vocabulary),
            tf.string,
            tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
        ),
        num_oov_buckets=1,
    )

    @function(spec([None], tf.string, "words"))
    def numbers(words: Any) -> dict[str, Any]:
        return {"ids": module.words.lookup(words), "lengths": tf.strings.length(words)}

    @function(spec([None], tf.string, "image_bytes"))
    def echo(image_bytes: Any) -> dict[str, Any]:
        return {"image_bytes": image_bytes, "text": image_bytes}

    @function(spec([None], tf.string, "text"))
    def split(text: Any) -> dict[str, Any]:
        return {"characters": tf.strings.bytes_split(text).to_tensor()}

    save(
        out / "strings" / "1",
        module,
        {"serving_default": numbers, "echo_bytes": echo, "split": split},
    )
    vocabulary.unlink()


def classes(out: Path) -> None:
    """Classify with labels and scores, and regress, from Examples without any required feature."""
    module = tf.Module()
    examples = spec([None], tf.string, "inputs")
    features = {"scores": tf.io.FixedLenFeature([2], tf.float32, default_value=[0.25, 0.75])}

    @function(examples)
    def classify(inputs: Any) -> dict[str, Any]:
        scores = tf.io.parse_example(inputs, features)["scores"]
        names = tf.tile(tf.constant([["car", "bike"]]), [tf.shape(scores)[0], 1])
        return {"classes": names, "scores": scores}

    @function(examples)
    def labels(inputs: Any) -> dict[str, Any]:
        return {"classes": classify(inputs)["classes"]}

    @function(examples)
    def regress(inputs: Any) -> dict[str, Any]:
        return {"outputs": tf.reduce_sum(tf.io.parse_example(inputs, features)["scores"], axis=1)}

    save(
        out / "classes" / "1",
        module,
        {"serving_default": classify, "labels": labels, "regress": regress},
    )


def slow(out: Path) -> None:
    """Keeps one core busy for as many milliseconds as the largest of `millis`, then echoes them."""
    module = tf.Module()

    @function(spec([None], tf.float32, "millis"))
    def wait(millis: Any) -> dict[str, Any]:
        end = tf.timestamp() + tf.cast(tf.reduce_max(millis), tf.float64) / 1000.0
        matrix = tf.random.uniform([32, 32])
        _, spent = tf.while_loop(
            lambda now, _: now < end,
            lambda _, sum_: (tf.timestamp(), sum_ + tf.reduce_sum(tf.matmul(matrix, matrix))),
            (tf.timestamp(), tf.constant(0.0)),
        )
        return {"y": millis + 0.0 * spent}

    save(out / "slow" / "1", module, {"serving_default": wait})


def failing(out: Path) -> None:
    """Runs that fail: a violated assertion, a file that is not there, a division by zero."""
    module = tf.Module()

    @function(spec([None], tf.float32, "x"))
    def asserted(x: Any) -> dict[str, Any]:
        with tf.control_dependencies(
            [tf.debugging.Assert(tf.reduce_all(x >= 0), ["x must not be negative:", x])]
        ):
            return {"y": tf.sqrt(x)}

    @function(spec([None], tf.string, "path"))
    def read(path: Any) -> dict[str, Any]:
        return {"contents": tf.io.read_file(path[0])[tf.newaxis]}

    @function(spec([None], tf.int32, "x"))
    def divide(x: Any) -> dict[str, Any]:
        return {"y": 12 // x}

    save(
        out / "failing" / "1",
        module,
        {"serving_default": asserted, "read_file": read, "divide": divide},
    )


def slicer(out: Path) -> None:
    """One pixel of each 224x224x3 image: what is left is the cost of carrying the image there."""
    module = tf.Module()

    @function(spec([None, 224, 224, 3], tf.float32, "image"))
    def pixel(image: Any) -> dict[str, Any]:
        return {"pixel": image[:, 0, 0, :]}

    save(out / "slicer" / "1", module, {"serving_default": pixel})


def big(out: Path) -> None:
    """Variables of 64 MiB that each run reads one number of."""
    module = tf.Module()
    module.weights = tf.Variable(tf.ones([BIG_BYTES // 4]))

    @function(spec([None], tf.float32, "x"))
    def plus_one(x: Any) -> dict[str, Any]:
        return {"y": x + module.weights[0]}

    save(out / "big" / "1", module, {"serving_default": plus_one})


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    half_plus_two_tf2(out)
    several(out)
    strings(out)
    classes(out)
    slow(out)
    failing(out)
    slicer(out)
    big(out)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
