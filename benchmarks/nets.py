"""Make the models of the benchmarks. Needs TensorFlow; run as a child process.

    python benchmarks/nets.py OUT [NAME ...]

writes `OUT/<name>/<version>`: those named, or those of `batching.py` and `soak.py`.
"""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

BIG_BYTES = 150 << 20
VARIANTS = 4


def convnet(out: Path) -> None:
    """28x28 grey pixels to ten classes: two convolutions and two dense layers, untrained.

    `image.npy` beside the version holds a picture, `classes.npy` what Keras says of it.
    """
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1), name="image"),
            keras.layers.Conv2D(16, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dense(10, activation="softmax", name="classes"),
        ]
    )
    model.export(str(out / "convnet" / "1"), verbose=False)
    image = np.random.default_rng(0).integers(0, 256, (1, 28, 28, 1)) / 255
    image = image.round(4).astype(np.float32)
    np.save(out / "convnet" / "image.npy", image)
    np.save(out / "convnet" / "classes.npy", model(image).numpy())


def mlp(out: Path) -> None:
    """28x28 grey pixels to ten classes: two dense layers, untrained."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((28, 28), name="image"),
            keras.layers.Flatten(),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dense(10, activation="softmax", name="classes"),
        ]
    )
    model.export(str(out / "mlp" / "1"), verbose=False)


def resnet50(out: Path) -> None:
    """224x224x3 pixels to a thousand classes, untrained: 100 MB, and most of a CPU's time."""
    keras.utils.set_random_seed(1)
    inner = keras.applications.ResNet50(weights=None)
    image = keras.Input((224, 224, 3), name="image")
    model = keras.Model(image, inner(image))
    model.export(str(out / "resnet50" / "1"), verbose=False)


def save(version: Path, module: Any, function: Callable[[Any], dict[str, Any]]) -> None:
    """One signature, which takes floats."""
    serve = tf.function(function, input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    tf.saved_model.save(module, str(version), signatures={"serving_default": serve})


def line(offset: Any) -> Callable[[Any], dict[str, Any]]:
    return lambda x: {"y": 2.0 * x + offset}


def affine(out: Path) -> None:
    """Variants that differ in what they answer: variant k says 2 x + k."""
    for variant in range(VARIANTS):
        module = tf.Module()
        module.k = tf.Variable(float(variant))
        save(out / "affine" / str(variant), module, line(module.k))


def weighted(module: tf.Module) -> Callable[[Any], dict[str, Any]]:
    return lambda x: {"y": 2.0 * x + module.weights[-1]}


def big(out: Path) -> None:
    """Two variants of `affine` with 150 MiB of variables, of which a run reads one number."""
    for variant in range(2):
        module = tf.Module()
        module.weights = tf.Variable(tf.fill([BIG_BYTES // 4], float(variant)))
        save(out / "big" / str(variant), module, weighted(module))


def rooted(out: Path) -> None:
    """The square root; a run with a negative number in it fails as INVALID_ARGUMENT."""

    def root(x: Any) -> dict[str, Any]:
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(x >= 0), ["bad x:", x])]):
            return {"y": tf.sqrt(x)}

    save(out / "rooted" / "0", tf.Module(), root)


def busy(out: Path) -> None:
    """Keeps one core busy for the largest of its numbers of milliseconds, then echoes them."""

    def wait(x: Any) -> dict[str, Any]:
        end = tf.timestamp() + tf.cast(tf.reduce_max(x), tf.float64) / 1000.0
        matrix = tf.random.uniform([32, 32])
        _, spent = tf.while_loop(
            lambda now, _: now < end,
            lambda _, sum_: (tf.timestamp(), sum_ + tf.reduce_sum(tf.matmul(matrix, matrix))),
            (tf.timestamp(), tf.constant(0.0)),
        )
        return {"y": x + 0.0 * spent}

    save(out / "busy" / "0", tf.Module(), wait)


DEFAULT = (convnet, affine, big, rooted, busy)
NETS = {make.__name__: make for make in (*DEFAULT, mlp, resnet50)}


def main(out: Path, names: list[str]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for name in names or [make.__name__ for make in DEFAULT]:
        if not (out / name).exists():
            made = out / "unfinished"
            shutil.rmtree(made, ignore_errors=True)
            made.mkdir()
            NETS[name](made)
            (made / name).rename(out / name)
            made.rmdir()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
