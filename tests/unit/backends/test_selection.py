import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.unit.backends.packages import LINES, install

from salver.backends.protocol import LoadStage
from salver.backends.registry import Backends
from salver.backends.selection import Selected, Selector, prepare
from salver.backends.tensorflow import library
from salver.errors import (
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    NotInstalled,
    Unavailable,
    Unimplemented,
)
from salver.instruments.installing import install_command
from salver.vocabulary.servable import ServableId

STAGE = LoadStage(id=ServableId("m", 1))


def _version(path: Path, *names: str) -> Path:
    path.mkdir(parents=True)
    for name in names:
        (path / name).touch()
    return path


def _chosen(path: Path, **settings: object) -> str:
    return Selector(settings=settings)(path).backend.name


# -- by files --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "otherwise", "preferred"),
    [
        (["model.tflite", "saved_model.pb"], "tensorflow_savedmodel", "tflite"),
        (["model.tflite", "saved_model.pbtxt"], "tensorflow_savedmodel", "tflite"),
        (["model.tflite"], "tflite", "tflite"),
        (["digits.tflite"], "tflite", "tflite"),
        (["saved_model.pb"], "tensorflow_savedmodel", "tensorflow_savedmodel"),
        (["saved_model.pb", "m.keras"], "tensorflow_savedmodel", "tensorflow_savedmodel"),
        (["model.tflite", "m.keras"], "tflite", "tflite"),
        (["m.keras"], "keras", "keras"),
        (["m.h5", "m.weights.h5"], "keras", "keras"),
    ],
)
def test_a_version_is_served_by_the_first_that_knows_its_files(
    names: list[str], otherwise: str, preferred: str, tmp_path: Path
) -> None:
    version = _version(tmp_path / "1", *names)
    assert _chosen(version) == otherwise
    assert _chosen(version, prefer_tflite_model=True) == preferred


def test_a_platform_names_its_backend_whatever_the_files_are(tmp_path: Path) -> None:
    version = _version(tmp_path / "1", "saved_model.pb", "model.tflite")
    select = Selector()
    assert select(version, "tflite").backend.name == "tflite"
    assert select(version, "of_a_configuration").backend.name == "tensorflow_savedmodel"
    keras = select(version, "keras")
    assert (keras.backend.name, keras.match) == ("keras", None)


def test_several_keras_files_are_refused(tmp_path: Path) -> None:
    version = _version(tmp_path / "1", "a.keras", "b.h5")
    with pytest.raises(FailedPrecondition) as caught:
        Selector()(version)
    assert caught.value.message == (
        f"{version} holds more than one Keras file: a.keras, b.h5. Leave the one to be served"
    )
    (version / "saved_model.pb").touch()
    assert _chosen(version) == "tensorflow_savedmodel"


def test_where_nothing_is_known_the_words_are_those_for_a_saved_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)  # no library is missed
    select = Selector(settings={"prefer_tflite_model": True})
    with pytest.raises(NotFound, match="does not appear to contain a SavedModel") as raised:
        select(tmp_path)
    assert raised.value.hint is None
    (tmp_path / "m.mlmodel").touch()
    with pytest.raises(NotFound) as raised:
        select(tmp_path)
    assert raised.value.hint is not None
    assert raised.value.hint.startswith("m.mlmodel is a Core ML model, which is not served. It ")
    (tmp_path / "export.meta").touch()
    with pytest.raises(Unimplemented, match="Session Bundle is deprecated"):
        select(tmp_path)


def test_where_no_backend_is_there_nothing_is_served(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="holds no model that any backend serves"):
        Selector(Backends(built_in={}))(tmp_path)


def test_files_that_come_after_a_look_at_them_are_not_there_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backends = Backends()
    monkeypatch.setattr(next(backends.built_in()), "inspect", lambda _path, _options: None)
    with pytest.raises(NotFound, match="holds no model that any backend serves"):
        Selector(backends)(tmp_path)


# -- of other packages -----------------------------------------------------------------------------


def test_other_packages_are_imported_where_none_of_ours_knows_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = install(tmp_path, monkeypatch, "linear")
    ours = _version(tmp_path / "ours", "saved_model.pb", "model.linear")
    select = Selector()
    assert select(ours).backend.name == "tensorflow_savedmodel"
    assert module not in sys.modules
    theirs = _version(tmp_path / "theirs", "a.linear")
    found = select(theirs)
    assert (found.backend.name, found.file, found.shown) == (
        "linear",
        theirs / "a.linear",
        f"linear model at {theirs}/a.linear",
    )


def test_one_of_another_package_that_is_named_is_asked_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, "linear")
    version = _version(tmp_path / "1", "saved_model.pb", "model.linear")
    assert Selector()(version, "linear").backend.name == "linear"


def test_files_of_two_are_refused_and_both_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, "one")
    install(tmp_path, monkeypatch, "two")
    version = _version(tmp_path / "1", "model.one", "model.two")
    select = Selector()
    with pytest.raises(FailedPrecondition) as caught:
        select(version)
    assert caught.value.message == (
        f"{version} holds models of several backends: one model (model.one), two model (model.two)"
    )
    assert caught.value.hint == (
        'Leave the one to be served, or say which: model_platform: "one" or "two"'
    )
    assert select(version, "two").backend.name == "two"


def test_one_that_fails_to_tell_files_keeps_no_other_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = LINES.replace("found = listing", "raise OSError('no')\n        found = listing")
    install(tmp_path, monkeypatch, "broken", broken)
    install(tmp_path, monkeypatch, "linear")
    version = _version(tmp_path / "1", "model.linear")
    with caplog.at_level(logging.WARNING):
        assert _chosen(version) == "linear"
    assert "The backend broken cannot tell files" in caplog.text


# -- options ---------------------------------------------------------------------------------------


def test_options_come_from_the_settings_and_those_of_the_model_go_before(tmp_path: Path) -> None:
    version = _version(tmp_path / "1", "model.tflite")
    select = Selector(settings={"num_tflite_pools": 3, "num_tflite_interpreters_per_pool": 2})
    assert select(version).options.num_pools == 3
    own = select(version, own_options={"num_pools": "5"}).options
    assert (own.num_pools, own.num_interpreters_per_pool) == (5, 2)


def test_options_of_the_model_are_for_the_backend_that_serves_it_alone(tmp_path: Path) -> None:
    version = _version(tmp_path / "1", "saved_model.pb", "model.tflite")
    found = Selector()(version, own_options={"saved_model_tags": "gpu"})
    assert found.options.saved_model_tags == ("gpu",)
    assert [other.backend.name for other in found.others] == ["tflite"]


def test_options_that_are_wrong_are_refused(tmp_path: Path) -> None:
    version = _version(tmp_path / "1", "model.tflite")
    with pytest.raises(InvalidArgument, match="There is no option num_pool of tflite"):
        Selector()(version, own_options={"num_pool": "5"})


# -- loads and looks -------------------------------------------------------------------------------


@pytest.mark.parametrize("prefers", [True, False])
def test_each_version_is_loaded_from_what_it_holds(
    prefers: bool, version_path: Callable[[str], Path]
) -> None:
    if find_spec("tensorflow") is None or find_spec("ai_edge_litert") is None:
        pytest.skip("TensorFlow or LiteRT is not installed")
    select = Selector(settings={"prefer_tflite_model": prefers})
    models = [select(version_path(name)).load(STAGE) for name in ("lite_net", "lite_metadata")]
    assert [type(model).__name__ for model in models] == [
        "TFLiteModel" if prefers else "SavedModel",
        "TFLiteModel",
    ]
    for model in models:
        model.close()


@pytest.mark.parametrize("name", ["lite_net", "lite_metadata", "half_plus_two"])
def test_a_look_at_a_version_tells_the_signatures_that_a_load_would(
    name: str, version_path: Callable[[str], Path]
) -> None:
    if find_spec("tensorflow") is None or find_spec("ai_edge_litert") is None:
        pytest.skip("TensorFlow or LiteRT is not installed")
    for prefers in (True, False):
        found = Selector(settings={"prefer_tflite_model": prefers})(version_path(name))
        seen = found.inspect()
        model = found.load(STAGE)
        assert seen is not None
        assert (seen.signatures, seen.definitions) == (model.signatures, model.definitions)
        model.close()


def test_a_look_at_a_keras_file_tells_no_signatures(tmp_path: Path) -> None:
    if find_spec("tensorflow") is None or find_spec("keras") is None:
        pytest.skip("TensorFlow or Keras is not installed")
    assert Selector()(_version(tmp_path / "1", "m.keras")).inspect() is None


@pytest.mark.parametrize(
    ("name", "error"), [("saved_model.pb", DataLoss), ("model.tflite", InvalidArgument)]
)
def test_a_look_refuses_what_will_not_load(
    name: str, error: type[Exception], tmp_path: Path
) -> None:
    if find_spec("tensorflow") is None or find_spec("ai_edge_litert") is None:
        pytest.skip("TensorFlow or LiteRT is not installed")
    version = _version(tmp_path / "1")
    (version / name).write_bytes(b"rubbish")
    with pytest.raises(error):
        Selector()(version).inspect()


def test_without_tensorflow_the_file_beside_a_saved_model_is_recommended(
    version_path: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "_open_library", library._open_library.__wrapped__)
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    for name, advice in (
        ("lite_net", ". Or serve its model.tflite: --prefer_tflite_model"),
        ("mlp", ""),
    ):
        found = Selector()(version_path(name))
        for attempt in (lambda of: of.load(STAGE), Selected.inspect):
            with pytest.raises(NotInstalled) as raised:
                attempt(found)
            assert raised.value.message == (
                "Serving a SavedModel needs TensorFlow, which is not installed here. "
                f"Install it with: {install_command('tensorflow')}{advice}"
            )


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
        Selector()(version).inspect()


def test_a_keras_file_is_served_where_there_is_nothing_else(
    model_path: Callable[[str], Path], tmp_path: Path
) -> None:
    keras = model_path("keras_trained")
    select = Selector(settings={"conversion_cache": str(keras.parent / "conversions")})
    for _ in range(2):
        model = select(keras / "1").load(STAGE)
        assert "picture" in model.signatures["serving_default"].inputs
        model.close()
    shutil.copy(keras / "1" / "model.keras", tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"\xff")
    with pytest.raises(DataLoss):
        select(tmp_path).load(STAGE)
    select.backends.stop()
    with pytest.raises(Unavailable):
        select(keras / "1").load(STAGE)


def test_what_was_stopped_before_it_began_converts_nothing(tmp_path: Path) -> None:
    (tmp_path / "model.keras").touch()
    select = Selector()
    select.backends.stop()
    with pytest.raises(Unavailable, match=r"^The server is stopping$"):
        select(tmp_path).load(STAGE)


# -- at start-up -----------------------------------------------------------------------------------

_OPENED = """
import sys
from salver.backends.selection import prepare
known = [tuple(each.split("=")) for each in sys.argv[2:]]
prepare(known, {"prefer_tflite_model": sys.argv[1] == "True"}).join()
from salver.backends.tensorflow.library import _open_library
opened = []
if _open_library.cache_info().currsize:
    opened.append("TensorFlow")
if "ai_edge_litert" in sys.modules:
    opened.append("LiteRT")
print(*opened)
"""


@pytest.mark.parametrize(
    ("prefers", "bases", "opened"),
    [
        (False, ["tensorflow=lite"], "LiteRT"),
        (False, ["tensorflow=both"], "TensorFlow"),
        (False, ["tflite=both"], "LiteRT"),
        (False, ["tensorflow=single"], "LiteRT"),
        (True, ["tensorflow=both"], "LiteRT"),
        (True, ["tensorflow=both", "tensorflow=lite"], "LiteRT"),
        (False, ["tensorflow=both", "tensorflow=lite"], "TensorFlow LiteRT"),
        (False, ["tensorflow=absent"], "TensorFlow"),
        (False, ["=lite"], "LiteRT"),
        (False, [], "TensorFlow"),
    ],
)
def test_only_the_libraries_that_will_be_needed_are_opened(
    prefers: bool, bases: list[str], opened: str, tmp_path: Path
) -> None:
    if find_spec("tensorflow") is None or find_spec("ai_edge_litert") is None:
        pytest.skip("TensorFlow or LiteRT is not installed")
    _version(tmp_path / "lite" / "1", "model.tflite")
    _version(tmp_path / "both" / "0002", "model.tflite", "saved_model.pb")
    _version(tmp_path / "single", "digits.tflite")
    _version(tmp_path / "lite" / "notes")
    paths = [f"{platform}={tmp_path / base}" for platform, base in (b.split("=") for b in bases)]
    done = subprocess.run(
        [sys.executable, "-c", _OPENED, str(prefers), *paths],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == f"{opened}\n"


def test_a_library_that_cannot_be_opened_is_left_to_the_first_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _version(tmp_path / "1", "model.tflite")
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    prepare([("tensorflow", str(tmp_path))]).join()
