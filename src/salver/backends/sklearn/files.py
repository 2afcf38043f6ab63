"""Making estimators of files."""

import io
import logging
import pickle
import threading
import warnings
from pathlib import Path
from typing import Any, Final

from salver.backends.sklearn.archive import check_archive
from salver.backends.sklearn.library import load_library
from salver.backends.sklearn.options import SklearnOptions
from salver.errors import (
    DataLoss,
    FailedPrecondition,
    PermissionDenied,
    ResourceExhausted,
    ServingError,
)
from salver.instruments.files import error_of_os, read_regular

__all__ = ["load_estimator"]

_log = logging.getLogger(__name__)

_warning = threading.Lock()  # of warnings' state, which is the process's
_SHOWN: Final = 400
_TRUSTED: Final = frozenset(("numpy.dtype",))  # which imputers keep, and which does nothing


def load_estimator(path: Path, options: SklearnOptions) -> Any:
    """Make the estimator of a file.

    Raises:
        PermissionDenied: it holds types that are not trusted, or is a pickle and none is allowed.
        ServingError: it is malformed, or cannot be read.
    """
    try:
        data = read_regular(path)  # what was looked at is what is loaded
    except OSError as error:
        raise error_of_os(str(path), error) from error
    with _warning, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = (_of_skops if path.suffix == ".skops" else _of_pickle)(path, data, options)
    _tell_versions(path, caught)
    return made


def _of_skops(path: Path, data: bytes, options: SklearnOptions) -> Any:
    check_archive(path, data)
    skops = load_library("skops.io")
    try:
        untrusted = sorted(
            set(skops.get_untrusted_types(data=data)) - _TRUSTED.union(options.trusted_types)
        )
        if not untrusted:
            return skops.loads(data, trusted=sorted(_TRUSTED.union(options.trusted_types)))
    except ServingError:
        raise
    except MemoryError as error:
        raise ResourceExhausted(f"There is not enough memory to load {path}") from error
    except ImportError as error:
        raise FailedPrecondition(f"{path} needs a package that is missing: {error}") from error
    except Exception as error:  # whatever a file makes it stumble over
        raise _unreadable(path, error) from error
    raise PermissionDenied(
        f"{path} holds types that are not trusted: {', '.join(untrusted)} "
        "(--sklearn_trusted_types)",
        hint="If you know whose file it is, trust them for this model in the configuration "
        f'(options {{ key: "trusted_types" value: "{",".join(untrusted)}" }}), or for all: '
        f"--sklearn_trusted_types={','.join(untrusted)}",
    )


def _of_pickle(path: Path, data: bytes, options: SklearnOptions) -> Any:
    if not options.allow_pickle:
        raise PermissionDenied(
            f"{path} is a pickle, which runs whatever code is in it: it is loaded only with "
            "--allow_pickle, from a trusted path",
            hint="Save it without code: skops.io.dump(model, 'model.skops').",
        )
    try:
        if path.suffix == ".joblib":
            return load_library("joblib").load(io.BytesIO(data))
        return pickle.loads(data)  # noqa: S301 - it was allowed
    except MemoryError as error:
        raise ResourceExhausted(f"There is not enough memory to load {path}") from error
    except (ImportError, AttributeError) as error:
        raise FailedPrecondition(f"{path} needs what is missing here: {error}") from error
    except Exception as error:  # whatever a pickle runs
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataLoss:
    said = f"{type(error).__name__}: {error}"[:_SHOWN]
    return DataLoss(f"{path} cannot be read as an estimator: {said}")


def _tell_versions(path: Path, caught: "list[warnings.WarningMessage]") -> None:
    """Log, once, that another scikit-learn has written the file."""
    for each in caught:
        written = getattr(each.message, "original_sklearn_version", None)
        if written is not None:
            here = getattr(each.message, "current_sklearn_version", "?")
            _log.warning(
                "%s was written by scikit-learn %s, and runs in %s: answers may differ, or fail. "
                "Save it again with the version that serves it",
                *(path, written, here),
            )
            return
