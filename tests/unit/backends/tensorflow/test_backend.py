import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from salver._pb import message_class
from salver.backends.registry import BackendOptions
from salver.backends.tensorflow import backend as backend_module
from salver.backends.tensorflow.backend import TensorFlowBackend, open_backend
from salver.backends.tensorflow.library import Library, tensorflow_directory
from salver.errors import FailedPrecondition, NotFound

Paths = Callable[[str], Path]


def run_in_child(program: str, *arguments: object) -> str:
    """Operations stay registered and thread pools stay open for the life of a process."""
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


def test_a_model_is_loaded_as_the_options_say(library: Library, version_path: Paths) -> None:
    backend = open_backend(BackendOptions(saved_model_tags=("gpu", "serve")))
    model = backend.load(str(version_path("two_tags")))
    [y] = model.program(["x:0"], ["y:0"]).run([np.array([2.0], np.float32)])
    assert y.tolist() == [20.0]
    model.close()


def test_opening_a_backend_opens_no_library() -> None:
    program = (
        "import pathlib\n"
        "from salver.backends.registry import BackendOptions, open_backend\n"
        "open_backend('tensorflow', BackendOptions())\n"
        "print('tensorflow_cc' in pathlib.Path('/proc/self/maps').read_text())\n"
    )
    if sys.platform == "linux":
        assert run_in_child(program) == "False\n"


def test_without_tensorflow_each_load_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing() -> Library:
        raise FailedPrecondition("Install it")

    monkeypatch.setattr(backend_module, "load_library", missing)
    backend = TensorFlowBackend(BackendOptions())
    for _ in range(2):
        with pytest.raises(FailedPrecondition, match="Install it"):
            backend.load("anywhere")


def test_a_tensorflow_installed_meanwhile_is_found(
    library: Library, monkeypatch: pytest.MonkeyPatch, version_path: Paths
) -> None:
    answers = [None, library]

    def found_at_last() -> Library:
        answer = answers.pop(0)
        if answer is None:
            raise FailedPrecondition("Install it")
        return answer

    monkeypatch.setattr(backend_module, "load_library", found_at_last)
    backend = TensorFlowBackend(BackendOptions())
    with pytest.raises(FailedPrecondition):
        backend.load("anywhere")
    backend.load(str(version_path("half_plus_two"))).close()
    backend.load(str(version_path("half_plus_two"))).close()
    assert answers == []


def test_several_threads_may_load_at_the_same_time(library: Library, version_path: Paths) -> None:
    backend = TensorFlowBackend(BackendOptions())
    names = ["half_plus_two", "half_plus_three", "matrix_half_plus_two", "half_plus_two_tf2"] * 2

    def load(name: str) -> list[str]:
        model = backend.load(str(version_path(name)))
        try:
            return list(model.signatures["serving_default"].outputs)
        finally:
            model.close()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(load, names)) == [["y"]] * len(names)


def test_a_custom_op_library_that_is_not_there_is_named(library: Library, tmp_path: Path) -> None:
    path = str(tmp_path / "ops.so")
    backend = TensorFlowBackend(BackendOptions(custom_op_libraries=(path,)))
    with pytest.raises(NotFound) as raised:
        backend.load("anywhere")
    assert raised.value.message == f"Custom op library {path} not found"


def test_a_custom_op_library_that_is_garbage_is_named(library: Library, tmp_path: Path) -> None:
    path = tmp_path / "ops.so"
    path.write_text("garbage")
    backend = TensorFlowBackend(BackendOptions(custom_op_libraries=(str(path),)))
    with pytest.raises(NotFound, match=f"{path}: "):
        backend.load("anywhere")


def test_a_custom_op_library_is_loaded_before_the_first_model(
    library: Library, version_path: Paths
) -> None:
    [any_library, *_] = tensorflow_directory().glob("libtensorflow_framework.*")
    backend = TensorFlowBackend(BackendOptions(custom_op_libraries=(str(any_library),)))
    backend.load(str(version_path("half_plus_two"))).close()


def test_an_unknown_op_keeps_a_version_from_loading(library: Library, version_path: Paths) -> None:
    with pytest.raises(NotFound, match="Op type not registered 'SalverTriple' in binary"):
        TensorFlowBackend(BackendOptions()).load(str(version_path("custom_op")))


def test_a_model_with_custom_ops_runs_once_their_library_is_loaded(version_path: Paths) -> None:
    program = (
        "import numpy, os, sys\n"
        "from salver.backends.registry import BackendOptions, open_backend\n"
        "os.chdir(os.path.dirname(sys.argv[2]))\n"
        "options = BackendOptions(custom_op_libraries=(os.path.basename(sys.argv[2]),))\n"
        "model = open_backend('tensorflow', options).load(sys.argv[1])\n"
        "signature = model.signatures['serving_default']\n"
        "feed, fetch = signature.inputs['x'], signature.outputs['y']\n"
        "program = model.program([feed.tensor_name], [fetch.tensor_name])\n"
        "print(program.run([numpy.array([1, 2], 'f')])[0].tolist())\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    version = version_path("custom_op")
    assert run_in_child(program, version, version.parent / "salver_triple.so") == "[3.0, 6.0]\n"


@pytest.mark.skipif(sys.platform != "linux", reason="reads the names of threads in /proc")
def test_the_number_of_threads_is_that_of_the_session_config(version_path: Paths) -> None:
    config = message_class("tensorflow.ConfigProto")(
        intra_op_parallelism_threads=1, inter_op_parallelism_threads=7
    )
    program = (
        "import glob, sys\n"
        "from salver.backends.registry import BackendOptions, open_backend\n"
        "options = BackendOptions(session_config=bytes.fromhex(sys.argv[2]))\n"
        "model = open_backend('tensorflow', options).load(sys.argv[1])\n"
        "names = [open(task).read() for task in glob.glob('/proc/self/task/*/comm')]\n"
        "print(names.count('tf_Compute\\n'))\n"
    )
    serialized = config.SerializeToString().hex()
    assert run_in_child(program, version_path("half_plus_two"), serialized) == "7\n"
