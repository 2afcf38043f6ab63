"""Train a network with one hidden layer on digits of 28x28 pixels and save it as version 1.

    python examples/ten_images/train.py DIRECTORY

writes `DIRECTORY/mnist_model/1`. The pictures are scikit-learn's digits, enlarged from 8x8 to the
28x28 of MNIST.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

TRAINED_ON = 1300  # of 1797; the rest is for the test
MODEL_NAME = "mnist_model"
VERSION = 1

Images = np.ndarray[Any, np.dtype[np.float32]]
Labels = np.ndarray[Any, np.dtype[np.int64]]


def load_images() -> tuple[tuple[Images, Labels], tuple[Images, Labels]]:
    """Pictures of shape (n, 28, 28), 0 to 1, and their labels: for training, and for the test."""
    digits = load_digits()
    enlarged = np.kron(digits.images / 16, np.ones((1, 3, 3))).astype(np.float32)
    images = np.pad(enlarged, ((0, 0), (2, 2), (2, 2)))
    labels = digits.target
    return (images[:TRAINED_ON], labels[:TRAINED_ON]), (images[TRAINED_ON:], labels[TRAINED_ON:])


def main() -> None:
    import keras

    keras.utils.set_random_seed(1)
    (images, labels), test = load_images()
    model = keras.Sequential(
        [
            keras.Input((28, 28)),
            keras.layers.Flatten(),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(images, labels, epochs=5, validation_data=test, verbose=2)

    export_path = Path(sys.argv[1]) / MODEL_NAME / str(VERSION)
    export_path.parent.mkdir(parents=True, exist_ok=True)
    model.export(str(export_path), verbose=False)


if __name__ == "__main__":
    main()
