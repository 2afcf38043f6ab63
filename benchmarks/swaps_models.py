"""Make the models of `swaps.py`. Needs TensorFlow and Keras; run as a child process.

    python benchmarks/swaps_models.py OUT

writes `OUT/half/1` (half_plus_two), `OUT/heavy/{0,1}` (200 MB of variables, of which a run reads
one) and `OUT/resnet/1` (ResNet-50, untrained).
"""

import sys
from pathlib import Path

import keras
import tensorflow as tf
from nets import save, weighted

HEAVY_BYTES = 200_000_000


def half(out: Path) -> None:
    """`x / 2 + 2`."""
    module = tf.Module()
    module.a, module.b = tf.Variable(0.5), tf.Variable(2.0)
    save(out / "half" / "1", module, lambda x: {"y": module.a * x + module.b})


def heavy(out: Path) -> None:
    """Two variants of `2 x + k`."""
    for variant in range(2):
        module = tf.Module()
        module.weights = tf.Variable(tf.fill([HEAVY_BYTES // 4], float(variant)))
        save(out / "heavy" / str(variant), module, weighted(module))


def resnet(out: Path) -> None:
    """224x224x3 floats to 1,000 classes."""
    model = keras.applications.ResNet50(weights=None)
    model.export(str(out / "resnet" / "1"), verbose=False)


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for make in (half, heavy, resnet):
        if not (out / make.__name__).exists():
            make(out)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
