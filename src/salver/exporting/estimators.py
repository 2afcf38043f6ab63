"""Fitted estimators of scikit-learn, XGBoost and LightGBM → files without code in them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Final
from warnings import catch_warnings, filterwarnings

from salver.errors import InvalidArgument, NotInstalled
from salver.exporting.asked import Asked, Made, bases
from salver.instruments.installing import install_command
from salver.vocabulary.signature import DEFAULT_SIGNATURE

__all__ = [
    "export_estimator",
    "export_lightgbm",
    "export_xgboost",
    "flags_of_estimator",
    "is_estimator",
    "is_lightgbm",
    "is_xgboost",
]

_ESTIMATOR: Final = "BaseEstimator"
_MOST_LABELS: Final = 100_000
_MOST_NAMES: Final = 10_000
_HARMLESS: Final = frozenset(("numpy.dtype",))  # servers trust it as it is
_TRUST_FLAG: Final = "sklearn_trusted_types"


def is_xgboost(model: Any) -> bool:
    """Whether it is an estimator or a `Booster` of XGBoost."""
    return _is_one(model, "xgboost", ("XGBModel", "Booster"))


def is_lightgbm(model: Any) -> bool:
    """Whether it is an estimator or a `Booster` of LightGBM."""
    return _is_one(model, "lightgbm", ("LGBMModel", "Booster"))


def is_estimator(model: Any) -> bool:
    """Whether it is an estimator of scikit-learn, or of a package that follows it."""
    return _is_one(model, "sklearn", (_ESTIMATOR,))


def export_xgboost(model: Any, directory: Path, asked: Asked) -> Made:
    """Write `model.ubj`."""
    del asked
    booster = model
    if hasattr(model, "get_booster"):
        booster = _fitted(model, "XGBoost", model.get_booster)
    _write("XGBoost", lambda: booster.save_model(str(directory / "model.ubj")))
    return Made(_labels(model), _about_columns(booster.feature_names))


def export_lightgbm(model: Any, directory: Path, asked: Asked) -> Made:
    """Write `model.txt`; of a model with early stopping, the best iterations."""
    del asked
    booster = model
    if any(kind.__name__ == "LGBMModel" for kind in bases(model, "lightgbm")):
        booster = _fitted(model, "LightGBM", lambda: model.booster_)
    path = directory / "model.txt"
    _write("LightGBM", lambda: booster.save_model(str(path)))
    names = booster.feature_name()
    made_up = [f"Column_{number}" for number in range(len(names))]
    return Made(_labels(model), None if names == made_up else _about_columns(names))


def export_estimator(model: Any, directory: Path, asked: Asked) -> Made:
    """Write `model.skops`, which keeps the names of columns that the estimator was fitted on."""
    del asked
    check = import_module("sklearn.utils.validation").check_is_fitted
    _fitted(model, "scikit-learn", lambda: check(model))
    path = directory / "model.skops"
    with _skops() as skops:
        _write("skops", lambda: skops.dump(model, path))
        untrusted = skops.get_untrusted_types(file=path)
    return Made(_labels(model), flags=_trusting(model, untrusted))


def flags_of_estimator(model: Any) -> dict[str, str]:
    """The `Made.flags` that `export_estimator` would give, without a file."""
    written: list[bytes] = []
    with _skops() as skops:
        _write("skops", lambda: written.append(skops.dumps(model)))
        return _trusting(model, skops.get_untrusted_types(data=written[0]))


@contextmanager
def _skops() -> Iterator[Any]:
    with catch_warnings():
        # skops looks at names of every module there is, and PyTorch warns of old ones of its own.
        filterwarnings("ignore", category=FutureWarning, module=r"torch\.")
        try:
            skops = import_module("skops.io")
        except ImportError as error:
            raise NotInstalled(
                f"Publishing a scikit-learn estimator needs skops: {error}. "
                f"Install it with: {install_command('sklearn')}"
            ) from error
        yield skops


def _trusting(model: Any, untrusted: Sequence[str]) -> dict[str, str]:
    """The flag by which a server makes types that skops does not trust: they are the caller's own.

    Raises:
        InvalidArgument: one cannot be made anywhere else.
    """
    names = sorted(set(untrusted) - _HARMLESS)
    for name in names:
        if name.startswith("__main__.") or "<" in name:
            raise InvalidArgument(
                f"The {type(model).__name__} holds {name}, which a server cannot import",
                hint="Define it, with a name of its own, in a module that is installed where it "
                "is served.",
            )
    return {_TRUST_FLAG: ",".join(names)} if names else {}


def _is_one(model: Any, package: str, names: Sequence[str]) -> bool:
    return any(kind.__name__ in names for kind in bases(model, package))


def _fitted(model: Any, library: str, ask: Callable[[], Any]) -> Any:
    """What only a fitted estimator gives.

    Raises:
        InvalidArgument: it is not fitted, or no estimator at all.
    """
    try:
        return ask()
    except Exception as error:  # the library's own class, which is not imported here
        kinds = {kind.__name__ for kind in type(error).__mro__}
        if any("NotFitted" in name for name in kinds):
            raise InvalidArgument(
                f"The {type(model).__name__} is not fitted",
                hint="Call its fit(X, y) first.",
            ) from error
        raise InvalidArgument(f"{library} cannot export the model: {error}") from error


def _write(library: str, write: Callable[[], Any]) -> None:
    try:
        write()
    except Exception as error:  # the library's own words are the best there are
        raise InvalidArgument(f"{library} cannot write the model: {error}") from error


def _labels(model: Any) -> tuple[str, ...]:
    """Names of the classes; none where they are the numbers from 0 up, or of several outputs."""
    classes = getattr(model, "classes_", None)
    if classes is None or getattr(classes, "ndim", 1) != 1 or len(classes) > _MOST_LABELS:
        return ()
    values = classes.tolist() if hasattr(classes, "tolist") else list(classes)
    if not all(isinstance(value, (str, int, float, bool)) for value in values):
        return ()
    if values == list(range(len(values))):
        return ()
    labels = tuple(str(value) for value in values)
    return labels if all(len(label.splitlines()) == 1 for label in labels) else ()


def _about_columns(names: Sequence[str] | None) -> dict[str, Any] | None:
    """What the playground is told of the columns of the matrix `x`."""
    if not names or len(names) > _MOST_NAMES or not all(str(name).strip() for name in names):
        return None
    columns = {"x": {"kind": "vector", "names": [str(name) for name in names]}}
    return {"schema": 1, "signatures": {DEFAULT_SIGNATURE: {"inputs": columns}}}
