"""TensorFlow's profiler, by ctypes, from the library that is open already.

The C API has no way to the profiler. `libtensorflow_framework` exports the class of C++ that
TensorFlow's own server and its Python package record with, `tsl::ProfilerSession`, and the two
messages around it. They are called here under their mangled names, which change with their
arguments. What a name cannot tell, such as how a status is returned, is tried first in a process of
its own: where that dies, or a name is missing, there is no recorder, and no server has died of it.

A status and a session are returned as C++ returns objects: into memory that the caller gives. A C
structure of more than 16 bytes is returned so too, on x86-64 and on AArch64.

Source: TensorFlow, `tsl/profiler/lib/profiler_session.h`, `profiler_options.proto`; the Itanium C++
ABI.
"""

import ctypes
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from ctypes import c_bool, c_char_p, c_int, c_size_t, c_void_p
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import salver
from salver.backends.tensorflow.library import is_open, tensorflow_directory
from salver.errors import FailedPrecondition, Unavailable, Unimplemented
from salver.instruments.machine import resident_bytes

__all__ = ["Trace", "record", "try_out"]

_FRAMEWORK: Final = "libtensorflow_framework.so.2"
_MESSAGE_BYTES: Final = 4096  # for a message of C++ itself, which takes less than 200
_OK: Final = 1  # of `absl::Status`
_TRIAL_S: Final = 60.0
_LOOK_S: Final = 0.1
_MOST_GROWN_BYTES: Final = 512 << 20  # of this process, by what is recorded
_MOST_BYTES: Final = (1 << 31) - 1  # of a message


class Trace(NamedTuple):
    """What was recorded.

    Attributes:
        xspace: a `tensorflow.profiler.XSpace`.
        is_empty: nothing has happened meanwhile.
    """

    xspace: bytes
    is_empty: bool


class _Returned(ctypes.Structure):
    """An object of C++ of one word, returned into memory."""

    _fields_ = (("word", c_void_p), ("unused", c_void_p * 3))


# name → (mangled name, result, arguments)
_FUNCTIONS: Final[dict[str, tuple[str, Any, tuple[Any, ...]]]] = {
    "make_options": (
        *("_ZN10tensorflow14ProfileOptionsC1EPN6google8protobuf5ArenaE", None),
        (c_void_p, c_void_p),
    ),
    "free_options": ("_ZN10tensorflow14ProfileOptionsD1Ev", None, (c_void_p,)),
    "make_space": (
        *("_ZN10tensorflow8profiler6XSpaceC1EPN6google8protobuf5ArenaE", None),
        (c_void_p, c_void_p),
    ),
    "free_space": ("_ZN10tensorflow8profiler6XSpaceD1Ev", None, (c_void_p,)),
    "space_bytes": (
        *("_ZNK10tensorflow8profiler6XSpace12ByteSizeLongEv", c_size_t),
        (c_void_p,),
    ),
    "is_space_empty": (
        *("_ZN3tsl8profiler7IsEmptyERKN10tensorflow8profiler6XSpaceE", c_bool),
        (c_void_p,),
    ),
    "parse": (
        *("_ZN6google8protobuf11MessageLite14ParseFromArrayEPKvi", c_bool),
        (c_void_p, c_char_p, c_int),
    ),
    "serialize": (
        *("_ZNK6google8protobuf11MessageLite16SerializeToArrayEPvi", c_bool),
        (c_void_p, c_void_p, c_int),
    ),
    "create": (
        *("_ZN3tsl15ProfilerSession6CreateERKN10tensorflow14ProfileOptionsE", _Returned),
        (c_void_p,),
    ),
    "status": ("_ZN3tsl15ProfilerSession6StatusEv", _Returned, (c_void_p,)),
    "collect": (
        *("_ZN3tsl15ProfilerSession11CollectDataEPN10tensorflow8profiler6XSpaceE", _Returned),
        (c_void_p, c_void_p),
    ),
    "end": ("_ZN3tsl15ProfilerSessionD1Ev", None, (c_void_p,)),
    "delete": ("_ZdlPv", None, (c_void_p,)),
}


def record(options: bytes, duration_s: float, ended: threading.Event) -> Trace:
    """Record what TensorFlow does in this process; waits meanwhile, in the caller's thread.

    Args:
        options: a `tensorflow.ProfileOptions`.
        duration_s: for how long; less where the trace takes too much memory.
        ended: ends it at once.

    Raises:
        FailedPrecondition: this process runs nothing by TensorFlow.
        Unimplemented: the installed TensorFlow cannot be recorded.
        Unavailable: somebody else records, or it has failed.
    """
    if not is_open():
        raise FailedPrecondition("No model of this process is run by TensorFlow")
    if (problem := _trial()) is not None:
        raise Unimplemented(f"The installed TensorFlow cannot be traced: {problem}")
    return _record(_open(), options, lambda: _wait(duration_s, ended))


def _wait(duration_s: float, ended: threading.Event) -> None:
    until_s = time.monotonic() + duration_s
    most = resident_bytes() + _MOST_GROWN_BYTES
    while (left_s := until_s - time.monotonic()) > 0 and resident_bytes() < most:
        if ended.wait(min(left_s, _LOOK_S)):
            return


def _record(functions: "_Functions", options: bytes, wait: Callable[[], object]) -> Trace:
    memory = ctypes.create_string_buffer(2 * _MESSAGE_BYTES)
    own_options = ctypes.addressof(memory)
    space = own_options + _MESSAGE_BYTES
    functions.make_options(own_options, None)
    functions.make_space(space, None)
    try:
        if not functions.parse(own_options, options, len(options)):
            raise Unavailable("TensorFlow does not take these options of a trace")
        session = functions.create(own_options).word
        if not session:
            raise Unavailable("TensorFlow has begun no trace")
        try:
            if functions.status(session).word != _OK:
                raise Unavailable("Another trace of this process is being recorded")
            wait()
            if functions.collect(session, space).word != _OK:
                raise Unavailable("TensorFlow has recorded nothing")
        finally:
            functions.end(session)
            functions.delete(session)
        return Trace(_serialized(functions, space), bool(functions.is_space_empty(space)))
    finally:
        functions.free_space(space)
        functions.free_options(own_options)


def _serialized(functions: "_Functions", space: int) -> bytes:
    size = functions.space_bytes(space)
    if size > _MOST_BYTES:
        raise Unavailable("The trace is too large: record for a shorter time")
    content = bytearray(size)
    target = (ctypes.c_char * size).from_buffer(content)
    if not functions.serialize(space, ctypes.addressof(target), size):
        raise Unavailable("The trace cannot be written")
    return bytes(content)


class _Functions:
    """TensorFlow's functions by the names of the table. They give up the GIL."""

    def __init__(self, library: ctypes.CDLL) -> None:
        """Find them.

        Raises:
            AttributeError: one is not there.
        """
        for name, (mangled, result, arguments) in _FUNCTIONS.items():
            function = getattr(library, mangled)
            function.restype, function.argtypes = result, arguments
            setattr(self, name, function)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


@cache
def _open() -> _Functions:
    path = tensorflow_directory() / _FRAMEWORK
    return _Functions(ctypes.CDLL(str(path), mode=os.RTLD_LOCAL | os.RTLD_LAZY))


@cache
def _trial() -> str | None:
    """Why nothing can be recorded, found out once and in a process of its own; None where it can.

    It opens the same library, and so takes about as long as a start of a server.
    """
    if sys.platform != "linux":
        return "that is known of Linux alone"
    program = (
        f"import sys; sys.path.append({str(Path(salver.__file__).parents[1])!r});"
        "from salver.backends.tensorflow.recorder import try_out; try_out()"
    )
    try:
        ended = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-c", program],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TRIAL_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"a trial has failed: {error}"
    if ended.returncode:
        last = ended.stderr.decode(errors="replace").strip().splitlines()[-1:]
        return f"a trial ended with {ended.returncode} {' '.join(last)}".rstrip()
    return None


def try_out() -> None:
    """Record nothing at all, twice, in a process that may die of it.

    Raises:
        ServingError, AttributeError, OSError, AssertionError: it cannot be done.
    """
    from salver._pb import message_class
    from salver.backends.tensorflow.library import load_library

    load_library()
    options = message_class("tensorflow.ProfileOptions")(version=1, host_tracer_level=1)
    for _ in range(2):  # a session that was not ended would be in the way of the second
        trace = _record(_open(), options.SerializeToString(), lambda: None)
        assert isinstance(trace.xspace, bytes)
