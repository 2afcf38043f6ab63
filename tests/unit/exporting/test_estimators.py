"""With the libraries where they are installed, and stand-ins for what they do else."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from salver.errors import InvalidArgument
from salver.exporting import Asked, Made, export, is_live, live_name


def _kind(name: str, module: str, **attributes: Any) -> type:
    return type(name, (), {"__module__": module, **attributes})


class NotFittedError(ValueError):
    pass


class Booster:
    __module__ = "xgboost.core"
    feature_names: "list[str] | None" = None

    def save_model(self, path: str) -> None:
        Path(path).write_text("model")


class Classifier:
    """As XGBoost's estimators are."""

    __module__ = "xgboost.sklearn"
    __name__ = "XGBModel"

    def __init__(self, classes: Any = None, names: Any = None) -> None:
        self.booster = Booster()
        self.booster.feature_names = names
        if classes is not None:
            self.classes_ = classes

    def get_booster(self) -> Booster:
        return self.booster


Classifier.__name__ = "XGBModel"


def exported(model: Any, directory: Path) -> Made:
    return export(model, directory / "1")


def files(directory: Path) -> list[str]:
    return sorted(of.name for of in (directory / "1").iterdir())


def test_the_module_of_a_class_tells_what_it_is() -> None:
    assert is_live(Classifier())
    assert is_live(Booster())
    assert is_live(_kind("LGBMModel", "lightgbm.sklearn")())
    assert is_live(_kind("BaseEstimator", "sklearn.base")())
    assert not is_live(_kind("BaseEstimator", "my.base")())
    mine = type("Mine", (_kind("BaseEstimator", "sklearn.base"),), {"__module__": "mine"})()
    assert is_live(mine)
    assert live_name(mine) == "Mine"


def test_a_booster_is_one_file(tmp_path: Path) -> None:
    assert exported(Booster(), tmp_path) == Made()
    assert files(tmp_path) == ["model.ubj"]


@pytest.mark.parametrize(
    ("classes", "labels"),
    [
        (np.array(["cat", "dog"]), ("cat", "dog")),
        (np.array([3, 7]), ("3", "7")),
        (np.array([False, True]), ()),
        (np.arange(3), ()),
        (np.zeros((2, 2)), ()),
        ([np.arange(2), np.arange(3)], ()),
        (np.array(["a\nb", "c"]), ()),
        (None, ()),
    ],
)
def test_classes_become_labels(classes: Any, labels: tuple[str, ...], tmp_path: Path) -> None:
    assert exported(Classifier(classes), tmp_path).labels == labels


def test_names_of_columns_are_told_to_the_playground(tmp_path: Path) -> None:
    about = exported(Classifier(names=["age", "income"]), tmp_path).about
    assert about is not None
    x = about["signatures"]["serving_default"]["inputs"]["x"]
    assert x == {"kind": "vector", "names": ["age", "income"]}


def test_what_is_not_fitted_is_refused(tmp_path: Path) -> None:
    class Unfitted(Classifier):
        __module__ = "xgboost.sklearn"

        def get_booster(self) -> Booster:
            raise NotFittedError("need to call fit")

    with pytest.raises(InvalidArgument, match="The Unfitted is not fitted") as caught:
        exported(Unfitted(), tmp_path)
    assert caught.value.hint == "Call its fit(X, y) first."


def test_what_the_library_says_is_told(tmp_path: Path) -> None:
    class Broken(Booster):
        def save_model(self, path: str) -> None:
            raise RuntimeError("the disk is full")

    with pytest.raises(InvalidArgument, match="XGBoost cannot write the model: the disk is full"):
        exported(Broken(), tmp_path)


def test_types_are_not_to_be_said_of_an_estimator(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"inputs are not to be said of a model of XGBoost"):
        export(Booster(), tmp_path / "1", Asked(inputs={"x": 1}))


# -- with the libraries ----------------------------------------------------------------------------

X = np.arange(40, dtype=np.float32).reshape(20, 2)
Y = np.array(["no", "yes"])[(X[:, 0] > 20).astype(int)]


@pytest.mark.skipif(find_spec("xgboost") is None, reason="XGBoost is not installed")
def test_xgboost_reads_what_was_written(tmp_path: Path) -> None:
    import xgboost

    model = xgboost.XGBClassifier(n_estimators=2)
    with pytest.raises(InvalidArgument, match="XGBClassifier is not fitted"):
        exported(model, tmp_path)
    model.fit(X, (Y == "yes").astype(int))
    export(model, tmp_path / "2")
    booster = xgboost.Booster(model_file=str(tmp_path / "2" / "model.ubj"))
    expected = model.predict_proba(X)[:, 1]
    np.testing.assert_allclose(booster.predict(xgboost.DMatrix(X)), expected, rtol=1e-6)


@pytest.mark.skipif(find_spec("lightgbm") is None, reason="LightGBM is not installed")
def test_lightgbm_reads_what_was_written(tmp_path: Path) -> None:
    import lightgbm

    model = lightgbm.LGBMClassifier(n_estimators=2, min_child_samples=1, verbose=-1)
    with pytest.raises(InvalidArgument, match="LGBMClassifier is not fitted"):
        exported(model, tmp_path)
    model.fit(X, Y)
    assert export(model, tmp_path / "2") == Made(("no", "yes"))
    booster = lightgbm.Booster(model_file=str(tmp_path / "2" / "model.txt"))
    np.testing.assert_allclose(booster.predict(X), model.predict_proba(X)[:, 1])


@pytest.mark.skipif(find_spec("sklearn") is None, reason="scikit-learn is not installed")
def test_an_unfitted_estimator_is_refused(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    with pytest.raises(InvalidArgument, match="LogisticRegression is not fitted"):
        exported(LogisticRegression(), tmp_path)


@pytest.mark.skipif(
    find_spec("sklearn") is None or find_spec("skops") is None, reason="skops is not installed"
)
def test_skops_reads_what_was_written(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y)
    assert exported(model, tmp_path) == Made(("no", "yes"))
    import skops.io  # not before: with PyTorch imported it warns, which publishing keeps to itself

    again = skops.io.load(tmp_path / "1" / "model.skops")
    np.testing.assert_allclose(again.predict_proba(X), model.predict_proba(X))
