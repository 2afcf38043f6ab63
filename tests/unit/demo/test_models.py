import json
import os
import shutil
from collections.abc import Callable
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import salver.demo.models
from salver.about.assets import read_about, read_asset
from salver.about.checks import misfits
from salver.backends.selection import Selector
from salver.demo.models import (
    Format,
    digit_examples,
    put_digits,
    usable_format,
    write_models,
)
from salver.errors import FailedPrecondition, ServingError
from salver.instruments.installing import install_command
from salver.vocabulary.model import Model
from salver.vocabulary.requests import Array

NEEDS = {Format.SAVED_MODEL: "tensorflow", Format.TFLITE: "ai_edge_litert"}
FORMS = pytest.mark.parametrize("form", list(Format))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Format], Path]:
    """A directory with every model in a form; skips where nothing here can serve it."""
    made: dict[Format, Path] = {}

    def write(form: Format) -> Path:
        if find_spec(NEEDS[form]) is None:
            pytest.skip(f"{NEEDS[form]} is not installed")
        if form not in made:
            made[form] = tmp_path_factory.mktemp("models")
            write_models(made[form], form)
        return made[form]

    return write


def run(version: Path, signature: str, **inputs: Any) -> dict[str, Array]:
    with closing(load(version)) as model:
        of = model.signatures[signature]
        feeds = [np.array(inputs[alias], np.float32) for alias in of.inputs]
        program = model.program(signature)
        return dict(zip(of.outputs, program.run(feeds), strict=True))


def load(version: Path) -> Model:
    return Selector()(version).load()


@FORMS
def test_the_arithmetic_is_right(written: Callable[[Format], Path], form: Format) -> None:
    base = written(form)
    y = run(base / "half_plus_two" / "00000123", "serving_default", x=[[1.0], [2.0], [5.0]])["y"]
    assert y.tolist() == [[2.5], [3.0], [4.5]]
    y = run(base / "half_plus_three" / "00000123", "serving_default", x=[[1.0]])["y"]
    assert y.tolist() == [[3.5]]
    matrix = np.arange(9).reshape(1, 3, 3)
    y = run(base / "matrix_half_plus_two" / "1", "serving_default", x=matrix)["y"]
    assert y.tolist() == (matrix / 2 + 2).tolist()


@FORMS
@pytest.mark.parametrize(("version", "least"), [("1", 0.85), ("2", 0.96)])
def test_digits_that_were_not_trained_on_are_read(
    written: Callable[[Format], Path], form: Format, version: str, least: float
) -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    digits = datasets.load_digits()
    images, truth = digits.images[1300:], digits.target[1300:]
    outputs = run(written(form) / "digits" / version, "serving_default", x=images)
    shares = outputs["probabilities"]
    assert np.allclose(shares.sum(axis=1), 1, atol=1e-4)
    assert (shares.argmax(axis=1) == truth).mean() >= least


@FORMS
def test_both_versions_read_the_easy_example_and_the_second_the_hard_one(
    written: Callable[[Format], Path], form: Format
) -> None:
    examples = digit_examples()
    pictures = [values for _, values in examples]
    words = read_about(written(form) / "digits" / "1")
    assert words is not None
    labels = words.signatures["serving_default"].outputs["probabilities"].labels
    truth = [labels.index(title.split()[-1]) for title, _ in examples]
    found = {
        version: run(written(form) / "digits" / version, "serving_default", x=pictures)[
            "probabilities"
        ]
        for version in ("1", "2")
    }
    assert found["2"].argmax(axis=1).tolist() == truth
    assert found["2"].max(axis=1).min() > 0.9
    assert found["1"].argmax(axis=1).tolist()[:-1] == truth[:-1]
    assert found["1"].argmax(axis=1)[-1] != truth[-1]


@FORMS
def test_what_the_digits_say_of_themselves_fits_them(
    written: Callable[[Format], Path], form: Format
) -> None:
    for version in ("1", "2"):
        directory = written(form) / "digits" / version
        about = read_about(directory)
        assert about is not None
        assert about.warnings == ()
        with closing(load(directory)) as model:
            assert misfits(about, model.signatures) == []
        for name in about.files:
            assert read_asset(directory, name).startswith(b"\x89PNG")


@FORMS
def test_each_model_comes_in_the_form_that_was_asked_for(tmp_path: Path, form: Format) -> None:
    told = write_models(tmp_path, form)
    found = sorted(
        path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()
    )
    (other,) = set(Format) - {form}
    assert [name for name in found if name.endswith(other.value)] == []
    assert [name for name in found if name.endswith(form.value)] == [
        f"digits/1/{form.value}", f"digits/2/{form.value}",
        f"half_plus_three/00000123/{form.value}", f"half_plus_two/00000123/{form.value}",
        f"matrix_half_plus_two/1/{form.value}",
    ]  # fmt: skip
    assert {"digits.tflite", "half_plus_two.tflite"} < set(found)
    assert all((tmp_path / each.name).exists() and each.is_new for each in told)


def test_what_is_there_already_stays(tmp_path: Path) -> None:
    write_models(tmp_path, Format.SAVED_MODEL)
    mine = tmp_path / "half_plus_two" / "00000123" / "mine"
    mine.touch()
    (tmp_path / "digits.tflite").write_bytes(b"mine")
    assert not any(each.is_new for each in write_models(tmp_path, Format.TFLITE))
    assert mine.exists()
    assert (tmp_path / "digits.tflite").read_bytes() == b"mine"


def test_a_version_is_seen_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        assert not (tmp_path / "1").exists()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copytree", full)
    with pytest.raises(ServingError, match="No space left on device"):
        put_digits(tmp_path, 1, Format.SAVED_MODEL)
    assert os.listdir(tmp_path) == []


def test_a_place_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ServingError, match="file"):
        write_models(tmp_path / "file", Format.SAVED_MODEL)


@pytest.mark.parametrize(
    ("installed", "form"),
    [
        ({"tensorflow", "ai_edge_litert"}, Format.SAVED_MODEL),
        ({"tensorflow"}, Format.SAVED_MODEL),
        ({"ai_edge_litert"}, Format.TFLITE),
    ],
)
def test_the_form_is_what_is_installed_can_serve(installed: set[str], form: Format) -> None:
    assert usable_format(lambda name: name if name in installed else None) is form


def test_without_either_a_command_to_install_one_is_named() -> None:
    with pytest.raises(FailedPrecondition) as refusal:
        usable_format(lambda _: None)
    assert refusal.value.hint == (
        f"Install the one with: {install_command('tensorflow')}\n"
        f"Or the other, which is smaller: {install_command('litert')}"
    )


@pytest.fixture
def files() -> Path:
    return Path(salver.demo.models.__file__).with_name("data")


def test_what_comes_with_the_package_is_small(files: Path) -> None:
    sizes = [path.stat().st_size for path in files.rglob("*") if path.is_file()]
    assert sum(sizes) < 100_000


def test_the_documents_name_nothing_of_the_machine_they_were_made_on(files: Path) -> None:
    for path in files.rglob("*"):
        if path.is_file():
            assert b"/home/" not in path.read_bytes()
            assert b"/tmp/" not in path.read_bytes(), path
    assert json.loads((files / "digits" / "1" / "assets" / "salver.json").read_text())
