"""ONNX Runtime's C API, by ctypes, from the installed wheel.

The Python package is located, never imported. Its library exports `OrtGetApiBase`, which gives a
table of functions that only ever grows: a function keeps its place in all later versions, so one
version of the table is asked for that all supported ones have.

Each function is had twice, as in `backends.tensorflow.library`: those of `quick` keep the GIL,
which is right for calls that take a microsecond or so; those of `long` give it up.

Source: `onnxruntime/core/session/onnxruntime_c_api.h`.
"""

import ctypes
import importlib.util
import os
import sys
import threading
from collections.abc import Mapping
from ctypes import c_char_p, c_int, c_size_t, c_void_p
from functools import cache
from pathlib import Path
from typing import Any, Final

from salver.errors import Code, NotInstalled, ServingError, error_of
from salver.instruments.installing import install_command

__all__ = ["Library", "load_library", "require_library"]

_PACKAGE: Final = "onnxruntime"
_EXTRA: Final = "onnxruntime"
_MODE: Final = os.RTLD_LOCAL | os.RTLD_LAZY
_API_VERSION: Final = 17

_P: Final = c_void_p
# Function → its place in the table, and its arguments. Those with a status give one; 0 is OK.
_FUNCTIONS: Final[Mapping[str, tuple[int, tuple[Any, ...]]]] = {
    "CreateSession": (7, (_P, c_char_p, _P, _P)),
    "CreateSessionFromArray": (8, (_P, c_char_p, c_size_t, _P, _P)),
    "Run": (9, (_P, _P, _P, _P, c_size_t, _P, c_size_t, _P)),
    "CreateSessionOptions": (10, (_P,)),
    "SetSessionExecutionMode": (13, (_P, c_int)),
    "DisableMemPattern": (17, (_P,)),
    "DisableCpuMemArena": (19, (_P,)),
    "SetSessionLogSeverityLevel": (22, (_P, c_int)),
    "SetSessionGraphOptimizationLevel": (23, (_P, c_int)),
    "SetIntraOpNumThreads": (24, (_P, c_int)),
    "SetInterOpNumThreads": (25, (_P, c_int)),
    "CreateRunOptions": (39, (_P,)),
    "RunOptionsSetRunLogSeverityLevel": (41, (_P, c_int)),
    "RunOptionsSetTerminate": (46, (_P,)),
    "RunOptionsUnsetTerminate": (47, (_P,)),
    "CreateTensorAsOrtValue": (48, (_P, _P, c_size_t, c_int, _P)),
    "CreateTensorWithDataAsOrtValue": (49, (_P, _P, c_size_t, _P, c_size_t, c_int, _P)),
    "GetTensorMutableData": (51, (_P, _P)),
    "FillStringTensor": (52, (_P, _P, c_size_t)),
    "GetStringTensorDataLength": (53, (_P, _P)),
    "GetStringTensorContent": (54, (_P, _P, c_size_t, _P, c_size_t)),
    "GetTensorElementType": (60, (_P, _P)),
    "GetDimensionsCount": (61, (_P, _P)),
    "GetDimensions": (62, (_P, _P, c_size_t)),
    "GetTensorTypeAndShape": (65, (_P, _P)),
    "GetValueType": (67, (_P, _P)),
    "CreateCpuMemoryInfo": (69, (c_int, c_int, _P)),
    "GetAllocatorWithDefaultOptions": (78, (_P,)),
    "GetValue": (80, (_P, c_int, _P, _P)),
    "GetValueCount": (81, (_P, _P)),
    "CreateEnvWithGlobalThreadPools": (119, (c_int, c_char_p, _P, _P)),
    "DisablePerSessionThreads": (120, (_P,)),
    "CreateThreadingOptions": (121, (_P,)),
    "AddSessionConfigEntry": (130, (_P, c_char_p, c_char_p)),
    "RunWithBinding": (133, (_P, _P, _P)),
    "CreateIoBinding": (134, (_P, _P)),
    "BindInput": (136, (_P, c_char_p, _P)),
    "BindOutput": (137, (_P, c_char_p, _P)),
    "SetGlobalIntraOpNumThreads": (147, (_P, c_int)),
    "SetGlobalInterOpNumThreads": (148, (_P, c_int)),
    "SetGlobalSpinControl": (149, (_P, c_int)),
    "SessionOptionsAppendExecutionProvider_CUDA_V2": (204, (_P, _P)),
    "CreateCUDAProviderOptions": (205, (_P,)),
    "SessionOptionsAppendExecutionProvider": (216, (_P, c_char_p, _P, _P, c_size_t)),
    "RegisterCustomOpsLibrary_V2": (228, (_P, c_char_p)),
    "GetResizedStringTensorElementBuffer": (252, (_P, c_size_t, c_size_t, _P)),
}
_WITHOUT_STATUS: Final[Mapping[str, tuple[int, Any, tuple[Any, ...]]]] = {
    "GetErrorCode": (1, c_int, (_P,)),
    "GetErrorMessage": (2, c_char_p, (_P,)),
    "ReleaseStatus": (93, None, (_P,)),
    "ReleaseSession": (95, None, (_P,)),
    "ReleaseValue": (96, None, (_P,)),
    "ReleaseRunOptions": (97, None, (_P,)),
    "ReleaseTensorTypeAndShapeInfo": (99, None, (_P,)),
    "ReleaseSessionOptions": (100, None, (_P,)),
    "ReleaseThreadingOptions": (122, None, (_P,)),
    "ReleaseIoBinding": (135, None, (_P,)),
    "ReleaseCUDAProviderOptions": (208, None, (_P,)),
}

_CODES: Final[Mapping[int, Code]] = {
    1: Code.INTERNAL,  # FAIL
    2: Code.INVALID_ARGUMENT,
    3: Code.NOT_FOUND,  # NO_SUCHFILE
    4: Code.NOT_FOUND,  # NO_MODEL
    5: Code.INTERNAL,  # ENGINE_ERROR
    6: Code.INTERNAL,  # RUNTIME_EXCEPTION
    7: Code.INVALID_ARGUMENT,  # INVALID_PROTOBUF
    8: Code.ALREADY_EXISTS,  # MODEL_LOADED
    9: Code.UNIMPLEMENTED,
    10: Code.INVALID_ARGUMENT,  # INVALID_GRAPH
    11: Code.INTERNAL,  # EP_FAIL
    12: Code.CANCELLED,  # MODEL_LOAD_CANCELED
    13: Code.FAILED_PRECONDITION,  # MODEL_REQUIRES_COMPILATION
    14: Code.NOT_FOUND,
}
"""`OrtErrorCode` → canonical code."""
_NO_MEMORY: Final = ("Failed to allocate memory", "std::bad_alloc", "bad allocation")
_ENDED: Final = "terminate flag being set"

# What ONNX Runtime calls what is allocated and who may use it.
ARENA_ALLOCATOR: Final = 1
MEMORY_OF_CPU: Final = 0


class _ApiBase(ctypes.Structure):
    """`OrtApiBase`."""

    _fields_ = (("GetApi", c_void_p), ("GetVersionString", c_void_p))


class _Functions:
    """Functions of the table by name."""

    def __init__(self, table: Any, prototype: Any) -> None:
        for name, (place, arguments) in _FUNCTIONS.items():
            setattr(self, name, prototype(c_void_p, *arguments)(table[place]))
        for name, (place, result, arguments) in _WITHOUT_STATUS.items():
            setattr(self, name, prototype(result, *arguments)(table[place]))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)  # for type checkers: whatever is set above is found


class Library:
    """The C API.

    Attributes:
        version: of ONNX Runtime.
        quick: functions that keep the GIL, by their names in C.
        long: the same without the GIL.
        quick_run: `quick.RunWithBinding`, which takes no plain number for a pointer.
        long_run: the same of `long`.
        cpu: an `OrtMemoryInfo`.
        allocator: the default one.
    """

    def __init__(self, path: Path) -> None:
        """Open the library.

        Raises:
            OSError: it cannot be opened.
            AttributeError: it has no such API.
        """
        handle = _open_without_gil(path)
        get_base = ctypes.PyDLL(str(path), handle=handle)["OrtGetApiBase"]
        get_base.restype, get_base.argtypes = ctypes.POINTER(_ApiBase), ()
        base = get_base().contents
        self.version: str = ctypes.PYFUNCTYPE(c_char_p)(base.GetVersionString)().decode()
        address = ctypes.PYFUNCTYPE(c_void_p, ctypes.c_uint32)(base.GetApi)(_API_VERSION)
        if not address:
            raise AttributeError(f"version {self.version} has no API of version {_API_VERSION}")
        table = (c_void_p * (1 + max(place for place, _ in _FUNCTIONS.values()))).from_address(
            address
        )
        self.quick: Any = _Functions(table, ctypes.PYFUNCTYPE)
        self.long: Any = _Functions(table, ctypes.CFUNCTYPE)
        # Without declared arguments a call with some that are of the right type already is
        # quicker by a third: whoever runs keeps them so.
        run = table[_FUNCTIONS["RunWithBinding"][0]] or 0
        self.quick_run: Any = ctypes.PYFUNCTYPE(c_void_p)(run)
        self.long_run: Any = ctypes.CFUNCTYPE(c_void_p)(run)
        self.cpu = self.made(self.quick.CreateCpuMemoryInfo, ARENA_ALLOCATOR, MEMORY_OF_CPU)
        self.allocator = self.made(self.quick.GetAllocatorWithDefaultOptions)

    def check(self, status: int | None) -> None:
        """Raise what an `OrtStatus` says, and free it; None says OK.

        Raises:
            ServingError: of the canonical code, with ONNX Runtime's text.
        """
        if status:
            raise self.error(status)

    def error(self, status: int) -> ServingError:
        """What an `OrtStatus` says, which is freed."""
        quick = self.quick
        text = (quick.GetErrorMessage(status) or b"").decode(errors="replace")
        code = _CODES.get(quick.GetErrorCode(status), Code.UNKNOWN)
        quick.ReleaseStatus(status)
        if any(words in text for words in _NO_MEMORY):
            code = Code.RESOURCE_EXHAUSTED
        elif _ENDED in text:
            code = Code.CANCELLED
        return error_of(code, text)

    def made(self, make: Any, *arguments: Any) -> int:
        """What a function gives through its last argument: an address, or a number as wide.

        Raises:
            ServingError: it fails.
        """
        out = c_void_p()
        status = make(*arguments, ctypes.addressof(out))
        if status:
            raise self.error(status)
        return out.value or 0


def _open_without_gil(path: Path) -> int:
    """Open a shared library while other Python threads go on; ctypes itself would stop them.

    Raises:
        OSError: it cannot be opened.
    """
    system = ctypes.CDLL(None)
    system.dlopen.restype, system.dlopen.argtypes = c_void_p, (c_char_p, c_int)
    system.dlerror.restype = c_char_p
    handle: int | None = system.dlopen(os.fsencode(path), _MODE)
    if handle is None:
        raise OSError((system.dlerror() or b"").decode(errors="replace"))
    return handle


def _library_path() -> Path:
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise NotInstalled(
            "Serving an ONNX model needs ONNX Runtime, which is not installed here. "
            f"Install it with: {install_command(_EXTRA)}"
        )
    folder = Path(next(iter(spec.submodule_search_locations))) / "capi"
    pattern = "libonnxruntime*.dylib" if sys.platform == "darwin" else "libonnxruntime.so*"
    found = sorted(each for each in folder.glob(pattern) if "providers" not in each.name)
    if not found:
        raise _unusable(folder, "it has no C library, as those before 1.19")
    return found[0]


def _unusable(path: Path, why: object) -> NotInstalled:
    return NotInstalled(
        f"ONNX Runtime in {path} cannot be used: {why}. "
        f"Install a supported one with: {install_command(_EXTRA)}"
    )


def require_library() -> None:
    """See, without opening it, that ONNX Runtime is there.

    Raises:
        NotInstalled: the text says what to install.
    """
    _library_path()


_opening = threading.Lock()


def load_library() -> Library:
    """Open the C API, once per process; safe to call from any thread.

    Raises:
        NotInstalled: or its library cannot be used.
    """
    with _opening:
        return _open_library()


@cache
def _open_library() -> Library:
    path = _library_path()
    try:
        return Library(path)
    except (OSError, AttributeError, ServingError) as error:
        raise _unusable(path, error) from error
