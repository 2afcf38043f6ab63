"""Train small Keras 3 models and export them with `model.export`.

    python tests/models/trained.py OUT

writes `OUT/<name>/<version>`.
"""

import sys
from pathlib import Path

import keras
import numpy as np
from sklearn.datasets import load_digits


def export(model: keras.Model, version: Path) -> None:
    version.parent.mkdir(parents=True, exist_ok=True)
    model.export(str(version), verbose=False)


def mlp(out: Path) -> None:
    """28x28 pixels to ten classes, untrained: for shape and speed."""
    model = keras.Sequential(
        [
            keras.Input((28, 28), name="image"),
            keras.layers.Flatten(),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dense(10, activation="softmax", name="classes"),
        ]
    )
    export(model, out / "mlp" / "1")


def regression(out: Path) -> None:
    """y = 3 x + 1 with noise; version 1 is linear, version 2 has a hidden layer."""
    random = np.random.default_rng(seed=7)
    x = random.uniform(0.0, 6.0, (400, 1)).astype(np.float32)
    y = 3.0 * x + 1.0 + random.normal(0.0, 0.1, x.shape).astype(np.float32)
    for version, hidden in ((1, []), (2, [keras.layers.Dense(16, activation="relu")])):
        model = keras.Sequential([keras.Input((1,)), *hidden, keras.layers.Dense(1)])
        model.compile(optimizer=keras.optimizers.Adam(0.03), loss="mse")
        model.fit(x, y, epochs=60, batch_size=50, verbose=0)
        export(model, out / "regression" / str(version))


def convnet(out: Path) -> None:
    """Digits of 8x8 pixels to ten classes; version 2 was trained for longer.

    `images.npy` and `labels.npy` beside the versions hold what neither was trained on.
    """
    digits = load_digits()
    images = (digits.images / 16.0).astype(np.float32)[..., np.newaxis]
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(16, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(optimizer=keras.optimizers.Adam(0.005), loss="sparse_categorical_crossentropy")
    for version, epochs in ((1, 4), (2, 8)):
        model.fit(images[:1500], digits.target[:1500], epochs=epochs, verbose=0)
        export(model, out / "convnet" / str(version))
    np.save(out / "convnet" / "images.npy", images[1500:])
    np.save(out / "convnet" / "labels.npy", digits.target[1500:])


def main(out: Path) -> None:
    keras.utils.set_random_seed(1)
    mlp(out)
    regression(out)
    convnet(out)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
