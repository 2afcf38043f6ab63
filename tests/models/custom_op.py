"""Compile an op of our own against TensorFlow's headers, and make a model that uses it.

    python tests/models/custom_op.py OUT

writes `OUT/custom_op/1` and the library beside it, `OUT/custom_op/salver_triple.so`. Exits with
status 77, and the reason on stderr, where there is no C++ compiler.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import tensorflow as tf

SOURCE = Path(__file__).with_name("custom_op.cc")
CANNOT = 77  # the exit status by which test programs say "skipped"


def compile_library(library: Path) -> None:
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        sys.stderr.write(f"no C++ compiler: {compiler} was not found\n")
        sys.exit(CANNOT)
    library.parent.mkdir(parents=True)
    subprocess.run(
        [
            compiler,
            "-shared",
            "-fPIC",
            str(SOURCE),
            "-o",
            str(library),
            *tf.sysconfig.get_compile_flags(),
            *tf.sysconfig.get_link_flags(),
        ],
        check=True,
    )


def main(out: Path) -> None:
    library = out / "custom_op" / "salver_triple.so"
    compile_library(library)
    ops = tf.load_op_library(str(library))
    module = tf.Module()

    def triple(x: Any) -> dict[str, Any]:
        return {"y": ops.salver_triple(x=x)}

    takes = [tf.TensorSpec([None], tf.float32, name="x")]
    tf.saved_model.save(
        module,
        str(out / "custom_op" / "1"),
        signatures={"serving_default": tf.function(triple, input_signature=takes)},
        options=tf.saved_model.SaveOptions(namespace_whitelist=["SalverTriple"]),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
