"""Real Keras files and real children; what was converted is kept between sessions."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from salver.backends.keras.backend import KerasBackend
from salver.backends.keras.child import config_of, has_code
from salver.backends.keras.options import KerasOptions
from salver.backends.protocol import LoadStage
from salver.errors import FailedPrecondition, ServingError, Unavailable
from salver.vocabulary.model import Model
from salver.vocabulary.requests import Array

Options = Callable[..., KerasOptions]
ModelPath = Callable[[str], Path]


class _Loader:
    """A backend of its own, and options for it."""

    def __init__(self, options: KerasOptions) -> None:
        self._options = options
        self.backend = KerasBackend()

    def load(self, directory: str) -> Model:
        return self.backend.load(Path(directory), self._options, LoadStage())


def _load(name: str, options: KerasOptions, model_path: ModelPath) -> Model:
    return _Loader(options).load(str(model_path(name) / "1"))


def _expected(base: Path) -> tuple[dict[str, Array], dict[str, Array]]:
    """The inputs and the outputs of `model.predict`."""
    with np.load(base / "expected.npz") as arrays:
        found = {name: arrays[name] for name in arrays.files}
    inputs = {name[3:]: value for name, value in found.items() if name.startswith("in_")}
    for name, value in inputs.items():
        if value.dtype.kind == "S":
            inputs[name] = value.astype(object)
    return inputs, {name[4:]: value for name, value in found.items() if name.startswith("out_")}


def _run(model: Model, inputs: Mapping[str, Array]) -> dict[str, Array]:
    signature = model.signatures["serving_default"]
    assert set(signature.inputs) == set(inputs)
    feeds = [inputs[name] for name in signature.inputs]
    outputs = model.program("serving_default").run(feeds)
    return dict(zip(signature.outputs, outputs, strict=True))


@pytest.mark.parametrize(
    "name", ["keras_trained", "keras_h5", "keras_branches", "keras_words", "keras_custom"]
)
def test_the_answer_is_that_of_predict_with_the_names_keras_gives(
    name: str, options: Options, model_path: ModelPath
) -> None:
    base = model_path(name)
    modules = [str(base / "classes.py")] if name == "keras_custom" else []
    model = _load(name, options(custom_objects=tuple(modules)), model_path)
    inputs, outputs = _expected(base)
    for rows in (slice(None), slice(0, 1), slice(1, 3)):
        answers = _run(model, {key: value[rows] for key, value in inputs.items()})
        assert set(answers) == set(outputs)
        for key, value in outputs.items():
            np.testing.assert_allclose(answers[key], value[rows], rtol=1e-5, atol=1e-6)
    model.close()


def test_without_safe_mode_code_in_the_file_runs(options: Options, model_path: ModelPath) -> None:
    model = _load("keras_lambda", options(safe_mode=False), model_path)
    inputs, outputs = _expected(model_path("keras_lambda"))
    np.testing.assert_array_equal(_run(model, inputs)["output_0"], outputs["output_0"])
    model.close()


@pytest.mark.parametrize("file", ["keras_lambda/1/model.keras", "keras_lambda_h5/1/model.h5"])
def test_code_is_found_in_real_files(file: str, model_path: ModelPath) -> None:
    pytest.importorskip("h5py")
    assert has_code(config_of(str(model_path("keras_lambda").parent / file)))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("keras_lambda_h5", "model.h5 has a Lambda layer, that is Python code in the file"),
        ("keras_custom", "net.keras uses the class 'Net', which Keras does not know"),
        ("keras_unbuilt", "model.keras does not say what its inputs are"),
        ("keras_weights", "model.h5 has no model in it, perhaps weights alone"),
        ("keras_cut", "model.h5 is no Keras file, or only a part of one: Unable to"),
    ],
)
def test_what_cannot_be_served_says_why_and_is_not_tried_twice(
    name: str,
    said: str,
    options: Options,
    model_path: ModelPath,
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend = _Loader(options())
    caplog.set_level("INFO")
    for _ in range(2):
        with pytest.raises(ServingError) as raised:
            backend.load(str(model_path(name) / "1"))
        assert said in raised.value.message
    assert caplog.text.count("to a SavedModel; this takes seconds") == 1


def test_other_tags_do_not_matter_to_what_was_converted(
    options: Options, model_path: ModelPath
) -> None:
    backend = _Loader(options(saved_model_tags=("gpu", "serve")))
    backend.load(str(model_path("keras_trained") / "1")).close()


def test_settings_of_the_session_are_those_of_the_version(
    options: Options, model_path: ModelPath, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    version = tmp_path / "1"
    shutil.copytree(model_path("keras_trained") / "1", version)
    (version / "assets.extra").mkdir()
    (version / "assets.extra" / "saved_model_config.pb").write_bytes(b"\xff\xff")
    _Loader(options()).load(str(version)).close()
    assert "saved_model_config.pb" in caplog.text


def test_a_backend_that_was_stopped_converts_nothing(tmp_path: Path, model_path: ModelPath) -> None:
    backend = _Loader(KerasOptions(cache=str(tmp_path)))
    backend.backend.stop()
    with pytest.raises(Unavailable):
        backend.load(str(model_path("keras_trained") / "1"))


def test_two_files_in_a_version_are_too_many(tmp_path: Path) -> None:
    for name in ("a.keras", "b.h5"):
        (tmp_path / name).touch()
    with pytest.raises(FailedPrecondition, match=r"a\.keras, b\.h5"):
        _Loader(KerasOptions(cache=str(tmp_path))).load(str(tmp_path))
