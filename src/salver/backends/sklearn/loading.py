"""From a file to a model."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from salver.about.assets import read_about
from salver.about.document import InputAbout
from salver.backends.sklearn.columns import columns_of
from salver.backends.sklearn.files import load_estimator
from salver.backends.sklearn.library import load_library
from salver.backends.sklearn.model import SklearnModel
from salver.backends.sklearn.options import SklearnOptions
from salver.errors import ServingError
from salver.vocabulary.signature import DEFAULT_SIGNATURE

__all__ = ["load_model"]

_log = logging.getLogger(__name__)


def load_model(path: Path, options: SklearnOptions) -> SklearnModel:
    """Load an estimator.

    Raises:
        ServingError: whatever keeps it from being loaded.
    """
    load_library()
    estimator = load_estimator(path, options)
    _limit_threads(estimator, options.num_threads)
    return SklearnModel(estimator, columns_of(estimator, _told(path.parent)))


def _told(directory: Path) -> Mapping[str, InputAbout]:
    """What a person wrote of the inputs. A document that is wrong keeps no model from serving."""
    try:
        about = read_about(directory)
    except (ServingError, OSError) as error:
        _log.warning("assets/salver.json of %s is left out: %s", directory, error)
        return {}
    default = None if about is None else about.signatures.get(DEFAULT_SIGNATURE)
    return {} if default is None else default.inputs


def _limit_threads(estimator: Any, most: int) -> None:
    """Have the parts of an estimator, and the libraries it computes with, use so many threads."""
    load_library("threadpoolctl").threadpool_limits(limits=most)
    parameters = estimator.get_params(deep=True) if hasattr(estimator, "get_params") else {}
    jobs = {name: most for name in parameters if name == "n_jobs" or name.endswith("__n_jobs")}
    if jobs:
        estimator.set_params(**jobs)
