"""The parts of the child in this process; a stand-in is put in the place of the two frameworks.

`test_backend.py` has the whole child convert real files.
"""

import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from salver.backends.keras import child
from salver.backends.keras.child import (
    CodeInFile,
    config_of,
    convert,
    custom_objects,
    has_code,
    main,
    origin_of,
    placeholders,
)

PATIENCE_S = 60.0


def _keras_file(path: Path, config: Any, version: str = "3.5.0") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("metadata.json", json.dumps({"keras_version": version}))
    return path


@pytest.fixture
def _modules() -> Iterator[None]:
    """Forget what is imported meanwhile, and where from."""
    names, path = set(sys.modules), list(sys.path)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - names:
        del sys.modules[name]


# -- What a file says of itself -------------------------------------------------------------------


def test_a_description_that_inflates_without_end_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "_LARGEST_DESCRIPTION", 1000)
    assert config_of(str(_keras_file(tmp_path / "m.keras", {"a": "b" * 900})))
    bomb = _keras_file(tmp_path / "bomb.keras", {"a": "b" * 1000})
    with pytest.raises(ValueError, match=r"config\.json inflates to 1009 bytes"):
        config_of(str(bomb))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"class_name": "Dense", "config": {"activation": "relu", "units": [1, None]}}, False),
        ({"layers": [{"config": {"function": {"class_name": "__lambda__"}}}]}, True),
        ({"layers": [{"config": {"function": ["4wEA"], "function_type": "lambda"}}]}, True),
        ({"config": {"function": "double", "function_type": "function"}}, False),
        ([[{"mask_type": "lambda"}]], True),
        ("lambda", False),
        (None, False),
    ],
)
def test_code_is_found_wherever_it_stands(config: Any, expected: bool) -> None:
    assert has_code(config) is expected


def test_a_keras_file_tells_its_layers_and_its_origin(tmp_path: Path) -> None:
    path = str(_keras_file(tmp_path / "m.keras", {"class_name": "Sequential"}, "2.15.0"))
    assert config_of(path) == {"class_name": "Sequential"}
    assert origin_of(path) == "2.15.0"


@pytest.mark.parametrize("as_bytes", [True, False])
def test_an_hdf5_file_does_too(as_bytes: bool, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path = str(tmp_path / "m.h5")
    with h5py.File(path, "w") as file:
        for name, value in (("model_config", "[1]"), ("keras_version", "2.4.0")):
            file.attrs[name] = value.encode() if as_bytes else value
    assert (config_of(path), origin_of(path)) == ([1], "2.4.0")


def test_weights_alone_tell_nothing(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path = str(tmp_path / "m.h5")
    h5py.File(path, "w").close()
    assert (config_of(path), origin_of(path)) == (None, "")


def test_what_cannot_be_read_has_no_origin(tmp_path: Path) -> None:
    (tmp_path / "m.keras").write_bytes(b"no archive")
    assert origin_of(str(tmp_path / "m.keras")) == ""


# -- What the user adds ---------------------------------------------------------------------------


@pytest.mark.usefixtures("_modules")
def test_modules_give_what_they_define_and_not_what_they_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path / "installed"))
    (tmp_path / "installed").mkdir()
    (tmp_path / "installed" / "by_name_of_ours.py").write_text("class Layer: pass\n")
    (tmp_path / "beside_of_ours.py").write_text("number = 1\n")
    file = tmp_path / "in_file_of_ours.py"
    file.write_text(
        "from json import dumps\nimport beside_of_ours\nlimit = 3\ndef squared(x): return x * x\n"
    )
    found = custom_objects([str(file), "by_name_of_ours"])
    assert sorted(found) == ["Layer", "squared"]
    assert found["squared"](3) == 9


# -- The conversion -------------------------------------------------------------------------------


def test_placeholders_have_the_structure_of_the_shapes_and_any_number_of_rows() -> None:
    def make(shape: Any) -> Any:
        return ("tensor", *shape)

    assert placeholders([1, 3], make) == ("tensor", None, 3)
    assert placeholders({"a": (None, 2), "b": [[4], [5, 6]]}, make) == {
        "a": ("tensor", None, 2),
        "b": [("tensor", None), ("tensor", None, 6)],
    }


class _Model:
    """Exports once it was called, if it has to be."""

    input_dtype = "float32"

    def __init__(self, config: Any = None, refuses: str = "") -> None:
        self.config, self.refuses = config, refuses
        self.calls: list[Any] = []

    def call(self, inputs: Any) -> Any:
        raise NotImplementedError

    def get_build_config(self) -> Any:
        return self.config

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        self.calls.append((inputs, named))
        self.refuses = ""

    def export(self, target: str) -> None:
        if self.refuses:
            raise ValueError(self.refuses)
        Path(target).mkdir()


def _framework(name: str, load: Any) -> ModuleType:
    module: Any = ModuleType(name)
    module.models = SimpleNamespace(load_model=load)
    module.KerasTensor = lambda shape, dtype: (shape, dtype)
    return module  # type: ignore[no-any-return]


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts stand-ins for the frameworks in place, whose `load_model` is given."""

    def put(**load: Any) -> None:
        monkeypatch.setitem(sys.modules, "tensorflow", ModuleType("tensorflow"))
        for name, function in load.items():
            monkeypatch.setitem(sys.modules, name, _framework(name, function))
        monkeypatch.setattr(
            "importlib.util.find_spec", lambda name: object() if name in load else None
        )

    return put


def _request(tmp_path: Path, source: Path, **more: Any) -> dict[str, Any]:
    return {
        "source": str(source),
        "target": str(tmp_path / "target"),
        "report": str(tmp_path / "report.json"),
        "safe_mode": True,
        "custom_objects": [],
        **more,
    }


def test_a_model_is_loaded_as_asked_and_exported(tmp_path: Path, loaded: Any) -> None:
    asked: list[Any] = []

    def load(path: str, **how: Any) -> _Model:
        asked.append((path, how))
        return _Model()

    loaded(keras=load)
    source = _keras_file(tmp_path / "m.keras", {"class_name": "__lambda__"})
    convert(_request(tmp_path, source, safe_mode=False))
    assert asked == [
        (str(source), {"custom_objects": {}, "compile": False, "safe_mode": False}),
    ]
    assert (tmp_path / "target").is_dir()


NEVER = "The model provided has never called. It must be called at least once before export."


@pytest.mark.parametrize(
    ("config", "calls"),
    [
        ({"input_shape": [1, 3]}, [((((None, 3), "float32"),), {})]),
        (
            {"shapes_dict": {"left_shape": [1, 3], "right_shape": [None, 2]}},
            [((), {"left": ((None, 3), "float32"), "right": ((None, 2), "float32")})],
        ),
    ],
)
def test_a_subclassed_model_is_first_called_with_the_shapes_it_was_built_for(
    config: Any, calls: list[Any], tmp_path: Path, loaded: Any
) -> None:
    model = _Model(config, NEVER)
    loaded(keras=lambda _path, **_how: model)
    convert(_request(tmp_path, _keras_file(tmp_path / "m.keras", {})))
    assert model.calls == calls


@pytest.mark.parametrize(("config", "refuses"), [(None, NEVER), ({}, "not yet been built")])
def test_a_model_without_shapes_fails_in_keras_words(
    config: Any, refuses: str, tmp_path: Path, loaded: Any
) -> None:
    loaded(keras=lambda _path, **_how: _Model(config, refuses))
    report = _report(tmp_path, _request(tmp_path, _keras_file(tmp_path / "m.keras", {})))
    assert (report["step"], report["message"]) == ("export", refuses)


def _cannot(_path: str, **_how: Any) -> Any:
    raise TypeError("Unrecognized keyword arguments")


def test_what_keras_3_cannot_load_of_keras_2_is_loaded_by_that(tmp_path: Path, loaded: Any) -> None:
    loaded(keras=_cannot, tf_keras=lambda _path, **_how: _Model())
    convert(_request(tmp_path, _keras_file(tmp_path / "m.keras", {}, "2.15.0")))
    assert (tmp_path / "target").is_dir()


@pytest.mark.parametrize(("origin", "others"), [("3.1.0", {"tf_keras": _cannot}), ("2.15.0", {})])
def test_without_it_or_for_files_of_keras_3_the_first_error_stays(
    origin: str, others: Any, tmp_path: Path, loaded: Any
) -> None:
    loaded(keras=_cannot, **others)
    report = _report(tmp_path, _request(tmp_path, _keras_file(tmp_path / "m.keras", {}, origin)))
    assert report == {
        "status": "failed",
        "step": "load",
        "type": "TypeError",
        "message": "Unrecognized keyword arguments",
        "origin": origin,
    }


@pytest.fixture
def _lives_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """`main` neither watches our standard input nor makes this process a nice one."""
    monkeypatch.setattr(child, "_end_with_parent", lambda: None)
    monkeypatch.setattr(os, "nice", lambda _by: None)


def _report(tmp_path: Path, request: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(child._Failure) as raised:
        convert(request)
    failure = raised.value
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(child, "_end_with_parent", lambda: None)
        patch.setattr(os, "nice", lambda _by: None)
        assert main(json.dumps(request)) == 1
    report: dict[str, str] = json.loads((tmp_path / "report.json").read_text())
    assert report["type"] == type(failure.__cause__).__name__
    return report


def test_code_in_a_file_is_not_run_in_safe_mode(tmp_path: Path, loaded: Any) -> None:
    loaded(keras=lambda _path, **_how: pytest.fail("loaded"))
    source = _keras_file(tmp_path / "m.keras", {"function": {"class_name": "__lambda__"}})
    report = _report(tmp_path, _request(tmp_path, source))
    assert (report["step"], report["type"]) == ("read", CodeInFile.__name__)


def test_a_module_that_is_not_there_is_reported(tmp_path: Path, loaded: Any) -> None:
    loaded(keras=_cannot)
    request = _request(
        tmp_path, _keras_file(tmp_path / "m.keras", {}), custom_objects=["absent_of_ours"]
    )
    assert _report(tmp_path, request)["step"] == "custom_objects"


def test_a_file_that_is_no_module_is_reported(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("importlib.util.spec_from_file_location", lambda _name, _path: None)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(ImportError, match=r"mine\.py cannot be imported"):
        custom_objects([str(tmp_path / "mine.py")])


def test_a_framework_that_is_missing_is_reported_without_reading_the_file(
    tmp_path: Path, loaded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded()
    monkeypatch.setitem(sys.modules, "keras", None)
    report = _report(tmp_path, _request(tmp_path, tmp_path / "absent.h5"))
    assert (report["step"], report["origin"]) == ("import", "")


@pytest.mark.usefixtures("_lives_on")
def test_success_is_reported_too(tmp_path: Path, loaded: Any) -> None:
    loaded(keras=lambda _path, **_how: _Model())
    request = _request(tmp_path, _keras_file(tmp_path / "m.keras", {}))
    assert main(json.dumps(request)) == 0
    assert json.loads((tmp_path / "report.json").read_text()) == {"status": "done"}


def test_it_ends_when_nobody_holds_its_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[int] = []
    read, write = os.pipe()
    try:
        monkeypatch.setattr(os, "_exit", ends.append)
        monkeypatch.setattr(os, "read", lambda _file, number, real=os.read: real(read, number))
        thread = threading.Thread(target=child._end_with_parent)
        thread.start()
        os.close(write)
        thread.join(PATIENCE_S)
    finally:
        os.close(read)
    assert ends == [1]


HANGING = """
import threading
def load_model(path, **how):
    print("loading", flush=True)
    threading.Event().wait()
"""


def test_the_script_itself_goes_first_where_memory_runs_out_and_ends_with_its_parent(
    tmp_path: Path,
) -> None:
    for name, text in (("tensorflow", ""), ("keras", "from . import models")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(text)
    (tmp_path / "keras" / "models.py").write_text(HANGING)
    request = _request(tmp_path, _keras_file(tmp_path / "m.keras", {}))
    script = subprocess.Popen(
        [sys.executable, child.__file__, json.dumps(request)],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert script.stdin is not None
    assert script.stdout is not None
    with script.stdout as said:
        assert said.readline() == "loading\n"
        if sys.platform == "linux":
            assert Path(f"/proc/{script.pid}/oom_score_adj").read_text() == "1000\n"
        script.stdin.close()
        assert script.wait(PATIENCE_S) == 1


class _Augmenting(_Model):
    """Exports what its call gives, as Keras does; trains unless it is told not to."""

    def call(self, inputs: Any, training: bool = True) -> Any:
        return f"{inputs} {'augmented' if training else 'as it is'}"

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        return self.call(*inputs, **named)

    def export(self, target: str) -> None:
        # As Keras does; on an instance, its own attribute comes first.
        Path(target).write_text(self.__call__("picture"))


def test_what_is_exported_infers_as_predict_does(tmp_path: Path, loaded: Any) -> None:
    loaded(keras=lambda _path, **_how: _Augmenting())
    convert(_request(tmp_path, _keras_file(tmp_path / "m.keras", {})))
    assert (tmp_path / "target").read_text() == "picture as it is"
