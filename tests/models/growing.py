"""Make a model whose answers are as large as it is asked for.

    python tests/models/growing.py OUT

writes `OUT/growing/1`.
"""

import sys
from pathlib import Path
from typing import Any

import tensorflow as tf

COLUMNS = 1000


def growing(out: Path) -> None:
    """So many rows of a thousand thirds, or so many words of a thousand letters."""
    module = tf.Module()

    def numbers(rows: Any) -> dict[str, Any]:
        return {"y": tf.fill([rows[0], COLUMNS], 1.0 / 3.0)}

    def words(rows: Any) -> dict[str, Any]:
        return {"words": tf.fill([rows[0]], tf.constant("w" * COLUMNS))}

    def both(rows: Any) -> dict[str, Any]:
        return {"y": tf.fill([rows[0], COLUMNS], 1.0 / 3.0), "ones": tf.ones([rows[0]], tf.int32)}

    signatures = {
        name: tf.function(body, input_signature=[tf.TensorSpec([1], tf.int32, name="rows")])
        for name, body in (("serving_default", numbers), ("words", words), ("both", both))
    }
    tf.saved_model.save(module, str(out / "growing" / "1"), signatures=signatures)


if __name__ == "__main__":
    growing(Path(sys.argv[1]))
