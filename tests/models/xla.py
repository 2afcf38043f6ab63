"""Make a model with a function that asks to be compiled by XLA.

    python tests/models/xla.py OUT

writes `OUT/<name>/<version>`.
"""

import sys
from pathlib import Path
from typing import Any

import tensorflow as tf


def compiled(out: Path) -> None:
    """The half of x plus two, compiled."""
    module = tf.Module()

    def body(x: Any) -> Any:
        return x * 0.5 + 2.0

    compiled_body = tf.function(body, jit_compile=True)

    def signature(x: Any) -> dict[str, Any]:
        return {"y": compiled_body(x)}

    takes = [tf.TensorSpec([None], tf.float32, "x")]
    tf.saved_model.save(
        module,
        str(out / "compiled" / "1"),
        signatures=tf.function(signature, input_signature=takes),
    )


if __name__ == "__main__":
    compiled(Path(sys.argv[1]))
