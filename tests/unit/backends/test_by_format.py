import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from salver.backends.by_format import FormatBackend, is_tflite, load_library, open_backend
from salver.backends.keras.options import KerasOptions
from salver.backends.registry import BackendOptions
from salver.backends.tensorflow import library
from salver.errors import (
    DataLoss,
    InvalidArgument,
    NotFound,
    NotInstalled,
    Unavailable,
    Unimplemented,
)
from salver.installing import install_command


def _version(path: Path, *names: str) -> Path:
    path.mkdir(parents=True)
    for name in names:
        (path / name).touch()
    return path


@pytest.mark.parametrize(
    ("names", "preferred", "otherwise"),
    [
        (["model.tflite", "saved_model.pb"], True, False),
        (["model.tflite", "saved_model.pbtxt"], True, False),
        (["model.tflite"], True, True),
        (["saved_model.pb"], False, False),
        ([], False, False),
    ],
)
def test_the_file_is_served_when_preferred_or_alone(
    names: list[str], preferred: bool, otherwise: bool, tmp_path: Path
) -> None:
    version = _version(tmp_path / "1", *names)
    assert is_tflite(version, prefer_tflite=True) is preferred
    assert is_tflite(version, prefer_tflite=False) is otherwise


def test_a_directory_with_neither_gets_the_words_for_a_saved_model(tmp_path: Path) -> None:
    if find_spec("tensorflow") is None:
        pytest.skip("TensorFlow is not installed")
    backend: FormatBackend = open_backend(BackendOptions(prefer_tflite_model=True))
    with pytest.raises(NotFound, match="does not appear to contain a SavedModel"):
        backend.load(str(tmp_path))


@pytest.mark.parametrize("prefers", [True, False])
def test_each_version_is_loaded_from_what_it_holds(
    prefers: bool, version_path: Callable[[str], Path]
) -> None:
    if find_spec("tensorflow") is None or find_spec("ai_edge_litert") is None:
        pytest.skip("TensorFlow or LiteRT is not installed")
    backend = open_backend(BackendOptions(prefer_tflite_model=prefers))
    both, alone = (backend.load(str(version_path(n))) for n in ("lite_net", "lite_metadata"))
    assert [type(model).__name__ for model in (both, alone)] == [
        "TFLiteModel" if prefers else "SavedModel",
        "TFLiteModel",
    ]
    both.close()
    alone.close()


_OPENED = """
import sys
from salver.backends.by_format import load_library
load_library(sys.argv[2:], prefer_tflite=sys.argv[1] == "True")
from salver.backends.tensorflow.library import _open_library
opened = []
if "salver.backends.tensorflow.library" in sys.modules and _open_library.cache_info().currsize:
    opened.append("TensorFlow")
if "ai_edge_litert" in sys.modules:
    opened.append("LiteRT")
print(*opened)
"""


@pytest.mark.parametrize(
    ("prefers", "bases", "opened"),
    [
        (False, ["lite"], "LiteRT"),
        (False, ["both"], "TensorFlow"),
        (True, ["both"], "LiteRT"),
        (True, ["both", "lite"], "LiteRT"),
        (False, ["both", "lite"], "TensorFlow"),
        (False, ["absent"], "TensorFlow"),
        (False, [], "TensorFlow"),
    ],
)
def test_only_the_library_that_will_be_needed_is_opened(
    prefers: bool, bases: list[str], opened: str, tmp_path: Path
) -> None:
    if find_spec("tensorflow") is None or find_spec("ai_edge_litert") is None:
        pytest.skip("TensorFlow or LiteRT is not installed")
    _version(tmp_path / "lite" / "1", "model.tflite")
    _version(tmp_path / "both" / "0002", "model.tflite", "saved_model.pb")
    _version(tmp_path / "lite" / "notes")
    paths = [str(tmp_path / base) for base in bases]
    done = subprocess.run(
        [sys.executable, "-c", _OPENED, str(prefers), *paths],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == f"{opened}\n"


def test_opening_a_library_takes_paths_that_are_not_there(tmp_path: Path) -> None:
    if find_spec("tensorflow") is None:
        pytest.skip("TensorFlow is not installed")
    load_library([str(tmp_path / "absent")], prefer_tflite=True)


def test_without_tensorflow_the_file_beside_a_saved_model_is_recommended(
    version_path: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    library._open_library.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    backend = open_backend(BackendOptions())
    for name, advice in (
        ("lite_net", ". Or serve its model.tflite: --prefer_tflite_model"),
        ("mlp", ""),
    ):
        with pytest.raises(NotInstalled) as raised:
            backend.load(str(version_path(name)))
        assert raised.value.message == (
            "Serving a SavedModel needs TensorFlow, which is not installed here. "
            f"Install it with: {install_command('tensorflow')}{advice}"
        )


def test_a_keras_file_is_served_where_there_is_nothing_else(
    model_path: Callable[[str], Path], tmp_path: Path
) -> None:
    keras = model_path("keras_trained")
    options = KerasOptions(cache=str(keras.parent / "conversions"))
    backend = open_backend(BackendOptions(keras=options))
    for _ in range(2):
        model = backend.load(str(keras / "1"))
        assert "picture" in model.signatures["serving_default"].inputs
        model.close()
    shutil.copy(keras / "1" / "model.keras", tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"\xff")
    with pytest.raises(DataLoss):
        backend.load(str(tmp_path))
    backend.stop()
    with pytest.raises(Unavailable):
        backend.load(str(keras / "1"))


def test_what_was_stopped_before_it_began_converts_nothing(tmp_path: Path) -> None:
    (tmp_path / "model.keras").touch()
    backend = open_backend(BackendOptions())
    backend.stop()
    with pytest.raises(Unavailable, match=r"^The server is stopping$"):
        backend.load(str(tmp_path))


@pytest.mark.parametrize("name", ["lite_net", "lite_metadata", "half_plus_two"])
def test_a_look_at_a_version_tells_the_signatures_that_a_load_would(
    name: str, version_path: Callable[[str], Path]
) -> None:
    if find_spec("tensorflow") is None or find_spec("ai_edge_litert") is None:
        pytest.skip("TensorFlow or LiteRT is not installed")
    directory = str(version_path(name))
    for prefers in (True, False):
        backend = open_backend(BackendOptions(prefer_tflite_model=prefers))
        seen = backend.inspect(directory)
        model = backend.load(directory)
        assert seen == model.signature_def_map
        model.close()


def test_a_look_at_a_keras_file_tells_no_signatures(tmp_path: Path) -> None:
    assert open_backend(BackendOptions()).inspect(str(_version(tmp_path / "1", "m.keras"))) is None


def test_a_look_refuses_what_will_not_load(tmp_path: Path) -> None:
    backend = open_backend(BackendOptions())
    with pytest.raises(NotFound, match="does not appear to contain a SavedModel"):
        backend.inspect(str(tmp_path))
    version = _version(tmp_path / "1")
    (version / "saved_model.pb").write_bytes(b"rubbish")
    with pytest.raises(DataLoss, match="as binary proto"):
        backend.inspect(str(version))
    lite = _version(tmp_path / "2")
    (lite / "model.tflite").write_bytes(b"rubbish")
    with pytest.raises(InvalidArgument):
        backend.inspect(str(lite))


def test_where_there_is_nothing_to_load_no_library_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    backend = open_backend(BackendOptions())
    for look in (backend.load, backend.inspect):
        with pytest.raises(NotFound, match="does not appear to contain a SavedModel") as raised:
            look(str(tmp_path))
        assert raised.value.hint is None
    (tmp_path / "m.onnx").touch()
    with pytest.raises(NotFound) as raised:
        backend.load(str(tmp_path))
    assert raised.value.hint is not None
    assert raised.value.hint.startswith("m.onnx is an ONNX model, which is not served. Convert it ")
    (tmp_path / "export.meta").touch()
    with pytest.raises(Unimplemented, match="Session Bundle is deprecated"):
        backend.load(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "needs"),
    [
        ("saved_model.pb", "Serving a SavedModel needs TensorFlow"),
        ("model.tflite", "Serving a TFLite model needs LiteRT"),
        ("model.keras", "Serving a Keras file needs TensorFlow and Keras 3"),
    ],
)
def test_a_look_at_a_version_finds_that_its_library_is_missing(
    name: str, needs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    version = _version(tmp_path / "1", name)
    with pytest.raises(NotInstalled, match=needs):
        open_backend(BackendOptions()).inspect(str(version))
