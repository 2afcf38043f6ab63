"""With stand-ins for the frameworks, which this process never imports; the real ones export in
tests/integration/test_python_api.py."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from salver.errors import FailedPrecondition, InvalidArgument
from salver.exporting import export, is_live, live_name


class KerasModel:
    name = "net/a:b"
    error: Exception | None = None

    def export(self, path: str, verbose: bool = True) -> None:
        assert not verbose
        sys.stdout.write("Saved artifact at …")
        if self.error is not None:
            raise self.error
        Path(path).mkdir()


class OldKerasModel(KerasModel):
    def export(self, path: str) -> None:  # type: ignore[override]
        Path(path).mkdir()


class Module:
    pass


class Function:
    """A `tf.function`; one without an input signature cannot be served."""

    def __init__(self, input_signature: Any = ()) -> None:
        self.input_signature = input_signature

    def get_concrete_function(self) -> "Function":
        return self


@pytest.fixture(autouse=True)
def saved(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Stand-ins; gives the signatures of what is saved."""
    saved: list[Any] = []

    def save(model: Any, path: str, signatures: Any) -> None:
        if getattr(model, "is_broken", False):
            raise ValueError("untracked resource")
        saved.append(signatures)

    keras = ModuleType("keras")
    keras.Model = KerasModel  # type: ignore[attr-defined]
    tensorflow = ModuleType("tensorflow")
    tensorflow.Module = Module  # type: ignore[attr-defined]
    tensorflow.saved_model = SimpleNamespace(save=save)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keras", keras)
    monkeypatch.setitem(sys.modules, "tensorflow", tensorflow)
    return saved


def test_live_models_are_told_from_paths() -> None:
    assert is_live(KerasModel())
    assert is_live(Module())
    assert not is_live("models/m")
    assert not is_live(3)


def test_without_a_framework_nothing_is_live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "keras")
    monkeypatch.delitem(sys.modules, "tensorflow")
    assert not is_live(KerasModel())


def test_a_name_fits_a_url() -> None:
    assert live_name(KerasModel()) == "net_a_b"
    assert live_name(Module()) == "Module"


@pytest.mark.parametrize("kind", [KerasModel, OldKerasModel])
def test_keras_exports_without_a_word(
    kind: type[KerasModel], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export(kind(), tmp_path / "1")
    assert (tmp_path / "1").is_dir()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("error", "raised"),
    [(ImportError("no tensorflow"), FailedPrecondition), (ValueError("unbuilt"), InvalidArgument)],
)
def test_what_keras_says_is_told(error: Exception, raised: type[Exception], tmp_path: Path) -> None:
    model = KerasModel()
    model.error = error
    with pytest.raises(raised, match=f"^Keras cannot export the model: {error}$"):
        export(model, tmp_path / "1")


def names_saved(attributes: dict[str, Any], saved: list[Any], tmp_path: Path) -> dict[str, Any]:
    kind = type("Mine", (Module,), attributes)
    export(kind(), tmp_path / "1")
    (signatures,) = saved
    return dict(signatures)


CALL, SERVE, OTHER = Function(), Function(), Function()


@pytest.mark.parametrize(
    ("attributes", "signatures"),
    [
        ({"__call__": CALL}, {"serving_default": CALL}),
        ({"__call__": CALL, "serve": SERVE}, {"serving_default": CALL, "serve": SERVE}),
        ({"serve": SERVE, "other": OTHER}, {"serving_default": SERVE, "other": OTHER}),
        ({"predict": SERVE, "a": OTHER}, {"serving_default": SERVE, "a": OTHER}),
        ({"mine": OTHER, "plain": Function(None)}, {"serving_default": OTHER}),
        ({"a": OTHER, "b": SERVE}, {"a": OTHER, "b": SERVE}),
    ],
)
def test_functions_with_an_input_signature_are_the_signatures(
    attributes: dict[str, Any], signatures: dict[str, Any], saved: list[Any], tmp_path: Path
) -> None:
    assert names_saved(attributes, saved, tmp_path) == signatures


def test_a_module_without_functions_is_refused_with_advice(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="Module has no function to serve") as caught:
        export(Module(), tmp_path / "1")
    assert "input_signature" in (caught.value.hint or "")


def test_what_tensorflow_says_is_told(tmp_path: Path) -> None:
    kind = type("Mine", (Module,), {"__call__": CALL, "is_broken": True})
    with pytest.raises(InvalidArgument, match="TensorFlow cannot export the module: untracked"):
        export(kind(), tmp_path / "1")


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="A list is no model"):
        export([], tmp_path / "1")
