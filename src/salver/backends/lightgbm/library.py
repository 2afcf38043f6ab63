"""LightGBM's C API, by ctypes, from the installed wheel.

The Python package is located, never imported: that would bring scipy. The library is opened twice,
as TensorFlow's is: `quick` keeps the GIL, `long` gives it up.

Source: LightGBM 4, `include/LightGBM/c_api.h`.
"""

import ctypes
import logging
import sys
from ctypes import POINTER, c_char_p, c_int, c_int32, c_int64, c_void_p
from pathlib import Path
from typing import Any, Final

from salver.backends.installed import InstalledLibrary
from salver.errors import Internal

__all__ = ["Library", "load_library", "require_library"]

_log = logging.getLogger(__name__)

_PROTOTYPES: Final[dict[str, tuple[Any, ...]]] = {
    "LGBM_RegisterLogCallback": (c_void_p,),
    "LGBM_BoosterLoadModelFromString": (c_char_p, POINTER(c_int), POINTER(c_void_p)),
    "LGBM_BoosterFree": (c_void_p,),
    "LGBM_BoosterGetNumFeature": (c_void_p, POINTER(c_int)),
    "LGBM_BoosterCalcNumPredict": (c_void_p, c_int, c_int, c_int, c_int, POINTER(c_int64)),
    "LGBM_BoosterPredictForMat": (
        *(
            c_void_p,
            c_void_p,
            c_int,
            c_int32,
            c_int32,
            c_int,
        ),  # booster, data, dtype, rows, columns
        *(c_int, c_int, c_int, c_char_p),  # kind, first iteration, iterations, parameters
        *(c_void_p, c_void_p),  # length, results
    ),
    "LGBM_BoosterPredictForMatSingleRowFastInit": (
        *(c_void_p, c_int, c_int, c_int),  # booster, kind, first iteration, iterations
        *(c_int, c_int32, c_char_p, POINTER(c_void_p)),  # dtype, columns, parameters, handle
    ),
    "LGBM_BoosterPredictForMatSingleRowFast": (c_void_p, c_void_p, c_void_p, c_void_p),
    "LGBM_FastConfigFree": (c_void_p,),
}
_LOG_CALLBACK: Final = ctypes.CFUNCTYPE(None, c_char_p)


class Library:
    """The C API: `quick` keeps the GIL, `long` releases it; attributes are named as in C."""

    def __init__(self, path: Path) -> None:
        opened = ctypes.CDLL(str(path))
        self.long: Any = _declared(opened)
        self.quick: Any = _declared(ctypes.PyDLL(str(path), handle=opened._handle))
        self._says = _LOG_CALLBACK(_say)

    def quieten(self) -> None:
        """Have what this thread makes the library say go to the log, not to standard output."""
        self.quick.LGBM_RegisterLogCallback(ctypes.cast(self._says, c_void_p))

    def check(self, status: int) -> None:
        """Raise what the library says of a call that has failed in this thread.

        Raises:
            Internal: with its text.
        """
        if status:
            said: bytes = self.quick.LGBM_GetLastError()
            raise Internal(f"LightGBM: {said.decode(errors='replace')}")


def _say(text: bytes) -> None:
    line = text.decode(errors="replace").strip()
    if line:
        _log.info("%s", line)


def _declared(handle: Any) -> Any:
    for name, arguments in _PROTOTYPES.items():
        function = getattr(handle, name)
        function.restype = c_int
        function.argtypes = arguments
    handle.LGBM_GetLastError.restype = c_char_p
    handle.LGBM_GetLastError.argtypes = ()
    return handle


def _file(package: Path) -> Path:
    name = "lib_lightgbm.dylib" if sys.platform == "darwin" else "lib_lightgbm.so"
    return next(filter(Path.exists, (package / "lib" / name, package / name)), package / name)


_installed = InstalledLibrary(
    *("lightgbm", Library), title="LightGBM", model="a LightGBM model", extra="lightgbm", find=_file
)
require_library = _installed.require
load_library = _installed.load
