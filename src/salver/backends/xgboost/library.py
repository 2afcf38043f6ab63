"""XGBoost's C API, by ctypes, from the installed wheel.

The Python package is located, never imported: that would bring scipy. The library is opened twice,
as TensorFlow's is: `quick` keeps the GIL, `long` gives it up.

Source: XGBoost 3, `include/xgboost/c_api.h`.
"""

import ctypes
import logging
import sys
from ctypes import POINTER, c_char_p, c_int, c_uint64, c_void_p
from pathlib import Path
from typing import Any, Final

from salver.backends.installed import InstalledLibrary
from salver.errors import Internal, ServingError

__all__ = ["Library", "load_library", "require_library"]

_log = logging.getLogger(__name__)

_PROTOTYPES: Final[dict[str, tuple[Any, ...]]] = {
    "XGBRegisterLogCallback": (c_void_p,),
    "XGBoosterCreate": (c_void_p, c_uint64, POINTER(c_void_p)),
    "XGBoosterFree": (c_void_p,),
    "XGBoosterLoadModelFromBuffer": (c_void_p, c_char_p, c_uint64),
    "XGBoosterSetParam": (c_void_p, c_char_p, c_char_p),
    "XGBoosterGetNumFeature": (c_void_p, POINTER(c_uint64)),
    "XGProxyDMatrixCreate": (POINTER(c_void_p),),
    "XGDMatrixFree": (c_void_p,),
    "XGDMatrixCreateFromDense": (c_char_p, c_char_p, POINTER(c_void_p)),
    "XGBoosterPredictFromDMatrix": (
        *(c_void_p, c_void_p, c_char_p),  # booster, matrix, configuration
        *(c_void_p, c_void_p, c_void_p),  # shape, axes, results
    ),
    "XGBoosterPredictFromDense": (
        *(c_void_p, c_char_p, c_char_p, c_void_p),  # booster, array, configuration, proxy
        *(c_void_p, c_void_p, c_void_p),  # shape, axes, results
    ),
}
_LOG_CALLBACK: Final = ctypes.CFUNCTYPE(None, c_char_p)


class Library:
    """The C API: `quick` keeps the GIL, `long` releases it; attributes are named as in C."""

    def __init__(self, path: Path) -> None:
        opened = ctypes.CDLL(str(path))
        self.long: Any = _declared(opened)
        self.quick: Any = _declared(ctypes.PyDLL(str(path), handle=opened._handle))
        self._says = _LOG_CALLBACK(_say)
        self.quick.XGBRegisterLogCallback(ctypes.cast(self._says, c_void_p))

    def check(self, status: int, kind: type[ServingError] = Internal) -> None:
        """Raise what the library says of a call that has failed in this thread.

        Args:
            status: that the call has returned.
            kind: of the error.

        Raises:
            ServingError: with the first line of its text; stack traces follow that.
        """
        if status:
            said: bytes = self.quick.XGBGetLastError()
            lines = said.decode(errors="replace").strip().splitlines() or ["it does not say why"]
            raise kind(f"XGBoost: {lines[0].strip()}")


def _say(text: bytes) -> None:
    line = text.decode(errors="replace").strip()
    if line:
        _log.info("%s", line)


def _declared(handle: Any) -> Any:
    for name, arguments in _PROTOTYPES.items():
        function = getattr(handle, name)
        function.restype = c_int
        function.argtypes = arguments
    handle.XGBGetLastError.restype = c_char_p
    handle.XGBGetLastError.argtypes = ()
    return handle


def _file(package: Path) -> Path:
    return package / "lib" / ("libxgboost.dylib" if sys.platform == "darwin" else "libxgboost.so")


_installed = InstalledLibrary(
    *("xgboost", Library), title="XGBoost", model="an XGBoost model", extra="xgboost", find=_file
)
require_library = _installed.require
load_library = _installed.load
