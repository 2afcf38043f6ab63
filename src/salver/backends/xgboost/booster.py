"""A model loaded into XGBoost."""

import ctypes
import threading
from ctypes import c_uint64, c_void_p
from typing import Any, Final

import numpy as np

from salver.backends.xgboost.library import Library
from salver.errors import DataLoss, Internal
from salver.vocabulary.requests import Array

__all__ = ["XGBoostBooster"]

_VALUE, _MARGIN = 0, 1
# strict_shape: always two axes or more. Missing is NaN.
_CONFIGURATION: Final = (
    b'{"type":%d,"training":false,"iteration_begin":0,"iteration_end":%d,"strict_shape":true,'
    b'"cache_id":0,"missing":NaN}'
)
_ARRAY: Final = b'{"data":[%d,true],"shape":[%d,%d],"typestr":"<f4","version":3}'


_MATRIX: Final = b'{"missing":NaN,"nthread":1}'


class _Proxy:
    """What stands for a matrix in the library, and where the library tells what came of it.

    There is one for each run that is made at the same time. Addresses are asked for once, which
    takes longer than to copy a row.

    Attributes:
        handle: of the library's proxy.
        row: a matrix of one row, to be filled.
        row_text: what the library is told of it.
        shape, axes, results: what the library has written.
        told_at: their addresses.
    """

    __slots__ = ("axes", "handle", "results", "row", "row_text", "shape", "told_at")

    def __init__(self, handle: int, features: int) -> None:
        self.handle = handle
        self.row = np.empty((1, features), np.float32)
        self.row_text = _array(self.row)
        self.shape, self.axes, self.results = c_void_p(), c_uint64(), c_void_p()
        self.told_at = tuple(map(ctypes.addressof, (self.shape, self.axes, self.results)))


def _array(rows: Array) -> bytes:
    return _ARRAY % (rows.ctypes.data, *rows.shape)


class XGBoostBooster:
    """See `trees.model.Booster`.

    Predictions are made in place, of the matrix that was fed. What stands for the matrix in the
    library (a proxy) is made once for each thread that runs at the same time. Linear models have
    no such call: theirs copies the matrix, one run at a time.
    """

    def __init__(
        self,
        library: Library,
        data: bytes,
        *,
        features: int,
        best_iteration: int | None,
        num_threads: int,
        width: int | None,
        margin_width: int,
        is_linear: bool,
    ) -> None:
        """Load a file that was checked.

        Args:
            library: the C API.
            data: the file.
            features: columns of a matrix.
            best_iteration: the last to be used; None: all.
            num_threads: that a run computes in.
            width: numbers of a row's prediction; None: one, and no axis for it.
            margin_width: the same before the objective's transformation.
            is_linear: it has no trees.

        Raises:
            Internal: the library refuses it.
        """
        self._library = library
        self._features = features
        end = 0 if best_iteration is None else best_iteration + 1
        self._configurations = [_CONFIGURATION % (kind, end) for kind in (_VALUE, _MARGIN)]
        self._width = width
        self._margin_width = margin_width
        self.is_serial = is_linear
        self._alone = threading.Lock()
        self._idle: list[_Proxy] = []  # append and pop are atomic
        self._booster = self._load(data, num_threads)

    def predict(self, rows: Array, *, margins: bool = False) -> Array:
        """See `Booster.predict`."""
        return self._predict(self._library.long, rows, margins)

    def predict_inline(self, rows: Array, *, margins: bool = False) -> Array:
        """See `Booster.predict_inline`."""
        return self._predict(self._library.quick, rows, margins)

    def close(self) -> None:
        """See `Booster.close`."""
        while self._idle:
            self._library.quick.XGDMatrixFree(self._idle.pop().handle)
        self._library.long.XGBoosterFree(self._booster)

    def _load(self, data: bytes, num_threads: int) -> int:
        library = self._library
        made = c_void_p()
        library.check(library.quick.XGBoosterCreate(None, 0, ctypes.byref(made)))
        booster = made.value
        assert booster is not None
        try:
            status = library.long.XGBoosterLoadModelFromBuffer(booster, data, len(data))
            library.check(status, DataLoss)
            library.check(library.quick.XGBoosterSetParam(booster, b"nthread", b"%d" % num_threads))
            self._check(booster)
        except BaseException:
            library.long.XGBoosterFree(booster)
            raise
        return booster

    def _check(self, booster: int) -> None:
        """See that the library understood the file as we did: it reads what we say it may."""
        count = c_uint64()
        self._library.check(
            self._library.quick.XGBoosterGetNumFeature(booster, ctypes.byref(count))
        )
        if count.value != self._features:
            raise Internal("XGBoost reads another number of features from the file")

    def _predict(self, api: Any, rows: Array, margins: bool) -> Array:
        if self.is_serial:
            with self._alone:
                return self._predict_copy(rows, margins)
        try:
            proxy = self._idle.pop()
        except IndexError:
            proxy = _Proxy(self._new_proxy(), self._features)
        try:
            if len(rows) == 1:
                proxy.row[:] = rows
                text = proxy.row_text
            else:
                text = _array(rows)
            status = api.XGBoosterPredictFromDense(
                self._booster, text, self._configurations[margins], proxy.handle, *proxy.told_at
            )
            if status:
                self._library.check(status)
            # What is pointed to is this thread's until its next run.
            return self._copied(proxy.results, proxy.shape, proxy.axes, len(rows), margins)
        finally:
            self._idle.append(proxy)

    def _predict_copy(self, rows: Array, margins: bool) -> Array:
        api, check = self._library.long, self._library.check
        matrix, shape, axes, results = c_void_p(), c_void_p(), c_uint64(), c_void_p()
        check(api.XGDMatrixCreateFromDense(_array(rows), _MATRIX, ctypes.byref(matrix)))
        try:
            status = api.XGBoosterPredictFromDMatrix(
                *(self._booster, matrix, self._configurations[margins]),
                *(ctypes.addressof(shape), ctypes.addressof(axes), ctypes.addressof(results)),
            )
            check(status)
            return self._copied(results, shape, axes, len(rows), margins)
        finally:
            api.XGDMatrixFree(matrix)

    def _copied(
        self, results: c_void_p, shape: c_void_p, axes: c_uint64, count: int, margins: bool
    ) -> Array:
        sizes = list((c_uint64 * axes.value).from_address(shape.value or 0))
        width = self._margin_width if margins else self._width
        total = 1
        for size in sizes:
            total *= size
        if total != count * (width or 1):
            raise Internal(f"XGBoost gave {sizes} numbers for {count} rows")
        if count == 1:  # of which the address would take longer
            copied = np.frombuffer(bytearray(ctypes.string_at(results, total * 4)), np.float32)
        else:
            copied = np.empty(total, np.float32)
            ctypes.memmove(copied.ctypes.data, results, copied.nbytes)
        return copied if width is None else copied.reshape(count, width)

    def _new_proxy(self) -> int:
        made = c_void_p()
        self._library.check(self._library.quick.XGProxyDMatrixCreate(ctypes.byref(made)))
        assert made.value is not None
        return made.value
