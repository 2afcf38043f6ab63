"""Make Keras files, and what `model.predict` says of some inputs.

    python tests/models/keras_files.py OUT

writes `OUT/<name>/1/<file>` and `OUT/<name>/expected.npz`, whose arrays are called `in_<input>` and
`out_<output>` as in the signature that Keras exports.
"""

import sys
import textwrap
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

ROWS = 5


def numbers(*shape: int) -> Any:
    return np.random.default_rng(7).normal(size=shape).astype(np.float32)


def save(path: Path, model: Any, inputs: dict[str, Any], called_with: Any = None) -> None:
    """Save a model as `path`, and its answers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    model.save(str(path))
    answers = model.predict(inputs if called_with is None else called_with, verbose=0)
    several = answers if isinstance(answers, list) else [answers]
    named = (
        answers
        if isinstance(answers, dict)
        else {f"output_{number}": answer for number, answer in enumerate(several)}
    )
    arrays = {f"in_{name}": np.asarray(value) for name, value in inputs.items()}
    arrays |= {f"out_{name}": np.asarray(value) for name, value in named.items()}
    np.savez(path.parent.parent / "expected.npz", allow_pickle=False, **arrays)


def trained(out: Path) -> None:
    """With Dropout, and a BatchNormalization that has seen data; as `.keras` and as `.h5`."""
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3), name="picture"),
            layers.Rescaling(1 / 255),
            layers.RandomFlip(),
            layers.Conv2D(4, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(3, activation="softmax", name="classes"),
        ]
    )
    model.compile("sgd", "mse")
    model.fit(np.abs(numbers(8, 8, 8, 3)) * 50, numbers(8, 3), epochs=2, verbose=0)
    pictures = np.abs(numbers(ROWS, 8, 8, 3)) * 50
    save(out / "keras_trained" / "1" / "model.keras", model, {"picture": pictures}, pictures)
    assets = out / "keras_trained" / "1" / "assets"
    assets.mkdir(parents=True)
    (assets / "labels.txt").write_text("cat\ndog\nbird\n")
    save(out / "keras_h5" / "1" / "model.h5", model, {"picture": pictures}, pictures)


def branches(out: Path) -> None:
    """Functional, with two inputs and two outputs."""
    left = keras.Input((2,), name="left")
    right = keras.Input((3,), name="right")
    both = layers.Concatenate()([layers.Dense(4)(left), layers.Dense(4)(right)])
    outputs = [layers.Dense(1, name="total")(both), layers.Softmax(name="parts")(both)]
    model = keras.Model([left, right], outputs)
    inputs = {"left": numbers(ROWS, 2), "right": numbers(ROWS, 3)}
    path = out / "keras_branches" / "1" / "branches.keras"
    save(path, model, inputs, [inputs["left"], inputs["right"]])


def words(out: Path) -> None:
    """Preprocessing in the model: a vocabulary for strings, and numbers that are normalized."""
    word = keras.Input((), dtype="string", name="word")
    size = keras.Input((1,), name="size")
    normalization = layers.Normalization()
    normalization.adapt(numbers(20, 1) * 10 + 5)
    known = layers.StringLookup(vocabulary=["tea", "coffee", "水"], output_mode="one_hot")
    joined = layers.Concatenate()([known(word), normalization(size)])
    model = keras.Model({"word": word, "size": size}, {"score": layers.Dense(2)(joined)})
    inputs = {
        "word": np.array(["tea", "水", "?", "coffee", ""], object),
        "size": numbers(ROWS, 1),
    }
    tensors = {name: tf.constant(value) for name, value in inputs.items()}
    encoded = {**inputs, "word": np.array([text.encode() for text in inputs["word"]])}
    save(out / "keras_words" / "1" / "words.keras", model, encoded, tensors)


CLASSES = """
import keras

@keras.saving.register_keras_serializable("ours")
class Doubling(keras.layers.Layer):
    def call(self, inputs):
        return inputs * 2.0

def squared(values):
    return values * values

@keras.saving.register_keras_serializable("ours")
class Net(keras.Model):
    def __init__(self, **more):
        super().__init__(**more)
        self.double = Doubling()
        self.dense = keras.layers.Dense(2, activation=squared)
        self.dropout = keras.layers.Dropout(0.5)

    def call(self, inputs, training=False):
        return self.dropout(self.dense(self.double(inputs)), training=training)
"""


def custom(out: Path) -> None:
    """A subclassed model of classes that stand in `classes.py` beside it."""
    base = out / "keras_custom"
    (base / "1").mkdir(parents=True)
    source = base / "classes.py"
    source.write_text(textwrap.dedent(CLASSES).lstrip())
    sys.path.insert(0, str(base))
    import classes  # type: ignore[import-not-found]

    model = classes.Net()
    rows = numbers(ROWS, 3)
    model(rows)
    save(base / "1" / "net.keras", model, {"args_0": rows}, rows)


def unsafe(out: Path) -> None:
    """Code in the file: as Keras 3 writes it, in both formats."""
    model = keras.Sequential([keras.Input((2,), name="x"), layers.Lambda(lambda x: x * 2.0)])
    rows = numbers(ROWS, 2)
    save(out / "keras_lambda" / "1" / "model.keras", model, {"x": rows}, rows)
    save(out / "keras_lambda_h5" / "1" / "model.h5", model, {"x": rows}, rows)


def unusable(out: Path) -> None:
    """A file that was cut, weights alone, and a model that never saw its inputs."""
    for name in ("keras_cut", "keras_weights", "keras_unbuilt"):
        (out / name / "1").mkdir(parents=True)
    whole = (out / "keras_h5" / "1" / "model.h5").read_bytes()
    (out / "keras_cut" / "1" / "model.h5").write_bytes(whole[: len(whole) // 2])
    model = keras.Sequential([keras.Input((2,)), layers.Dense(1)])
    weights = out / "keras_weights" / "1" / "model.weights.h5"
    model.save_weights(str(weights))
    weights.rename(weights.with_name("model.h5"))
    keras.Sequential([layers.Dense(1)]).save(str(out / "keras_unbuilt" / "1" / "model.keras"))


def main(out: Path) -> None:
    keras.utils.set_random_seed(1)
    for make in (trained, branches, words, custom, unsafe, unusable):
        make(out)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
