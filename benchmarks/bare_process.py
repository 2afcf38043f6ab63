"""The yardstick for start-up and memory: load half_plus_two through the C API, predict once.

Plain ctypes and numpy, no Salver. Prints `predicted`, then waits to be ended, so that its
resident memory can be read.
"""

import ctypes
import importlib.util
import os
import sys
from ctypes import POINTER, byref, c_char_p, c_int, c_int64, c_size_t, c_void_p
from pathlib import Path

import numpy as np


class Output(ctypes.Structure):
    _fields_ = (("oper", c_void_p), ("index", c_int))


def main() -> None:
    directory = sys.argv[1]
    spec = importlib.util.find_spec("tensorflow")
    assert spec is not None
    assert spec.origin is not None
    tf = ctypes.CDLL(
        str(Path(spec.origin).parent / "libtensorflow_cc.so.2"), os.RTLD_LOCAL | os.RTLD_LAZY
    )
    for name in ("NewStatus", "NewSessionOptions", "NewGraph", "LoadSessionFromSavedModel"):
        getattr(tf, f"TF_{name}").restype = c_void_p
    for name in ("GraphOperationByName", "AllocateTensor", "TensorData"):
        getattr(tf, f"TF_{name}").restype = c_void_p
    status, options, graph = (
        c_void_p(tf.TF_NewStatus()),
        c_void_p(tf.TF_NewSessionOptions()),
        c_void_p(tf.TF_NewGraph()),
    )
    tags = (c_char_p * 1)(b"serve")
    session = c_void_p(
        tf.TF_LoadSessionFromSavedModel(
            options, None, directory.encode(), tags, 1, graph, None, status
        )
    )
    x = np.array([1.0, 2.0, 5.0], np.float32)
    tensor = c_void_p(tf.TF_AllocateTensor(1, (c_int64 * 1)(3), 1, c_size_t(x.nbytes)))
    ctypes.memmove(tf.TF_TensorData(tensor), x.tobytes(), x.nbytes)
    feed = Output(tf.TF_GraphOperationByName(graph, b"x"), 0)
    fetch = Output(tf.TF_GraphOperationByName(graph, b"y"), 0)
    result = c_void_p()
    tf.TF_SessionRun(
        *(session, None, byref(feed), byref(tensor), 1, byref(fetch), byref(result), 1),
        *(None, 0, None, status),
    )
    tf.TF_TensorData.argtypes = (c_void_p,)
    answer = ctypes.cast(tf.TF_TensorData(result), POINTER(ctypes.c_float))
    assert [answer[i] for i in range(3)] == [2.5, 3.0, 4.5]
    print("predicted", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
