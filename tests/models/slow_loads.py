"""Make models whose load does not return: what initializes them loops, perhaps for ever.

    python tests/models/slow_loads.py OUT

writes `OUT/<name>/1`. Run in a process of its own: neither the tests nor the server import
TensorFlow.

`load_waits` does so until there is a file `open` beside the version directory.
"""

import sys
from pathlib import Path
from typing import Any

import tensorflow as tf

tf1 = tf.compat.v1
tf1.logging.set_verbosity(tf1.logging.ERROR)
build_tensor_info = tf1.saved_model.build_tensor_info


def save(version: Path, initialize: Any) -> None:
    """Half plus two, with an initializer that is run by each load."""
    builder = tf1.saved_model.Builder(str(version))
    asset = version.parent.parent / "asset-source" / "name.txt"
    asset.parent.mkdir(parents=True, exist_ok=True)
    asset.write_text("an asset tells the graph where its version is")
    with tf.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None], name="x")
        y = tf.add(x * 0.5, 2.0, name="y")
        where = tf.constant(str(asset), name="asset")
        tf1.add_to_collection(tf1.GraphKeys.ASSET_FILEPATHS, where)
        signature = tf1.saved_model.build_signature_def(
            {"x": build_tensor_info(x)},
            {"y": build_tensor_info(y)},
            "tensorflow/serving/predict",
        )
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            signature_def_map={"serving_default": signature},
            assets_collection=tf1.get_collection(tf1.GraphKeys.ASSET_FILEPATHS),
            main_op=initialize(where),
        )
    builder.save()


def wait(where: Any) -> Any:
    """Look for the file beside the version directory until it is there."""
    gate = tf.strings.regex_replace(where, "[^/]*/assets/name.txt$", "open")

    def is_shut(_: Any) -> Any:
        return tf.equal(tf.size(tf.io.matching_files(gate)), 0)

    return tf.group(tf.while_loop(is_shut, lambda i: (i + 1) % 7, [tf.constant(0)]))


def loop(_where: Any) -> Any:
    """Count for ever."""
    return tf.group(tf.while_loop(lambda i: i >= 0, lambda i: (i + 1) % 7, [tf.constant(0)]))


def main(out: Path) -> None:
    save(out / "load_waits" / "1", wait)
    save(out / "load_loops" / "1", loop)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
