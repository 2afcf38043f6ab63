import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from salver._pb import message_class
from salver.backends.protocol import LoadStage
from salver.backends.tensorflow import backend as backend_module
from salver.backends.tensorflow import library as library_module
from salver.backends.tensorflow import session as session_module
from salver.backends.tensorflow.backend import TensorFlowBackend
from salver.backends.tensorflow.library import Library, tensorflow_directory
from salver.backends.tensorflow.options import TensorFlowOptions
from salver.backends.tensorflow.session import SavedModel, load_saved_model
from salver.errors import FailedPrecondition, InvalidArgument, NotFound
from salver.vocabulary.servable import ServableId

Paths = Callable[[str], Path]


def loader(**options: Any) -> Callable[..., SavedModel]:
    """Loads with a backend of its own, and these options."""
    backend = TensorFlowBackend()

    def load(path: str, id: ServableId | None = None) -> SavedModel:
        stage = LoadStage() if id is None else LoadStage(id=id)
        return backend.load(Path(path), TensorFlowOptions(**options), stage)

    return load


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
    load_one = loader(saved_model_tags=("gpu", "serve"))
    model = load_one(str(version_path("two_tags")))
    [y] = model.graph.program(["x:0"], ["y:0"]).run([np.array([2.0], np.float32)])
    assert y.tolist() == [20.0]
    model.close()


def test_opening_a_backend_opens_no_library() -> None:
    program = (
        "import pathlib\n"
        "from salver.backends.registry import Backends\n"
        "Backends()['tensorflow_savedmodel']\n"
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
    load_one = loader()
    for _ in range(2):
        with pytest.raises(FailedPrecondition, match="Install it"):
            load_one("anywhere")


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
    load_one = loader()
    with pytest.raises(FailedPrecondition):
        load_one("anywhere")
    load_one(str(version_path("half_plus_two"))).close()
    load_one(str(version_path("half_plus_two"))).close()
    assert answers == []


def test_several_threads_may_load_at_the_same_time(library: Library, version_path: Paths) -> None:
    load_one = loader()
    names = ["half_plus_two", "half_plus_three", "matrix_half_plus_two", "half_plus_two_tf2"] * 2

    def load(name: str) -> list[str]:
        model = load_one(str(version_path(name)))
        try:
            return list(model.signatures["serving_default"].outputs)
        finally:
            model.close()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(load, names)) == [["y"]] * len(names)


def test_a_custom_op_library_that_is_not_there_is_named(library: Library, tmp_path: Path) -> None:
    path = str(tmp_path / "ops.so")
    load_one = loader(custom_op_libraries=(path,))
    with pytest.raises(NotFound) as raised:
        load_one("anywhere")
    assert raised.value.message == f"Custom op library {path} not found"


def test_a_custom_op_library_that_is_garbage_is_named(library: Library, tmp_path: Path) -> None:
    path = tmp_path / "ops.so"
    path.write_text("garbage")
    load_one = loader(custom_op_libraries=(str(path),))
    with pytest.raises(NotFound, match=f"{path}: "):
        load_one("anywhere")


def test_a_custom_op_library_is_loaded_before_the_first_model(
    library: Library, version_path: Paths
) -> None:
    [any_library, *_] = tensorflow_directory().glob("libtensorflow_framework.*")
    load_one = loader(custom_op_libraries=(str(any_library),))
    load_one(str(version_path("half_plus_two"))).close()


def test_an_unknown_op_keeps_a_version_from_loading(library: Library, version_path: Paths) -> None:
    with pytest.raises(NotFound, match="Op type not registered 'SalverTriple' in binary"):
        loader()(str(version_path("custom_op")))


def test_a_model_with_custom_ops_runs_once_their_library_is_loaded(version_path: Paths) -> None:
    program = (
        "import numpy, os, sys\n"
        "from salver.backends.selection import Selector\n"
        "os.chdir(os.path.dirname(sys.argv[2]))\n"
        "settings = {'custom_op_libraries': os.path.basename(sys.argv[2])}\n"
        "model = Selector(settings=settings)(sys.argv[1]).load()\n"
        "program = model.program('serving_default', ['y'])\n"
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
        "from salver.backends.selection import Selector\n"
        "settings = {'session_config': bytes.fromhex(sys.argv[2])}\n"
        "model = Selector(settings=settings)(sys.argv[1]).load()\n"
        "names = [open(task).read() for task in glob.glob('/proc/self/task/*/comm')]\n"
        "print(names.count('tf_Compute\\n'))\n"
    )
    serialized = config.SerializeToString().hex()
    assert run_in_child(program, version_path("half_plus_two"), serialized) == "7\n"


def _negative(model: SavedModel) -> float:
    """What the model of a square root that asserts a positive number says of -1."""
    program = model.program("serving_default", ["y"])
    try:
        return float(program.run([np.array([-1.0], np.float32)])[0][0])
    finally:
        model.close()


def _session_config(**rewriter: Any) -> bytes:
    options = {"rewrite_options": {"min_graph_nodes": -1, **rewriter}}
    config = message_class("tensorflow.ConfigProto")(graph_options=options)
    serialized: bytes = config.SerializeToString()
    return serialized


def test_session_config_takes_effect(library: Library, version_path: Paths) -> None:
    """An optimizer that takes assertions out lets a model answer that would have failed."""
    path = str(version_path("failing"))
    with pytest.raises(InvalidArgument, match="x must not be negative"):
        _negative(loader()(path))
    stripped = loader(session_config=_session_config(debug_stripper=1))
    assert np.isnan(_negative(stripped(path)))


def test_version_may_turn_the_optimizers_off_for_itself(
    library: Library, version_path: Paths, tmp_path: Path
) -> None:
    version = tmp_path / "1"
    shutil.copytree(version_path("failing"), version)
    extra = version / "assets.extra"
    extra.mkdir()
    (extra / "saved_model_config.pb").write_bytes(
        message_class("tensorflow.serving.SavedModelConfig")(
            session_overrides={"disable_meta_optimizer": True}
        ).SerializeToString()
    )
    load = loader(session_config=_session_config(debug_stripper=1))
    with pytest.raises(InvalidArgument, match="x must not be negative"):
        _negative(load(str(version)))


def test_optimizers_nobody_has_are_passed_over(library: Library, reference_model: Paths) -> None:
    [version] = reference_model("saved_model_half_plus_two_cpu_with_saved_model_config").iterdir()
    model = loader()(str(version))
    [y] = model.graph.program(["x:0"], ["y:0"]).run([np.array([[2.0]], np.float32)])
    assert y.tolist() == [[3.0]]
    model.close()


def test_sessions_of_another_place_are_asked_for_there(
    library: Library, version_path: Paths
) -> None:
    load_one = loader(session_target="nowhere")
    with pytest.raises(NotFound, match=r'\{target: "nowhere"'):
        load_one(str(version_path("half_plus_two")))


def test_thread_pool_that_loads_is_the_one_named(library: Library, version_path: Paths) -> None:
    path = str(version_path("half_plus_two"))
    config = message_class("tensorflow.ConfigProto")(
        session_inter_op_thread_pool=[{"num_threads": 1}, {"num_threads": 1}]
    ).SerializeToString()
    loader(session_config=config, load_thread_pool=1)(path).close()
    load_one = loader(session_config=config, load_thread_pool=2)
    with pytest.raises(InvalidArgument, match="Invalid inter_op_thread_pool: 2"):
        load_one(path)


def test_session_is_told_its_model_if_that_is_wanted(
    library: Library, version_path: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []

    def load(*arguments: Any, session_config: bytes, **more: Any) -> SavedModel:
        config = message_class("tensorflow.ConfigProto").FromString(session_config)
        given.append(config.experimental.session_metadata)
        return load_saved_model(*arguments, session_config=session_config, **more)

    monkeypatch.setattr(session_module, "load_saved_model", load)
    path = str(version_path("half_plus_two"))
    for has_metadata in (True, False):
        loader(has_session_metadata=has_metadata)(path, ServableId("m", 7)).close()
    loader(has_session_metadata=True)(path).close()
    assert [(metadata.name, metadata.version) for metadata in given] == [("m", 7), ("", 0), ("", 0)]


_XLA = (
    "import numpy, sys\n"
    "from salver.backends.selection import Selector\n"
    "from salver.errors import ServingError\n"
    "settings = {'is_xla_enabled': sys.argv[2] == 'on'}\n"
    "model = Selector(settings=settings)(sys.argv[1]).load()\n"
    "program = model.program('serving_default', ['y'])\n"
    "try:\n"
    "    print(program.run([numpy.array([1, 2], 'f')])[0].tolist())\n"
    "except ServingError as error:\n"
    "    print(error.status.splitlines()[0], error.hint, sep='|')\n"
)


def test_function_that_asks_for_xla_is_compiled_if_that_is_allowed(version_path: Paths) -> None:
    assert run_in_child(_XLA, version_path("compiled"), "on") == "[2.5, 3.0]\n"


def test_function_that_asks_for_xla_fails_otherwise_and_the_hint_names_the_flag(
    version_path: Paths,
) -> None:
    assert run_in_child(_XLA, version_path("compiled"), "off") == (
        "INTERNAL: XLA compilation disabled|Start the server with --xla_cpu_compilation_enabled.\n"
    )


def test_tensorflow_without_a_switch_for_xla_is_warned_of_once(
    library: Library,
    version_path: Paths,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(library_module, "_DISABLE_XLA", "no_such_function")
    load_one = loader()
    for _ in range(2):
        load_one(str(version_path("half_plus_two"))).close()
    assert len([line for line in caplog.messages if "does not let XLA be turned off" in line]) == 1
