import json
import pickle
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from salver.backends.protocol import Listing, LoadStage
from salver.backends.sklearn.backend import SklearnBackend
from salver.backends.sklearn.loading import load_model
from salver.backends.sklearn.options import SklearnOptions
from salver.errors import DataLoss, FailedPrecondition, InvalidArgument, PermissionDenied
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.signature import TensorSpec

skops_io = pytest.importorskip("skops.io")
pytest.importorskip("pandas")

ModelPath = Callable[[str], Path]
NONE = SklearnOptions()
TREES = "sklearn.tree._tree.Tree"


def file_of(model_path: ModelPath, name: str, ending: str = "skops") -> Path:
    return model_path(f"sklearn_{name}") / "1" / f"model.{ending}"


def texts(*values: str) -> Any:
    return np.array([value.encode() for value in values], object)


def test_columns_are_inputs_texts_where_an_encoder_has_seen_texts(model_path: ModelPath) -> None:
    model = load_model(file_of(model_path, "columns"), NONE)
    number, text = TensorSpec(DataType.FLOAT64, (-1,)), TensorSpec(DataType.STRING, (-1,))
    assert list(model.signatures) == ["decision_function", "predict_proba", "serving_default"]
    for signature in model.signatures.values():
        assert signature.inputs == {"age": number, "city": text, "income": number}
    outputs = {name: of.outputs for name, of in model.signatures.items()}
    assert outputs == {
        "serving_default": {"y": text},
        "predict_proba": {"probabilities": TensorSpec(DataType.FLOAT64, (-1, 2))},
        "decision_function": {"scores": number},
    }


def test_it_answers_what_the_estimator_answers(model_path: ModelPath) -> None:
    import pandas as pd

    path = file_of(model_path, "columns")
    model, estimator = load_model(path, NONE), skops_io.load(path)
    ages, incomes, cities = np.array([20.0, 70.0]), np.array([2.0, 8.0]), ["Oslo", "Nowhere"]
    table = pd.DataFrame({"age": ages, "city": cities, "income": incomes})
    feeds = [ages, texts(*cities), incomes]
    (y,) = model.program("serving_default").run(feeds)
    assert y.tolist() == [label.encode() for label in estimator.predict(table)]
    (probabilities,) = model.program("predict_proba").run(feeds)
    np.testing.assert_array_equal(probabilities, estimator.predict_proba(table))
    (scores,) = model.program("decision_function", ["scores"]).run(feeds)
    np.testing.assert_array_equal(scores, estimator.decision_function(table))


def test_what_was_not_fitted_on_names_takes_a_matrix(model_path: ModelPath) -> None:
    path = file_of(model_path, "matrix")
    model = load_model(path, NONE)
    assert model.signatures["serving_default"].inputs == {
        "x": TensorSpec(DataType.FLOAT64, (-1, 3))
    }
    rows = np.random.default_rng(1).normal(size=(4, 3))
    program = model.program("serving_default")
    for run in (program.run, program.run_in_caller, program.run_inline):
        np.testing.assert_array_equal(run([rows])[0], skops_io.load(path).predict(rows))
    assert program.run([rows[:0]])[0].shape == (0,)


def test_what_only_transforms_does_that_by_default(model_path: ModelPath) -> None:
    model = load_model(file_of(model_path, "scaler"), NONE)
    assert list(model.signatures) == ["serving_default", "transform"]
    assert model.signatures["serving_default"].outputs == {
        "features": TensorSpec(DataType.FLOAT64, (-1, 3))
    }


def test_what_cuts_texts_into_words_takes_texts(model_path: ModelPath) -> None:
    model = load_model(file_of(model_path, "words"), NONE)
    assert model.signatures["serving_default"].inputs == {"x": TensorSpec(DataType.STRING, (-1,))}
    (y,) = model.program("serving_default").run([texts("a good day", "a bad night")])
    assert y.tolist() == [b"yes", b"no"]


def test_several_targets_have_no_probabilities_in_one_tensor(model_path: ModelPath) -> None:
    model = load_model(file_of(model_path, "targets"), NONE)
    assert list(model.signatures) == ["serving_default"]
    assert model.signatures["serving_default"].outputs["y"].shape == (-1, 2)


def test_an_empty_text_is_missing_where_the_estimator_fills_gaps(model_path: ModelPath) -> None:
    import pandas as pd

    path = file_of(model_path, "imputed")
    (found,) = (
        load_model(path, NONE)
        .program("predict_proba")
        .run([np.array([30.0]), texts(""), np.array([3.0])])
    )
    table = pd.DataFrame({"age": [30.0], "city": [np.nan], "income": [3.0]}).astype(
        {"city": object}
    )
    estimator = skops_io.load(path, trusted=["numpy.dtype"])
    np.testing.assert_array_equal(found, estimator.predict_proba(table))


def test_the_document_beside_it_says_what_a_column_is(
    model_path: ModelPath, tmp_path: Path
) -> None:
    shutil.copytree(file_of(model_path, "columns").parent, tmp_path / "1")
    (tmp_path / "1" / "assets").mkdir()
    inputs = {"age": {"kind": "text"}, "income": {"choices": ["low", "high"]}}
    document = {"signatures": {"serving_default": {"inputs": inputs}}}
    (tmp_path / "1" / "assets" / "salver.json").write_text(json.dumps(document))
    found = load_model(tmp_path / "1" / "model.skops", NONE).signatures["serving_default"].inputs
    assert {spec.dtype for spec in found.values()} == {DataType.STRING}


def test_types_that_are_not_trusted_are_named_with_what_to_do(model_path: ModelPath) -> None:
    path = file_of(model_path, "forest")
    with pytest.raises(PermissionDenied, match=f"types that are not trusted: {TREES} ") as refused:
        load_model(path, NONE)
    assert f"--sklearn_trusted_types={TREES}" in (refused.value.hint or "")
    model = load_model(path, SklearnOptions(trusted_types=(TREES,)))
    assert model.signatures["serving_default"].outputs["y"].dtype is DataType.INT64


def test_functions_are_code_and_not_trusted(model_path: ModelPath) -> None:
    with pytest.raises(PermissionDenied, match=r"not trusted: .*twice"):
        load_model(file_of(model_path, "function"), NONE)


def test_parts_that_start_threads_are_limited(model_path: ModelPath) -> None:
    options = SklearnOptions(trusted_types=(TREES,), num_threads=1)
    before = threading.active_count()
    model = load_model(file_of(model_path, "forest"), options)
    model.program("serving_default").run([np.ones((5, 3))])
    assert threading.active_count() == before


@pytest.mark.parametrize(("name", "ending"), [("joblib", "joblib"), ("pickle", "pkl")])
def test_a_pickle_is_code_that_must_be_allowed(
    name: str, ending: str, model_path: ModelPath
) -> None:
    path = file_of(model_path, name, ending)
    match = SklearnBackend().detect(Listing.of(path.parent), NONE)
    assert match is not None
    assert (match.runs_code, match.needs_pickle) == ("a pickle", True)
    with pytest.raises(PermissionDenied, match="--allow_pickle"):
        load_model(path, NONE)
    model = load_model(path, SklearnOptions(allow_pickle=True))
    assert model.program("serving_default").run([np.zeros((2, 3))])[0].shape == (2,)


def test_a_skops_file_is_no_code(model_path: ModelPath) -> None:
    match = SklearnBackend().detect(Listing.of(file_of(model_path, "matrix").parent), NONE)
    assert match is not None
    assert (match.runs_code, match.needs_pickle) == ("", False)


def test_another_version_is_told_of_by_both_names(
    model_path: ModelPath, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import sklearn

    path = tmp_path / "model.pkl"
    data = file_of(model_path, "pickle", "pkl").read_bytes()
    here = sklearn.__version__.encode()
    path.write_bytes(data.replace(here, b"0" * len(here)))
    load_model(path, SklearnOptions(allow_pickle=True))
    assert (
        f"was written by scikit-learn {'0' * len(here)}, and runs in {here.decode()}" in caplog.text
    )


@pytest.mark.parametrize("ending", ["pkl", "joblib", "skops"])
@pytest.mark.parametrize("content", [b"", b"rubbish"])
def test_what_is_no_estimator_is_an_error(content: bytes, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"model.{ending}"
    path.write_bytes(content)
    with pytest.raises(DataLoss):
        load_model(path, SklearnOptions(allow_pickle=True))


def test_an_object_that_can_do_nothing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(InvalidArgument, match="A dict is no estimator"):
        load_model(path, SklearnOptions(allow_pickle=True))


def test_values_that_the_estimator_refuses_are_the_callers_fault(model_path: ModelPath) -> None:
    program = load_model(file_of(model_path, "matrix"), NONE).program("serving_default")
    with pytest.raises(InvalidArgument, match="Input X contains NaN"):
        program.run([np.full((1, 3), np.nan)])
    with pytest.raises(InvalidArgument, match=r"^Input x must have shape \[-1, 3\], not \[1, 2\]$"):
        program.run([np.ones((1, 2))])
    with pytest.raises(InvalidArgument, match="must be float64, not float32"):
        program.run([np.ones((1, 3), np.float32)])


def test_columns_that_do_not_fit_are_refused_by_name(model_path: ModelPath) -> None:
    program = load_model(file_of(model_path, "columns"), NONE).program("serving_default")
    with pytest.raises(InvalidArgument, match="age has 1, city has 2"):
        program.run([np.ones(1), texts("Oslo", "Bonn"), np.ones(1)])


def test_signatures_and_outputs_that_there_are_not_are_refused(model_path: ModelPath) -> None:
    model = load_model(file_of(model_path, "matrix"), NONE)
    for signature, outputs in (("transform", None), ("serving_default", ["z"])):
        with pytest.raises(InvalidArgument):
            model.program(signature, outputs)


def test_it_is_described_by_loading_it(model_path: ModelPath) -> None:
    directory = file_of(model_path, "matrix").parent
    (variant,) = SklearnBackend().describe(directory, NONE)
    assert variant.info.signatures == SklearnBackend().load(directory, NONE, LoadStage()).signatures


def test_several_estimators_are_a_problem_unless_one_has_its_proper_name(tmp_path: Path) -> None:
    (tmp_path / "a.skops").touch()
    (tmp_path / "b.joblib").touch()
    match = SklearnBackend().detect(Listing.of(tmp_path), NONE)
    assert match is not None
    assert "more than one estimator: a.skops, b.joblib" in match.problem
    (tmp_path / "model.skops").touch()
    match = SklearnBackend().detect(Listing.of(tmp_path), NONE)
    assert match is not None
    assert match.files == ["model.skops"]


def test_a_pickle_that_nobody_trusts_is_not_opened(version_path: Callable[[str], Path]) -> None:
    """It may have been put there after the version was checked."""
    directory, allowing = version_path("sklearn_pickle"), SklearnOptions(allow_pickle=True)
    with pytest.raises(FailedPrecondition, match="is a pickle, and is not trusted"):
        SklearnBackend().load(directory, allowing, LoadStage())
    trusted = LoadStage(trusts=lambda path: path.parent == directory)
    assert SklearnBackend().load(directory, allowing, trusted).signatures
