"""The model of the other servers: how their handlers run it. For the scripts `peer_*.py`.

`PEER_VERSION` is the directory of a version of a SavedModel. `PEER_RUN` says how it is run:
`tensorflow` as the users of such servers do it, by `tf.saved_model.load` and the signature; `c_api`
by Salver's own wrapper of the C API, inline, as cheap as can be, so that only the server differs;
`python` by the `predict` of the `model.py` there, a function of numpy.
"""

import os
import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np

Run = Callable[[np.ndarray], np.ndarray]


def load() -> Run:
    version = os.environ["PEER_VERSION"]
    if os.environ["PEER_RUN"] == "python":
        return by_python(version)
    return by_c_api(version) if os.environ["PEER_RUN"] == "c_api" else by_tensorflow(version)


def by_python(version: str) -> Run:
    model = runpy.run_path(str(Path(version) / "model.py"))["Model"]()
    return lambda rows: model.predict({"x": rows})["y"]


def by_c_api(version: str) -> Run:
    from in_process import program_of

    program = program_of(version)
    return lambda rows: program.run_inline([rows])[0]


def by_tensorflow(version: str) -> Run:
    import tensorflow as tf

    signature = tf.saved_model.load(version).signatures["serving_default"]
    (name,) = signature.structured_input_signature[1]
    (output,) = signature.structured_outputs

    def run(rows: np.ndarray) -> np.ndarray:
        answer: np.ndarray = signature(**{name: tf.constant(rows)})[output].numpy()
        return answer

    return run
