#!/usr/bin/env python3
"""Make the models that come with the package: src/salver/demo/data.

Trains two small networks on scikit-learn's digits, drawn and printed ones (examples/digits), and
writes each as a SavedModel of constants and as a TFLite file, with what they say of themselves.
Needs TensorFlow and the `dev` extra; takes some minutes. The same machine and the same versions
make the same files again.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "examples" / "digits")]

import keras  # noqa: E402
import numpy as np  # noqa: E402
import pictures  # type: ignore[import-not-found]  # noqa: E402
import tensorflow as tf  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from PIL import Image  # noqa: E402

from salver.about.writing import write_about  # noqa: E402
from salver.demo.arithmetic import (  # noqa: E402
    half_plus_three,
    half_plus_two,
    matrix_half_plus_two,
)
from salver.demo.graphs import Graph, write_saved_model  # noqa: E402
from salver.vocabulary.dtypes import DataType  # noqa: E402
from salver.vocabulary.signature import DEFAULT_SIGNATURE, Signature, TensorSpec  # noqa: E402

DATA = ROOT / "src" / "salver" / "demo" / "data"
SIGNATURES = {
    DEFAULT_SIGNATURE: Signature(
        {"x": TensorSpec(DataType.FLOAT32, (-1, 8, 8))},
        {"probabilities": TensorSpec(DataType.FLOAT32, (-1, 10))},
    )
}
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TRAINED_WITH = {1: (24_000, 12), 2: (64_000, 20)}  # pictures, and how often each is seen
UNSEEN_FONTS = ("STIXGeneralBolIta.ttf", "DejaVuSerif-BoldItalic.ttf", "cmb10.ttf", "cmr10.ttf")
MOST_BYTES = 40_000  # of a file
Weights = list[NDArray[np.float32]]


def network(version: int) -> keras.Model:
    """One hidden layer; or a small convolutional network."""
    layers: list[Any] = [keras.layers.Flatten(), keras.layers.Dense(24, activation="relu")]
    if version > 1:

        def convolution(filters: int) -> Any:
            return keras.layers.Conv2D(filters, 3, padding="same", activation="relu")

        layers = [
            keras.layers.Reshape((8, 8, 1)),
            convolution(12),
            convolution(16),
            keras.layers.MaxPooling2D(),
            convolution(24),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
        ]
    return keras.Sequential(
        [keras.Input((8, 8)), *layers, keras.layers.Dense(10, activation="softmax")]
    )


def train(version: int) -> keras.Model:
    """Train a version and say how well it reads what it has not seen."""
    keras.utils.set_random_seed(version)
    random = np.random.default_rng(version)
    count, epochs = TRAINED_WITH[version]
    images, digits = pictures.training_set(count, random)
    model = network(version)
    rate = keras.optimizers.schedules.CosineDecay(3e-3, epochs * count // 128)
    model.compile(
        optimizer=keras.optimizers.Adam(rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    model.fit(images, digits, batch_size=128, epochs=epochs, verbose=0)
    random = np.random.default_rng(99)
    truth = np.tile(np.arange(10), 60)
    for name, (shown, of) in {
        "scikit-learn's": pictures.originals(is_test=True),
        "drawn": (stack(pictures.stroke_digit, truth, random), truth),
        "printed": (stack(pictures.printed_digit, truth, random, UNSEEN_FONTS), truth),
    }.items():
        _, right = model.evaluate(shown, of, verbose=0)
        print(f"version {version}: right for {right:.1%} of {len(of)} digits, {name}", flush=True)
    return model


def stack(make: Any, digits: Any, random: Any, *more: Any) -> pictures.Pictures:
    return pictures.shrunk(np.stack([make(int(digit), random, *more) for digit in digits]))


# -- as graphs -------------------------------------------------------------------------------------


def digits_graph(weights: Weights) -> Graph:
    """A network of constants: values from 0 to 16 in, probabilities out."""
    graph, of = Graph(), DataType.FLOAT32
    graph.placeholder("x", of, (-1, 8, 8))
    scale = graph.constant("scale", np.array(1 / pictures.GREYS, np.float32))
    at = graph.node("Mul", "scaled", ("x", scale), T=of)
    *hidden, last = zip(weights[::2], weights[1::2], strict=True)
    if hidden[0][0].ndim == 4:
        at = reshaped(graph, at, "picture", (-1, 8, 8, 1))
        for number, (kernel, bias) in enumerate(hidden, start=1):
            at = convolved(graph, at, f"convolution_{number}", kernel, bias)
            if number > 1:
                at = pooled(graph, at, f"pool_{number}")
        at = reshaped(graph, at, "flat", (-1, last[0].shape[0]))
    else:
        at = reshaped(graph, at, "flat", (-1, 64))
        ((kernel, bias),) = hidden
        at = graph.node("Relu", "hidden", (dense(graph, at, "dense", kernel, bias),), T=of)
    graph.node("Softmax", "probabilities", (dense(graph, at, "logits", *last),), T=of)
    return graph


def reshaped(graph: Graph, x: str, name: str, shape: tuple[int, ...]) -> str:
    sizes = graph.constant(f"{name}/shape", np.array(shape, np.int32))
    return graph.node("Reshape", name, (x, sizes), T=DataType.FLOAT32, Tshape=DataType.INT32)


def convolved(graph: Graph, x: str, name: str, kernel: Any, bias: Any) -> str:
    of = DataType.FLOAT32
    weights = graph.constant(f"{name}/kernel", kernel)
    ones = [1, 1, 1, 1]
    made = graph.node("Conv2D", name, (x, weights), T=of, strides=ones, padding=b"SAME")
    shift = graph.constant(f"{name}/bias", bias)
    moved = graph.node("BiasAdd", f"{name}/moved", (made, shift), T=of)
    return graph.node("Relu", f"{name}/relu", (moved,), T=of)


def pooled(graph: Graph, x: str, name: str) -> str:
    size = [1, 2, 2, 1]
    return graph.node(
        "MaxPool", name, (x,), T=DataType.FLOAT32, ksize=size, strides=size, padding=b"VALID"
    )


def dense(graph: Graph, x: str, name: str, kernel: Any, bias: Any) -> str:
    of = DataType.FLOAT32
    product = graph.node("MatMul", name, (x, graph.constant(f"{name}/kernel", kernel)), T=of)
    return graph.node(
        "BiasAdd", f"{name}/moved", (product, graph.constant(f"{name}/bias", bias)), T=of
    )


def tflite(saved_model: Path) -> bytes:
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(saved_model), signature_keys=[DEFAULT_SIGNATURE]
    )
    data: bytes = converter.convert()
    return data


# -- what they say of themselves -------------------------------------------------------------------


def about(version: int, examples: list[dict[str, Any]]) -> dict[str, Any]:
    words = {
        1: ("Digits", "Reads a handwritten digit. One hidden layer: a first try."),
        2: (
            "Digits, second version",
            "Reads a handwritten digit, and better than version 1: a convolutional network that "
            "has seen more pictures.",
        ),
    }
    title, description = words[version]
    x = {
        "title": "A digit",
        "description": "8 × 8 grey values, as scikit-learn's digits have them.",
        "kind": "image",
        "layout": "HW",
        "range": [0, pictures.GREYS],
        "inverted": True,
    }
    probabilities = {"title": "Which digit it is", "kind": "classes", "labels": NAMES}
    signature = {
        "inputs": {"x": x},
        "outputs": {"probabilities": probabilities},
        "examples": examples,
    }
    return {
        "schema": 1,
        "title": title,
        "description": description,
        "signatures": {DEFAULT_SIGNATURE: signature},
    }


def examples_for(first: keras.Model, second: keras.Model, scratch: Path) -> list[dict[str, Any]]:
    """Some that both read, one that only the second version does, and pictures as files.

    Neither was trained on any.
    """
    images, truth = pictures.originals(is_test=True)
    shares = [np.asarray(model.predict(images, verbose=0)) for model in (first, second)]
    sure = [each[np.arange(len(truth)), truth] for each in shares]
    clear = np.minimum(*sure)
    found = [
        example(f"a {NAMES[digit]}", images[np.where(truth == digit, clear, 0).argmax()])
        for digit in (7, 3, 0)
    ]
    is_wrong = shares[0].argmax(1) != truth
    hard = int(np.where(is_wrong, sure[1] - shares[0].max(1) / 2, -1).argmax())
    title = f"a hard {NAMES[truth[hard]]}"
    print(f"{title}: version 1 {shares[0][hard].round(2)}, version 2 {shares[1][hard].round(2)}")
    found.append(example(title, images[hard]))
    random = np.random.default_rng(4)
    made = {
        "four": ("a four on paper", pictures.stroke_digit(4, random)),
        "five": ("a printed five", pictures.printed_digit(5, random, ("DejaVuSans-Bold.ttf",))),
    }
    for name, (title, picture) in made.items():
        paper = Image.fromarray(((1 - picture) * 255).round().astype(np.uint8))
        large = paper.resize((96, 96), Image.Resampling.BICUBIC)
        large.quantize(16).save(scratch / f"{name}.png", optimize=True)
        found.append({"title": title, "files": {"x": scratch / f"{name}.png"}})
    return found


def example(title: str, image: pictures.Pictures) -> dict[str, Any]:
    return {"title": title, "inputs": {"x": (image * pictures.GREYS).round().astype(int)}}


def write_digits(scratch: Path) -> None:
    models = {version: train(version) for version in TRAINED_WITH}
    first, second = models.values()
    examples = examples_for(first, second, scratch)
    for version, model in models.items():
        directory = DATA / "digits" / str(version)
        write_saved_model(directory, digits_graph(model.get_weights()), SIGNATURES)
        (directory / "model.tflite").write_bytes(tflite(directory))
        write_about(directory, about(version, examples))


def write_arithmetic(scratch: Path) -> None:
    """The TFLite files; SavedModels of these are written when they are wanted."""
    made = {
        "half_plus_two": half_plus_two(),
        "half_plus_three": half_plus_three(),
        "matrix_half_plus_two": matrix_half_plus_two(),
    }
    for name, data in made.items():
        (scratch / name).mkdir()
        (scratch / name / "saved_model.pb").write_bytes(data)
        (DATA / name).mkdir(parents=True)
        (DATA / name / "model.tflite").write_bytes(tflite(scratch / name))


def main() -> None:
    tf.config.experimental.enable_op_determinism()
    shutil.rmtree(DATA, ignore_errors=True)
    with tempfile.TemporaryDirectory() as scratch:
        write_arithmetic(Path(scratch))
        write_digits(Path(scratch))
    for path in sorted(DATA.rglob("*")):
        if path.is_file():
            print(f"{path.relative_to(ROOT)}: {path.stat().st_size:,} bytes")
            assert path.stat().st_size <= MOST_BYTES, path


if __name__ == "__main__":
    main()
