"""Train a small Keras classifier of digits and publish it as one version.

    python train.py MODEL_DIRECTORY VERSION

An 8x8 picture in (sixteen greys, 0 to 16, as scikit-learn has them), ten probabilities out.
Version 1 is a small network, trained for a moment only; every later one has convolutions and is
trained properly, so that one can tell them apart.
"""

import sys
from typing import Any

import keras
import numpy as np
from pictures import GREYS, SMALL, Pictures, originals, training_set

import salver

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def network(version: int) -> list[Any]:
    layers = keras.layers
    if version == 1:
        return [layers.Flatten(), layers.Dense(24, activation="relu")]
    return [
        layers.Reshape((SMALL, SMALL, 1)),
        layers.Conv2D(12, 3, padding="same", activation="relu"),
        layers.Conv2D(16, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(24, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
    ]


def train(version: int) -> keras.Model:
    count, epochs = (4_000, 5) if version == 1 else (12_000, 12)
    images, digits = training_set(count, np.random.default_rng(version))
    model = keras.Sequential(
        [
            keras.Input((SMALL, SMALL), name="image"),
            keras.layers.Rescaling(1 / GREYS),
            *network(version),
            keras.layers.Dense(10, activation="softmax", name="probabilities"),
        ]
    )
    model.compile(optimizer=keras.optimizers.Adam(3e-3), loss="sparse_categorical_crossentropy")
    model.fit(images * GREYS, digits, batch_size=64, epochs=epochs, verbose=0)
    return model


def about(version: int) -> dict[str, Any]:
    """What the model says of itself: the playground makes its form and its answers of this."""
    return {
        "title": "Digits",
        "description": "Reads a handwritten digit. "
        + ("Trained for a moment only." if version == 1 else "Trained properly."),
        "signatures": {
            "serving_default": {
                "inputs": {
                    "image": {
                        "title": "A digit",
                        "kind": "image",
                        "layout": "HW",
                        "range": [0, GREYS],
                        "inverted": True,  # light on dark
                    }
                },
                "outputs": {"output_0": {"kind": "classes", "labels": NAMES}},
                "examples": [
                    {"title": f"a {NAMES[digit]}", "inputs": {"image": image}}
                    for digit, image in some(7, 3, 0)
                ],
            }
        },
    }


def some(*digits: int) -> list[tuple[int, Pictures]]:
    """A picture of each, which was not trained on."""
    images, truth = originals(is_test=True)
    return [(digit, images[list(truth).index(digit)] * GREYS) for digit in digits]


def main() -> None:
    directory, version = sys.argv[1], int(sys.argv[2])
    keras.utils.set_random_seed(version)
    # In place at once and whole, so that a server never sees half a version.
    salver.publish(train(version), directory, version=version, about=about(version))


if __name__ == "__main__":
    main()
