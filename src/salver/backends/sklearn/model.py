"""A fitted estimator as a model: a signature for each of its methods."""

import logging
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from salver.backends.sklearn.columns import Columns
from salver.errors import Internal, InvalidArgument, ResourceExhausted, ServingError
from salver.vocabulary.dtypes import DataType, dtype_of_array, numpy_dtype
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import DEFAULT_SIGNATURE, Signature, TensorSpec

__all__ = ["SklearnModel", "SklearnProgram"]

_log = logging.getLogger(__name__)

_OUTPUTS: Final = {
    "predict": "y",
    "predict_proba": "probabilities",
    "decision_function": "scores",
    "transform": "features",
}
_SHOWN: Final = 1000


@dataclass(frozen=True, slots=True)
class _Method:
    """A method of an estimator, and the output that it gives."""

    name: str
    output: str
    spec: TensorSpec


class SklearnModel:
    """See `salver.vocabulary.model.Model`."""

    definitions = None
    batching = None
    graph = None

    def __init__(self, estimator: Any, columns: Columns) -> None:
        """Look what the estimator can do.

        Args:
            estimator: fitted.
            columns: what it takes.

        Raises:
            InvalidArgument: it has none of the methods.
        """
        self._estimator = estimator
        self._columns = columns
        self._methods = _methods(estimator, columns)
        if not self._methods:
            raise InvalidArgument(
                f"A {type(estimator).__name__} is no estimator: it has none of "
                + ", ".join(_OUTPUTS)
            )
        self.signatures: Mapping[str, Signature] = {
            name: Signature(columns.specs(), {method.output: method.spec})
            for name, method in sorted(self._methods.items())
        }

    def program(
        self, signature_name: str, outputs: Sequence[str] | None = None
    ) -> "SklearnProgram":
        """See `Model.program`."""
        method = self._methods.get(signature_name)
        if method is None:
            raise InvalidArgument(f"There is no signature {signature_name}")
        for name in outputs or ():
            if name != method.output:
                raise InvalidArgument(f"Signature {signature_name} has no output {name}")
        copies = 1 if outputs is None else len(outputs)
        return SklearnProgram(self._estimator, self._columns, method, copies)

    def close(self) -> None:
        """See `Model.close`."""


class SklearnProgram:
    """One method of one estimator. Thread-safe, as estimators are while nobody fits them."""

    can_loop = True  # how long it takes nobody knows: it never runs in the event loop

    def __init__(self, estimator: Any, columns: Columns, method: _Method, copies: int) -> None:
        self._call = getattr(estimator, method.name)
        self._columns = columns
        self._method = method
        self._copies = copies

    def run(self, feeds: Sequence[Array]) -> list[Array]:
        """See `Program.run`."""
        table = self._columns.table(feeds)
        spec = self._method.spec
        if not len(table):
            sizes = [max(size, 0) for size in spec.shape or (0,)]
            result: Array = np.empty([0, *sizes[1:]], numpy_dtype(spec.dtype))
        else:
            result = as_tensor(called(self._call, table), spec.dtype)
        return [result] * self._copies

    run_in_caller = run
    run_inline = run


def called(call: Any, table: Any) -> Any:
    """What a method gives.

    Raises:
        InvalidArgument: it says that the values are wrong.
        ServingError: it failed otherwise.
    """
    try:
        return call(table)
    except ValueError as error:
        raise InvalidArgument(str(error)[:_SHOWN]) from error
    except MemoryError as error:
        raise ResourceExhausted("There is not enough memory for this request") from error
    except ServingError:
        raise
    except Exception as error:  # whatever an estimator stumbles over
        raise Internal(f"{type(error).__name__}: {error}"[:_SHOWN]) from error


def as_tensor(value: Any, dtype: DataType | None = None) -> Array:
    """What a method gave, as an array of ours: texts as bytes, whole numbers as int64.

    Args:
        value: an array, a sparse matrix or a DataFrame.
        dtype: the element type it is to have; None for its own.

    Raises:
        Internal: it is none.
    """
    if hasattr(value, "toarray"):
        value = value.toarray()
    array = np.asarray(value)
    wanted = _dtype_of(array) if dtype is None else dtype
    if wanted is DataType.STRING:
        texts = np.empty(array.size, object)
        texts[:] = [_text(each) for each in array.ravel().tolist()]
        return texts.reshape(array.shape)
    try:
        return np.ascontiguousarray(array, numpy_dtype(wanted))
    except (TypeError, ValueError) as error:
        raise Internal(f"The estimator gave {array.dtype}, not {wanted.name}") from error


def _text(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def _dtype_of(array: Array) -> DataType:
    """The element type in which an array is given out."""
    if array.dtype.kind in "USO":
        return DataType.STRING
    if array.dtype.kind in "iu":
        return DataType.INT64
    with suppress(TypeError):
        return dtype_of_array(array.dtype)
    return DataType.FLOAT64


# -- what an estimator can do ----------------------------------------------------------------------


def _methods(estimator: Any, columns: Columns) -> dict[str, _Method]:
    found = {}
    for name, output in _OUTPUTS.items():
        if not hasattr(estimator, name):
            continue
        spec = _spec(estimator, name, columns)
        if spec is not None:
            found[name] = _Method(name, output, spec)
    default = found.get("predict") or found.get("transform")
    found.pop("predict", None)  # the default signature is it
    return {DEFAULT_SIGNATURE: default, **found} if default is not None else found


def _spec(estimator: Any, name: str, columns: Columns) -> TensorSpec | None:
    """What a method gives; None for a list of arrays, which is no tensor."""
    classes = getattr(estimator, "classes_", None)
    if name in ("predict_proba", "decision_function") and isinstance(classes, list):
        _log.info("%s of several targets has no signature", name)
        return None
    tried = _tried(estimator, name, columns)
    if tried is not None:
        return TensorSpec(_dtype_of(tried), (-1, *tried.shape[1:]))
    if name == "predict":
        values = None if classes is None else np.asarray(classes)
        return TensorSpec(DataType.FLOAT64 if values is None else _dtype_of(values), None)
    if name == "predict_proba" and classes is not None:
        return TensorSpec(DataType.FLOAT64, (-1, len(classes)))
    return TensorSpec(DataType.FLOAT64, None)


def _tried(estimator: Any, name: str, columns: Columns) -> Array | None:
    """What comes of a row of nothing; None where it cannot be taken."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = called(getattr(estimator, name), columns.table(columns.example()))
        if hasattr(value, "toarray"):
            value = value.toarray()
        array = np.asarray(value)
    except (ServingError, ValueError) as error:
        _log.info("%s was not tried with a row of nothing: %s", name, error)
        return None
    return array if array.ndim and len(array) == 1 else None
