import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.backends.trees.test_examples import examples

from salver.backends.lightgbm.loading import inspect, load_model
from salver.backends.lightgbm.options import LightGBMOptions
from salver.errors import DataLoss, InvalidArgument, ServingError
from salver.vocabulary.dtypes import DataType

lightgbm = pytest.importorskip("lightgbm")

ModelPath = Callable[[str], Path]
ROWS = np.random.default_rng(1).normal(size=(7, 4)).astype(np.float32)
MODELS = "binary regression multiclass ova ranking linear constant custom forest".split()  # noqa: SIM905


def file_of(model_path: ModelPath, name: str) -> Path:
    return model_path(f"lightgbm_{name}") / "1" / "model.txt"


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_it_predicts_what_the_library_predicts(
    name: str, dtype: str, model_path: ModelPath
) -> None:
    path = file_of(model_path, name)
    expected = lightgbm.Booster(model_file=path).predict(ROWS)
    rows = ROWS.astype(dtype)
    model = load_model(path, LightGBMOptions(input_dtype=dtype))
    program = model.program("serving_default")
    for run in (program.run, program.run_in_caller, program.run_inline):
        np.testing.assert_array_equal(run([rows])[0], expected)
        np.testing.assert_array_equal(run([rows[:1]])[0], expected[:1])
        assert run([rows[:0]])[0].shape == (0, *expected.shape[1:])
    model.close()


@pytest.mark.parametrize(
    ("name", "signatures", "shape"),
    [
        ("binary", ["classify", "regress", "serving_default"], (-1,)),
        ("forest", ["classify", "regress", "serving_default"], (-1,)),
        ("multiclass", ["classify", "serving_default"], (-1, 3)),
        ("ova", ["classify", "serving_default"], (-1, 3)),
        ("regression", ["regress", "serving_default"], (-1,)),
        ("ranking", ["regress", "serving_default"], (-1,)),
    ],
)
def test_a_look_tells_what_the_objective_gives(
    name: str, signatures: list[str], shape: tuple[int, ...], model_path: ModelPath
) -> None:
    info = inspect(file_of(model_path, name), LightGBMOptions())
    assert list(info.signatures) == signatures
    default = info.signatures["serving_default"]
    assert default.outputs["y"].shape == shape
    assert default.inputs["x"].shape == (-1, 4)
    assert info.footprint_bytes


def test_two_classes_have_their_scores_and_labels(model_path: ModelPath, tmp_path: Path) -> None:
    shutil.copytree(file_of(model_path, "binary").parent, tmp_path / "1")
    (tmp_path / "1" / "assets").mkdir()
    (tmp_path / "1" / "assets" / "labels.txt").write_text("low\nhigh\n")
    model = load_model(tmp_path / "1" / "model.txt", LightGBMOptions())
    given = examples({"x": ROWS[0].tolist()}, {"x": ROWS[1].tolist()})
    classes, scores = model.program("classify").run([given])
    assert classes.tolist() == [[b"low", b"high"]] * 2
    (y,) = model.program("serving_default").run([ROWS[:2]])
    np.testing.assert_allclose(scores, np.stack([1 - y, y], 1), rtol=1e-6)
    (regressed,) = model.program("regress").run([given])
    np.testing.assert_allclose(regressed, y, rtol=1e-6)
    assert regressed.dtype == np.float32
    model.close()


def test_named_columns_are_asked_for_and_take_categories_as_texts(
    model_path: ModelPath, tmp_path: Path
) -> None:
    import pandas as pd

    shutil.copytree(file_of(model_path, "table").parent, tmp_path / "1")
    (tmp_path / "1" / "assets").mkdir()
    document = {"signatures": {"serving_default": {"inputs": {"city": {"title": "City"}}}}}
    (tmp_path / "1" / "assets" / "salver.json").write_text(json.dumps(document))
    path = tmp_path / "1" / "model.txt"
    model = load_model(path, LightGBMOptions())
    inputs = model.signatures["serving_default"].inputs
    assert {name: spec.dtype for name, spec in inputs.items()} == {
        "age": DataType.FLOAT64,
        "city": DataType.STRING,
        "income": DataType.FLOAT64,
    }
    ages, incomes = np.array([20.0, 50.0, 70.0]), np.array([2.0, 8.0, 4.9])
    cities = ["Oslo", "Bonn", "Nowhere"]
    (y,) = model.program("serving_default").run(
        [ages, np.array([city.encode() for city in cities], object), incomes]
    )
    table = pd.DataFrame({"age": ages, "city": pd.Categorical(cities), "income": incomes})
    np.testing.assert_array_equal(y, lightgbm.Booster(model_file=path).predict(table))
    model.close()


def test_single_rows_of_many_threads_are_answered_right(model_path: ModelPath) -> None:
    path = file_of(model_path, "multiclass")
    model = load_model(path, LightGBMOptions())
    program = model.program("serving_default")
    rows = np.random.default_rng(3).normal(size=(200, 4)).astype(np.float32)
    (expected,) = program.run([rows])
    wrong: list[Any] = []

    def ask(start: int) -> None:
        for at in range(start, 200, 4):
            (y,) = program.run([rows[at : at + 1]])
            if not np.array_equal(y[0], expected[at]):
                wrong.append(at)

    threads = [threading.Thread(target=ask, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    model.close()


@pytest.mark.parametrize("size", [0, 100, 1500])
def test_a_file_that_was_cut_is_an_error_that_names_it(
    size: int, model_path: ModelPath, tmp_path: Path
) -> None:
    path = tmp_path / "model.txt"
    path.write_bytes(file_of(model_path, "binary").read_bytes()[:size])
    with pytest.raises(DataLoss, match=f"^{path} is no LightGBM model, or only a part of one"):
        load_model(path, LightGBMOptions())


def test_a_strange_file_is_tried_in_a_process_of_its_own(
    model_path: ModelPath, tmp_path: Path
) -> None:
    path = tmp_path / "model.txt"
    data = file_of(model_path, "binary").read_bytes()
    path.write_bytes(data.replace(b"version=v4", b"version=v9"))
    load_model(path, LightGBMOptions()).close()
    path.write_bytes(data.replace(b"version=v4", b"version=v9").replace(b"binary", b"qinary"))
    with pytest.raises(DataLoss, match="cannot be loaded: a trial in a process of its own ended"):
        load_model(path, LightGBMOptions())


def test_what_the_library_refuses_is_an_error(model_path: ModelPath, tmp_path: Path) -> None:
    path = tmp_path / "model.txt"
    data = file_of(model_path, "binary").read_bytes()
    path.write_bytes(data.replace(b"objective=binary", b"objective=qinary"))
    with pytest.raises(ServingError, match="LightGBM: Unknown objective"):
        load_model(path, LightGBMOptions())


def test_an_unknown_signature_or_output_is_refused(model_path: ModelPath) -> None:
    model = load_model(file_of(model_path, "binary"), LightGBMOptions())
    with pytest.raises(InvalidArgument):
        model.program("other")
    with pytest.raises(InvalidArgument):
        model.program("serving_default", ["z"])
    model.close()


@pytest.mark.parametrize("wrong", [{"num_threads": 0}, {"input_dtype": "int8"}])
def test_options_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        LightGBMOptions(**wrong)
