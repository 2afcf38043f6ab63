"""TensorFlow's C API, by ctypes, from the installed wheel.

The Python package is located, never imported: `import tensorflow` costs 1.4 s and 650 MB, the
library alone 0.3 s and 336 MB. It is opened twice. `PyDLL` keeps the GIL during a call, which is
right for calls that take a microsecond or so; giving it up and waiting to get it back under load
costs far more (2,500 µs against 86 µs for one small run beside one busy thread, measured). `CDLL`
gives it up, which is right for loads and long runs. Both are the same mapped library.

It is opened `RTLD_LOCAL`: with global symbols its own OpenSSL collides with Python's.

With a GPU wheel (`tensorflow[and-cuda]`) nothing more is needed: the CUDA libraries of the
`nvidia-*` wheels are found through the run path that `libtensorflow_cc` and
`libtensorflow_framework` carry themselves (`$ORIGIN/../nvidia/*/lib`), which is also how the
Python package finds them.

Source: `tensorflow/c/c_api.h`, `tf_tensor.h`, `tf_tstring.h` (the stable ABI).
"""

import ctypes
import importlib.util
import os
import sys
import threading
from ctypes import c_char_p, c_int, c_int64, c_size_t, c_void_p
from functools import cache
from pathlib import Path
from typing import Any, Final

from salver.backends.tensorflow.opening_lines import filtered_stderr
from salver.errors import NotInstalled, error_of
from salver.instruments.installing import install_command

__all__ = [
    "Buffer",
    "Library",
    "Output",
    "is_open",
    "load_library",
    "require_library",
    "tensorflow_directory",
]

_MODE: Final = os.RTLD_LOCAL | os.RTLD_LAZY  # binding all symbols now takes 0.19 s, not 0.13


class Output(ctypes.Structure):
    """`TF_Output`: the index-th output of an operation."""

    _fields_ = (("oper", c_void_p), ("index", c_int))


class Buffer(ctypes.Structure):
    """`TF_Buffer`: bytes that somebody else keeps alive while no deallocator is set."""

    _fields_ = (("data", c_void_p), ("length", c_size_t), ("deallocator", c_void_p))
    keeps: bytes

    @classmethod
    def of(cls, data: bytes) -> "Buffer":
        """A buffer over `data`, which must outlive it."""
        buffer = cls(ctypes.cast(c_char_p(data), c_void_p), len(data), None)
        buffer.keeps = data
        return buffer


# name → (result, arguments). Handles are plain integers (c_void_p) on this side.
_PROTOTYPES: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "TF_Version": (c_char_p, ()),
    "TF_NewStatus": (c_void_p, ()),
    "TF_DeleteStatus": (None, (c_void_p,)),
    "TF_GetCode": (c_int, (c_void_p,)),
    "TF_Message": (c_char_p, (c_void_p,)),
    "TF_NewSessionOptions": (c_void_p, ()),
    "TF_DeleteSessionOptions": (None, (c_void_p,)),
    "TF_SetTarget": (None, (c_void_p, c_char_p)),
    "TF_SetConfig": (None, (c_void_p, c_char_p, c_size_t, c_void_p)),
    "TF_NewGraph": (c_void_p, ()),
    "TF_DeleteGraph": (None, (c_void_p,)),
    "TF_GraphOperationByName": (c_void_p, (c_void_p, c_char_p)),
    "TF_OperationNumOutputs": (c_int, (c_void_p,)),
    "TF_OperationOutputType": (c_int, (Output,)),
    "TF_LoadSessionFromSavedModel": (
        c_void_p,
        (c_void_p, c_void_p, c_char_p, c_void_p, c_int, c_void_p, c_void_p, c_void_p),
    ),
    "TF_CloseSession": (None, (c_void_p, c_void_p)),
    "TF_DeleteSession": (None, (c_void_p, c_void_p)),
    "TF_SessionRun": (
        None,
        (
            *(c_void_p, c_void_p),  # session, run options
            *(c_void_p, c_void_p, c_int),  # inputs, input values
            *(c_void_p, c_void_p, c_int),  # outputs, output values
            *(c_void_p, c_int),  # target operations
            *(c_void_p, c_void_p),  # run metadata, status
        ),
    ),
    "TF_AllocateTensor": (c_void_p, (c_int, c_void_p, c_int, c_size_t)),
    "TF_DeleteTensor": (None, (c_void_p,)),
    "TF_TensorData": (c_void_p, (c_void_p,)),
    "TF_TensorByteSize": (c_size_t, (c_void_p,)),
    "TF_TensorType": (c_int, (c_void_p,)),
    "TF_NumDims": (c_int, (c_void_p,)),
    "TF_Dim": (c_int64, (c_void_p, c_int)),
    "TF_TensorFromProto": (None, (c_void_p, c_void_p, c_void_p)),
    "TF_StringGetDataPointer": (c_void_p, (c_void_p,)),
    "TF_StringGetSize": (c_size_t, (c_void_p,)),
    "TF_LoadLibrary": (c_void_p, (c_char_p, c_void_p)),
    "TF_DeleteLibraryHandle": (None, (c_void_p,)),
}


_XLA_IS_OFF: Final = "XLA compilation disabled"
_DISABLE_XLA: Final = "_ZN10tensorflow21DisableXlaCompilationEv"


class Library:
    """The C API: `quick` keeps the GIL, `long` releases it; attributes are named as in C.

    Attributes:
        quick_run: `quick.TF_SessionRun`, which takes no plain number for a pointer.
        long_run: the same of `long`.
        has_pools: a session has been made, and with it the thread pools that all sessions share.
        in_pool: held by the one run that computes in those pools.
    """

    def __init__(self, path: Path) -> None:
        handle = _open_without_gil(path)
        self.quick: Any = _declared(ctypes.PyDLL(str(path), handle=handle))
        self.long: Any = _declared(ctypes.CDLL(str(path), handle=handle))
        # Without its arguments declared, a call with twelve that are of the right type already
        # takes 2.3 µs in place of 3.3: the frame of each run keeps them so.
        self.quick_run: Any = self.quick["TF_SessionRun"]
        self.long_run: Any = self.long["TF_SessionRun"]
        self.quick_run.restype = self.long_run.restype = None
        self.version: str = self.quick.TF_Version().decode()
        self.has_pools = False
        self.in_pool = threading.Lock()

    def disable_xla(self) -> bool:
        """Let functions that ask for XLA fail, from now on and in the whole process.

        Returns:
            Whether it could be done: the C API has no such call, so TensorFlow's own is taken from
            its library where it is exported.
        """
        disable = getattr(self.quick, _DISABLE_XLA, None)
        if disable is None:
            return False
        disable.restype, disable.argtypes = None, ()
        disable()
        return True

    def check(self, status: int) -> None:
        """Raise what a `TF_Status` says, unless it says OK.

        Raises:
            ServingError: of the canonical code, with TensorFlow's text.
        """
        code = self.quick.TF_GetCode(status)
        if code:
            error = error_of(code, self.quick.TF_Message(status).decode(errors="replace"))
            if error.message.startswith(_XLA_IS_OFF):
                error.hint = "Start the server with --xla_cpu_compilation_enabled."
            raise error


def _open_without_gil(path: Path) -> int:
    """Open a shared library while other Python threads go on; ctypes itself would stop them.

    Raises:
        OSError: it cannot be opened.
    """
    system = ctypes.CDLL(None)
    system.dlopen.restype, system.dlopen.argtypes = c_void_p, (c_char_p, c_int)
    system.dlerror.restype = c_char_p
    with filtered_stderr():
        handle: int | None = system.dlopen(os.fsencode(path), _MODE)
    if handle is None:
        raise OSError((system.dlerror() or b"").decode(errors="replace"))
    return handle


def _declared(handle: Any) -> Any:
    for name, (result, arguments) in _PROTOTYPES.items():
        function = getattr(handle, name)
        function.restype = result
        function.argtypes = arguments
    return handle


def tensorflow_directory() -> Path:
    """Where the installed `tensorflow` package lies.

    Raises:
        NotInstalled: the text says what to install.
    """
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or not spec.submodule_search_locations:
        raise NotInstalled(
            "Serving a SavedModel needs TensorFlow, which is not installed here. "
            f"Install it with: {install_command('tensorflow')}"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def require_library() -> None:
    """See, without opening it, that TensorFlow is there.

    Raises:
        NotInstalled: the text says what to install.
    """
    tensorflow_directory()


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
    name = "libtensorflow_cc.2.dylib" if sys.platform == "darwin" else "libtensorflow_cc.so.2"
    path = tensorflow_directory() / name
    try:
        return Library(path)
    except (OSError, AttributeError) as error:
        raise NotInstalled(
            f"TensorFlow's library {path} cannot be used: {error}. "
            f"Install a supported TensorFlow with: {install_command('tensorflow')}"
        ) from error


def is_open() -> bool:
    """Whether this process has opened the C API."""
    return _open_library.cache_info().currsize > 0
