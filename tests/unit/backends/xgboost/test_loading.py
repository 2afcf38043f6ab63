import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.unit.backends.trees.test_examples import examples

from salver.backends.xgboost.loading import inspect, load_model
from salver.backends.xgboost.options import XGBoostOptions
from salver.errors import DataLoss, InvalidArgument
from salver.vocabulary.dtypes import DataType

xgboost = pytest.importorskip("xgboost")

ModelPath = Callable[[str], Path]
ROWS = np.random.default_rng(1).normal(size=(7, 4)).astype(np.float32)
ROWS[3, 1] = np.nan
MODELS = "binary raw regression softmax softprob ranking dart linear targets vectors empty".split()  # noqa: SIM905


def file_of(model_path: ModelPath, name: str, ending: str = "ubj") -> Path:
    return model_path(f"xgboost_{name}_{ending}") / "1" / f"model.{ending}"


@pytest.mark.parametrize("ending", ["ubj", "json"])
@pytest.mark.parametrize("name", MODELS)
def test_it_predicts_what_the_library_predicts(
    name: str, ending: str, model_path: ModelPath
) -> None:
    path = file_of(model_path, name, ending)
    expected = xgboost.Booster(model_file=path).predict(xgboost.DMatrix(ROWS))
    model = load_model(path, XGBoostOptions(num_threads=2))
    program = model.program("serving_default")
    for run in (program.run, program.run_in_caller, program.run_inline):
        np.testing.assert_allclose(run([ROWS])[0], expected, rtol=1e-6)
        np.testing.assert_allclose(run([ROWS[:1]])[0], expected[:1], rtol=1e-6)
        assert run([ROWS[:0]])[0].shape == (0, *expected.shape[1:])
    model.close()


@pytest.mark.parametrize(
    ("name", "signatures", "shape"),
    [
        ("binary", ["classify", "regress", "serving_default"], (-1,)),
        ("softprob", ["classify", "serving_default"], (-1, 3)),
        ("softmax", ["classify", "serving_default"], (-1,)),
        ("regression", ["regress", "serving_default"], (-1,)),
        ("targets", ["serving_default"], (-1, 2)),
        ("linear", ["regress", "serving_default"], (-1,)),
    ],
)
def test_a_look_tells_what_the_objective_gives(
    name: str, signatures: list[str], shape: tuple[int, ...], model_path: ModelPath
) -> None:
    info = inspect(file_of(model_path, name), XGBoostOptions())
    assert list(info.signatures) == signatures
    assert info.signatures["serving_default"].outputs["y"].shape == shape
    assert info.signatures["serving_default"].inputs["x"].shape == (-1, 4)


@pytest.mark.parametrize("name", ["softmax", "softprob"])
def test_the_scores_of_several_classes_are_their_probabilities(
    name: str, model_path: ModelPath
) -> None:
    model = load_model(file_of(model_path, name), XGBoostOptions())
    probabilities = xgboost.Booster(model_file=file_of(model_path, "softprob")).predict(
        xgboost.DMatrix(ROWS[:2])
    )
    given = examples({"x": ROWS[0].tolist()}, {"x": ROWS[1].tolist()})
    classes, scores = model.program("classify").run([given])
    assert classes.tolist() == [[b"0", b"1", b"2"]] * 2
    np.testing.assert_allclose(scores, probabilities, rtol=1e-5)
    none = np.empty(0, object)
    assert model.program("classify").run([none])[1].shape == (0, 3)
    model.close()


def test_raw_scores_of_two_classes_become_probabilities(model_path: ModelPath) -> None:
    model = load_model(file_of(model_path, "raw"), XGBoostOptions())
    given = examples({"x": ROWS[0].tolist()})
    (scores,) = model.program("classify", ["scores"]).run([given])
    (margin,) = model.program("serving_default").run([ROWS[:1]])
    np.testing.assert_allclose(scores[0, 1], 1 / (1 + np.exp(-margin[0])), rtol=1e-6)
    model.close()


def test_named_columns_are_asked_for_and_take_categories_as_texts(
    model_path: ModelPath, tmp_path: Path
) -> None:
    import pandas as pd

    shutil.copytree(file_of(model_path, "table").parent, tmp_path / "1")
    (tmp_path / "1" / "assets").mkdir()
    document = {"signatures": {"serving_default": {"inputs": {"city": {"title": "City"}}}}}
    (tmp_path / "1" / "assets" / "salver.json").write_text(json.dumps(document))
    path = tmp_path / "1" / "model.ubj"
    model = load_model(path, XGBoostOptions())
    inputs = model.signatures["serving_default"].inputs
    assert [spec.dtype for spec in inputs.values()] == [
        DataType.FLOAT32,
        DataType.STRING,
        DataType.FLOAT32,
    ]
    ages, incomes = np.array([20, 50], np.float32), np.array([2, 8], np.float32)
    cities = np.array([b"Oslo", b"Bonn"], object)
    program = model.program("serving_default")
    (y,) = program.run([ages, cities, incomes])
    table = pd.DataFrame({"age": ages, "city": pd.Categorical(["Oslo", "Bonn"]), "income": incomes})
    matrix = xgboost.DMatrix(table, enable_categorical=True)
    np.testing.assert_allclose(y, xgboost.Booster(model_file=path).predict(matrix), rtol=1e-6)
    with pytest.raises(InvalidArgument, match="Rome is no category of city"):
        program.run([ages[:1], np.array([b"Rome"], object), incomes[:1]])
    model.close()


def test_trees_behind_the_best_iteration_are_left_out(
    model_path: ModelPath, tmp_path: Path
) -> None:
    source = xgboost.Booster(model_file=file_of(model_path, "regression"))
    source.set_attr(best_iteration="1")
    path = tmp_path / "model.ubj"
    source.save_model(path)
    model = load_model(path, XGBoostOptions())
    (y,) = model.program("serving_default").run([ROWS])
    expected = source.predict(xgboost.DMatrix(ROWS), iteration_range=(0, 2))
    np.testing.assert_allclose(y, expected, rtol=1e-6)
    model.close()


@pytest.mark.parametrize("name", ["softprob", "linear"])
def test_runs_of_many_threads_are_answered_right(name: str, model_path: ModelPath) -> None:
    model = load_model(file_of(model_path, name), XGBoostOptions())
    program = model.program("serving_default")
    rows = np.random.default_rng(3).normal(size=(100, 4)).astype(np.float32)
    (expected,) = program.run([rows])
    wrong: list[int] = []

    def ask(start: int) -> None:
        for at in range(start, 100, 4):
            (y,) = program.run([rows[at : at + 1]])
            if not np.allclose(y[0], expected[at]):
                wrong.append(at)

    threads = [threading.Thread(target=ask, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    model.close()


@pytest.mark.parametrize("ending", ["ubj", "json"])
def test_a_file_that_was_cut_is_an_error_that_names_it(
    ending: str, model_path: ModelPath, tmp_path: Path
) -> None:
    path = tmp_path / f"model.{ending}"
    path.write_bytes(file_of(model_path, "binary", ending).read_bytes()[:-40])
    with pytest.raises(DataLoss, match=f"^{path} is no XGBoost model, or only a part of one"):
        load_model(path, XGBoostOptions())


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (["learner", "gradient_booster", "model", "tree_info", 1], None),
        (["learner", "gradient_booster", "model", "trees", 0, "base_weights", 0], "half"),
        (["learner", "attributes"], None),
        (["learner", "objective", "reg_loss_param"], []),
        (["learner", "gradient_booster", "model", "trees", 0, "tree_param", "num_deleted"], {}),
    ],
    ids=str,
)
def test_what_is_of_another_kind_is_an_error_that_names_the_file(
    place: list[str | int], value: object, model_path: ModelPath, tmp_path: Path
) -> None:
    document = json.loads(file_of(model_path, "regression", "json").read_bytes())
    at = document
    for each in place[:-1]:
        at = at[each]
    at[place[-1]] = value
    path = tmp_path / "model.json"
    path.write_text(json.dumps(document))
    with pytest.raises(DataLoss, match=f"^{path} is no XGBoost model, or only a part of one"):
        load_model(path, XGBoostOptions())
