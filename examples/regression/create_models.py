"""Train two regression models on generated data, and save them as versions 1 and 2.

    python examples/regression/create_models.py DIRECTORY

writes `DIRECTORY/saved_models/1` and `DIRECTORY/saved_models/2`: one of dense layers, and one that
is slightly different.
"""

import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
from sklearn.model_selection import train_test_split

Array = np.ndarray[Any, np.dtype[np.float32]]


def generate(count: int = 1000) -> tuple[Array, Array]:
    """Points around y = x² / 2 + x, for x from 0 to 6; both of shape (count, 1)."""
    random = np.random.default_rng(seed=7)
    x = random.uniform(0.0, 6.0, (count, 1)).astype(np.float32)
    noise = random.normal(0.0, 0.3, x.shape).astype(np.float32)
    return x, (x**2 / 2 + x + noise).astype(np.float32)


def save(model: keras.Model, models: Path) -> Path:
    """Export to the subdirectory with the next number, as the next version."""
    numbers = [int(each.name) for each in models.iterdir() if each.name.isdecimal()]
    version = models / str(max(numbers, default=0) + 1)
    model.export(str(version), verbose=False)
    return version


def main() -> None:
    keras.utils.set_random_seed(1)
    models = Path(sys.argv[1]) / "saved_models"
    models.mkdir(parents=True)
    x, y = generate()
    x_rest, x_test, y_rest, y_test = train_test_split(x, y, test_size=0.2, random_state=1)
    x_train, x_val, y_train, y_val = train_test_split(x_rest, y_rest, test_size=0.2, random_state=1)
    print(f"{len(x_train)} points to train, {len(x_val)} to validate, {len(x_test)} to test")

    for hidden in ([8], [32, 32]):
        model = keras.Sequential(
            [
                keras.Input((1,)),
                *(keras.layers.Dense(units, activation="relu") for units in hidden),
                keras.layers.Dense(1),
            ]
        )
        model.compile(optimizer=keras.optimizers.Adam(0.02), loss="mse")
        model.fit(x_train, y_train, validation_data=(x_val, y_val), epochs=15, verbose=0)
        error = model.evaluate(x_test, y_test, verbose=0)
        version = save(model, models).name
        print(f"version {version}: layers {[*hidden, 1]}, mean squared error {error:.2f}")


if __name__ == "__main__":
    main()
