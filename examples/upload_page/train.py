"""Train a small classifier of cats and dogs, and save it as `pets`.

    python -m examples.upload_page.train DIRECTORY

writes the SavedModel `DIRECTORY`: pictures of 128x128 pixels, 0 to 1, to the probabilities of a cat
and of a dog. The pictures are the drawn ones of examples/cats_and_dogs.
"""

import sys

import keras
import numpy as np
from examples.cats_and_dogs.pictures import CLASSES, draw

SIZE = 128  # as in model.py


def main() -> None:
    keras.utils.set_random_seed(2)
    random = np.random.default_rng(seed=2)
    labels = np.arange(160) % 2
    pictures = [draw(CLASSES[label], random).resize((SIZE, SIZE)) for label in labels]
    images = np.stack([np.asarray(each, np.float32) for each in pictures]) / 255
    layers = keras.layers
    model = keras.Sequential([keras.Input(images.shape[1:], name="image")])
    for filters in (8, 16, 32):
        model.add(layers.Conv2D(filters, 3, strides=2, activation="relu"))
    model.add(layers.Flatten())
    model.add(layers.Dense(2, activation="softmax", name="probabilities"))
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(images, labels, epochs=6, batch_size=16, validation_split=0.1, verbose=2)
    model.export(sys.argv[1], verbose=False)


if __name__ == "__main__":
    main()
