"""A model loaded into LightGBM."""

import ctypes
from ctypes import c_int, c_int64, c_void_p
from typing import Any, Final

import numpy as np

from salver.backends.lightgbm.library import Library
from salver.errors import Internal
from salver.vocabulary.requests import Array

__all__ = ["LightGBMBooster"]

_DTYPES: Final = {np.dtype(np.float32): 0, np.dtype(np.float64): 1}
_NORMAL: Final = 0
_RAW: Final = 1
_ALL: Final = -1  # iterations


class _SingleRow:
    """What one run of a single row needs, of which there is one for each that runs at a time.

    Attributes:
        handle: of the library's fast call.
        results: where it writes.
        results_at: their address, which takes longer to ask for than a row does.
        length_at: the address to which it writes how many they are.
    """

    __slots__ = ("_length", "handle", "length_at", "results", "results_at")

    def __init__(self, handle: int, outputs: int) -> None:
        self.handle = handle
        self.results = np.empty(outputs, np.float64)
        self.results_at = self.results.ctypes.data
        self._length = c_int64()
        self.length_at = ctypes.addressof(self._length)


class LightGBMBooster:
    """See `trees.model.Booster`.

    A row by itself goes by the library's fast call, 2 µs in place of 7 for a hundred trees
    (measured). What that needs is prepared once for each thread that runs at the same time: its
    handles have a lock each, behind which others would wait.
    """

    def __init__(
        self,
        library: Library,
        data: bytes,
        *,
        features: int,
        outputs: int,
        dtype: "np.dtype[Any]",
        num_threads: int,
    ) -> None:
        """Load a file that was checked.

        Args:
            library: the C API.
            data: the file.
            features: columns of a matrix.
            outputs: numbers that a row gives.
            dtype: of matrices.
            num_threads: for matrices of several rows.

        Raises:
            Internal: the library refuses it.
        """
        self.is_serial = False
        self._library = library
        self._features = features
        self._outputs = outputs
        self._dtype = _DTYPES[dtype]
        self._parameters = b"verbosity=-1 num_threads=%d" % num_threads
        self._idle: list[_SingleRow] = []  # append and pop are atomic
        self._booster = self._load(data)

    def predict(self, rows: Array, *, margins: bool = False) -> Array:
        """See `Booster.predict`."""
        return self._predict(self._library.long, rows, margins)

    def predict_inline(self, rows: Array, *, margins: bool = False) -> Array:
        """See `Booster.predict_inline`."""
        return self._predict(self._library.quick, rows, margins)

    def close(self) -> None:
        """See `Booster.close`."""
        while self._idle:
            self._library.quick.LGBM_FastConfigFree(self._idle.pop().handle)
        self._library.long.LGBM_BoosterFree(self._booster)

    def _load(self, data: bytes) -> int:
        library = self._library
        library.quieten()
        booster, iterations = c_void_p(), c_int()
        library.check(
            library.long.LGBM_BoosterLoadModelFromString(
                data, ctypes.byref(iterations), ctypes.byref(booster)
            )
        )
        assert booster.value is not None
        try:
            self._check(booster.value)
        except BaseException:
            library.long.LGBM_BoosterFree(booster)
            raise
        return booster.value

    def _check(self, booster: int) -> None:
        """See that the library understood the file as we did: it writes into our memory."""
        library = self._library
        features, outputs = c_int(), c_int64()
        library.check(library.quick.LGBM_BoosterGetNumFeature(booster, ctypes.byref(features)))
        for kind in (_NORMAL, _RAW):
            library.check(
                library.quick.LGBM_BoosterCalcNumPredict(
                    booster, 1, kind, 0, _ALL, ctypes.byref(outputs)
                )
            )
            if (features.value, outputs.value) != (self._features, self._outputs):
                raise Internal("LightGBM reads another number of features or classes from the file")

    def _predict(self, api: Any, rows: Array, margins: bool) -> Array:
        count = len(rows)
        if count == 1 and not margins:
            results = self._single(api, rows)
        else:
            results = np.empty(count * self._outputs, np.float64)
            length = c_int64()
            status = api.LGBM_BoosterPredictForMat(
                *(self._booster, rows.ctypes.data, self._dtype, count, self._features, 1),
                *(_RAW if margins else _NORMAL, 0, _ALL, self._parameters),
                *(ctypes.addressof(length), results.ctypes.data),
            )
            if status:
                self._library.check(status)
        return results if self._outputs == 1 else results.reshape(count, self._outputs)

    def _single(self, api: Any, row: Array) -> Array:
        try:
            single = self._idle.pop()
        except IndexError:
            single = _SingleRow(self._new_handle(), self._outputs)
        try:
            status = api.LGBM_BoosterPredictForMatSingleRowFast(
                single.handle, row.tobytes(), single.length_at, single.results_at
            )
            if status:
                self._library.check(status)
            return single.results.copy()
        finally:
            self._idle.append(single)

    def _new_handle(self) -> int:
        made = c_void_p()
        self._library.quieten()
        self._library.check(
            self._library.quick.LGBM_BoosterPredictForMatSingleRowFastInit(
                *(self._booster, _NORMAL, 0, _ALL, self._dtype, self._features),
                *(self._parameters, ctypes.byref(made)),
            )
        )
        assert made.value is not None
        return made.value
