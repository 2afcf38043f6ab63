"""Train a small Keras classifier on scikit-learn's digits and export it as one version.

    python train.py MODEL_DIRECTORY VERSION

An 8x8 picture in (sixteen greys, 0 to 16, as scikit-learn has them), ten probabilities out.
Version 1 is trained for a moment only, every later one properly, so that one can tell them apart.
"""

import sys
from pathlib import Path

import keras
from sklearn.datasets import load_digits

TRAINED_ON = 1300  # of 1797; the rest is for the test


def train(version: int) -> keras.Model:
    digits = load_digits()
    images, labels = digits.images[:TRAINED_ON], digits.target[:TRAINED_ON]
    model = keras.Sequential(
        [
            keras.Input((8, 8), name="image"),
            keras.layers.Rescaling(1 / 16),
            keras.layers.Flatten(),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(10, activation="softmax", name="probabilities"),
        ]
    )
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    model.fit(images, labels, epochs=3 if version == 1 else 40, verbose=0)
    return model


def export(model: keras.Model, directory: Path, version: int) -> None:
    """Export under a name that is no version, then rename: a server sees it only when whole."""
    unfinished = directory / f"unfinished-{version}"
    model.export(str(unfinished), verbose=False)
    unfinished.rename(directory / str(version))


def main() -> None:
    directory, version = Path(sys.argv[1]), int(sys.argv[2])
    directory.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(version)
    export(train(version), directory, version)


if __name__ == "__main__":
    main()
