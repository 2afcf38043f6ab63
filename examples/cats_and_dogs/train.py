"""Train a classifier of cats and dogs, and save it as `.h5` and as a SavedModel.

    python examples/cats_and_dogs/train.py PICTURES OUTPUT

writes `OUTPUT/vgg16_cats_vs_dogs.h5` and `OUTPUT/vgg16_cats_vs_dogs.pb/`. The network is VGG16
layer for layer, of an eighth of its width: without a graphics card, and without weights to
download, the full width would take hours.
"""

import sys
from pathlib import Path

import keras

img_height = 256
img_width = 256
channels = 3
batch_size = 8
epochs = 4

BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))  # convolutions and filters of VGG16
NARROWER = 8


def vgg16() -> keras.Model:
    """The convolutions and poolings of `keras.applications.VGG16(include_top=False)`."""
    picture = keras.Input((img_height, img_width, channels))
    x = picture
    for block, (convolutions, filters) in enumerate(BLOCKS, start=1):
        for convolution in range(1, convolutions + 1):
            x = keras.layers.Conv2D(
                filters // NARROWER,
                3,
                padding="same",
                activation="relu",
                kernel_initializer="he_normal",
                name=f"block{block}_conv{convolution}",
            )(x)
        x = keras.layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
    return keras.Model(picture, x, name="vgg16")


def classifier() -> keras.Model:
    """VGG16, of which only the last five layers are trained, and a dense network on top."""
    model = vgg16()
    for layer in model.layers[:-5]:
        layer.trainable = False
    top_model = keras.Sequential()
    top_model.add(model)
    top_model.add(keras.layers.Flatten())
    top_model.add(keras.layers.Dense(256, activation="relu"))
    top_model.add(keras.layers.Dropout(0.5))
    top_model.add(keras.layers.Dense(1, activation="sigmoid"))
    top_model.compile(
        loss="binary_crossentropy",
        optimizer=keras.optimizers.RMSprop(learning_rate=5e-4),
        metrics=["accuracy"],
    )
    return top_model


def main() -> None:
    keras.utils.set_random_seed(1)
    pictures, output = Path(sys.argv[1]), Path(sys.argv[2])
    parts = {
        part: keras.utils.image_dataset_from_directory(
            pictures / part,
            image_size=(img_height, img_width),
            batch_size=batch_size,
            label_mode="binary",
            shuffle=part == "training",
            seed=1,
            verbose=False,
        ).map(lambda images, labels: (images / 255, labels))
        for part in ("training", "validation")
    }
    top_model = classifier()
    top_model.fit(
        parts["training"],
        epochs=epochs,
        validation_data=parts["validation"],
        shuffle=False,  # the pictures come shuffled
        verbose=2,
    )
    output.mkdir(parents=True, exist_ok=True)
    top_model.save(output / "vgg16_cats_vs_dogs.h5")
    # With Keras 2 this was save(..., save_format="tf").
    top_model.export(str(output / "vgg16_cats_vs_dogs.pb"), verbose=False)


if __name__ == "__main__":
    main()
