"""ONNX Runtime's environment, of which a process has one: the threads that models share."""

import os
import threading
from ctypes import c_void_p

from salver.backends.onnxruntime.library import Library

__all__ = ["environment", "schedulable_cpus"]

_ERRORS_ONLY = 3
_making = threading.Lock()
_made: dict[int, int] = {}  # by the library; of a process there is one


def schedulable_cpus() -> int:
    """The CPUs this process may run on; where the system does not say, all there are."""
    affinity = getattr(os, "sched_getaffinity", None)  # absent on macOS
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def environment(library: Library, num_threads: int, *, allow_spinning: bool) -> int:
    """The `OrtEnv`, made by the first call and never released.

    The number of threads is always said: otherwise ONNX Runtime has as many as the machine has
    cores, whatever this process may use, and ties each to one.

    Args:
        library: the C API.
        num_threads: that models share; 0 for one per CPU. The thread that runs is one of them.
        allow_spinning: whether they stay awake for a while when they are idle.
    """
    with _making:
        if id(library) not in _made:
            _made[id(library)] = _make(
                library, num_threads or schedulable_cpus(), allow_spinning=allow_spinning
            )
        return _made[id(library)]


def _make(library: Library, num_threads: int, *, allow_spinning: bool) -> int:
    quick = library.quick
    threads = library.made(quick.CreateThreadingOptions)
    try:
        library.check(quick.SetGlobalIntraOpNumThreads(threads, num_threads))
        library.check(quick.SetGlobalInterOpNumThreads(threads, 1))
        library.check(quick.SetGlobalSpinControl(threads, allow_spinning))
        return library.made(
            quick.CreateEnvWithGlobalThreadPools, _ERRORS_ONLY, b"salver", c_void_p(threads)
        )
    finally:
        quick.ReleaseThreadingOptions(threads)
