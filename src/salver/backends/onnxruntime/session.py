"""A session: a loaded graph, and what its runs share."""

import os
import threading
from collections.abc import Sequence
from ctypes import addressof, c_char_p, c_void_p
from pathlib import Path
from typing import Any, Final
from weakref import WeakSet

from salver.backends.onnxruntime.environment import environment, schedulable_cpus
from salver.backends.onnxruntime.library import Library
from salver.backends.onnxruntime.options import (
    EXECUTION_MODES,
    OPTIMIZATION_LEVELS,
    OnnxRuntimeOptions,
)
from salver.instruments.heap import return_freed_pages
from salver.instruments.threads import in_background
from salver.vocabulary.requests import Array

__all__ = ["Releasable", "Session", "open_session"]

_LOAD_THREAD: Final = "salver-onnx-load"
_CLOSE_THREAD: Final = "salver-onnx-free"
_SILENT: Final = 4  # a request that fails is told, and not logged too
_CPU: Final = "CPUExecutionProvider"
_CUDA: Final = "CUDAExecutionProvider"
_SUFFIX: Final = "ExecutionProvider"
_FOLDER_OF_WEIGHTS: Final = b"session.model_external_initializers_file_folder_path"


class Releasable:
    """What a program has made in a session, and the session frees when it is closed."""

    def release(self) -> None:
        """Free it; the second time nothing happens."""


class Session:
    """A session. Thread-safe but for `close`, which comes last.

    Attributes:
        library: the C API.
        address: of the `OrtSession`.
        address_argument: the same, for functions that take no plain number.
        made: what is to be freed before it.
        inline_options: `OrtRunOptions` of runs that nobody ends.
    """

    def __init__(self, library: Library, address: int) -> None:
        """Take over a session."""
        self.library = library
        self.address = address
        self.address_argument = c_void_p(address)
        self.made: WeakSet[Releasable] = WeakSet()
        self._lock = threading.Lock()  # of the next three
        self._options: list[c_void_p] = []  # of runs that have ended, for those to come
        self._running: dict[int, c_void_p] = {}  # by the feeds
        self._ended: list[c_void_p] = []  # those that were told to end
        self.inline_options = self._new_options()

    def begin(self, feeds: Sequence[Array]) -> c_void_p:
        """A run begins that `cancel` may end: its options."""
        with self._lock:
            options = self._options.pop() if self._options else self._new_options()
            self._running[id(feeds)] = options
        return options

    def end(self, feeds: Sequence[Array], options: c_void_p) -> None:
        """The run has ended."""
        with self._lock:
            self._running.pop(id(feeds), None)  # the same may be run twice
            if options in self._ended:
                self._ended.remove(options)
                self.library.quick.RunOptionsUnsetTerminate(options)
            self._options.append(options)

    def cancel(self, feeds: Sequence[Array]) -> None:
        """End the run of these feeds, if there is one: between two operations."""
        with self._lock:
            options = self._running.get(id(feeds))
            if options is not None:
                if options not in self._ended:
                    self._ended.append(options)
                self.library.quick.RunOptionsSetTerminate(options)

    def close(self) -> None:
        """Free what is held. Results that are in use keep the memory they lie in."""
        quick, long = self.library.quick, self.library.long
        for each in list(self.made):
            each.release()
        for options in (*self._options, self.inline_options):
            quick.ReleaseRunOptions(options)
        self._options.clear()

        def free() -> None:
            long.ReleaseSession(self.address)
            return_freed_pages()

        in_background(_CLOSE_THREAD, free)

    def _new_options(self) -> c_void_p:
        quick = self.library.quick
        options = c_void_p(self.library.made(quick.CreateRunOptions))
        self.library.check(quick.RunOptionsSetRunLogSeverityLevel(options, _SILENT))
        return options


def open_session(
    library: Library,
    model: Path | bytes,
    directory: Path,
    options: OnnxRuntimeOptions,
    *,
    is_behind: bool,
) -> Session:
    """Load a graph.

    Args:
        library: the C API.
        model: the file, or what is in it.
        directory: where other files of the model are.
        options: how.
        is_behind: whether the load stands behind requests.

    Raises:
        ServingError: with ONNX Runtime's code and text.
    """
    shared = environment(library, options.num_shared_threads, allow_spinning=options.allow_spinning)
    quick = library.quick
    settings = library.made(quick.CreateSessionOptions)
    try:
        has_own_threads = _set(library, settings, options)
        if isinstance(model, bytes):
            folder = os.fsencode(directory)
            library.check(quick.AddSessionConfigEntry(settings, _FOLDER_OF_WEIGHTS, folder))

        def load() -> int:
            if isinstance(model, bytes):
                make = library.long.CreateSessionFromArray
                return library.made(make, shared, model, len(model), settings)
            return library.made(library.long.CreateSession, shared, os.fsencode(model), settings)

        # Threads of its own would stay behind for ever.
        is_behind = is_behind and not has_own_threads
        address = in_background(_LOAD_THREAD, load) if is_behind else load()
    finally:
        quick.ReleaseSessionOptions(settings)
    try:
        return Session(library, address)
    except BaseException:
        library.long.ReleaseSession(address)
        raise


def _set(library: Library, settings: int, options: OnnxRuntimeOptions) -> bool:
    """Fill the settings of a session.

    Returns:
        Whether it gets threads of its own.
    """
    quick, check = library.quick, library.check
    check(quick.SetSessionLogSeverityLevel(settings, options.log_severity_level))
    level = OPTIMIZATION_LEVELS[options.graph_optimization_level]
    check(quick.SetSessionGraphOptimizationLevel(settings, level))
    check(quick.SetSessionExecutionMode(settings, EXECUTION_MODES[options.execution_mode]))
    if not options.enable_mem_arena:
        check(quick.DisableCpuMemArena(settings))
    if not options.enable_mem_pattern:
        check(quick.DisableMemPattern(settings))
    is_parallel = options.execution_mode == "parallel"
    has_own_threads = is_parallel or options.intra_op_num_threads > 0
    if has_own_threads:
        cpus = schedulable_cpus()
        check(quick.SetIntraOpNumThreads(settings, options.intra_op_num_threads or cpus))
        check(quick.SetInterOpNumThreads(settings, options.inter_op_num_threads or cpus))
        spins = b"%d" % options.allow_spinning
        for pool in (b"intra", b"inter"):
            key = b"session.%s_op.allow_spinning" % pool
            check(quick.AddSessionConfigEntry(settings, key, spins))
    else:
        check(quick.DisablePerSessionThreads(settings))
    for provider in options.providers:
        _add_provider(library, settings, provider)
    for path in options.custom_op_libraries:
        check(library.long.RegisterCustomOpsLibrary_V2(settings, os.fsencode(path)))
    return has_own_threads


def _add_provider(library: Library, settings: int, provider: str) -> None:
    quick: Any = library.quick
    if provider == _CPU:  # is always there
        return
    if provider == _CUDA:
        cuda = library.made(quick.CreateCUDAProviderOptions)
        try:
            append = library.long.SessionOptionsAppendExecutionProvider_CUDA_V2
            library.check(append(settings, cuda))
        finally:
            quick.ReleaseCUDAProviderOptions(cuda)
        return
    names = (c_char_p * 1)()
    append = library.long.SessionOptionsAppendExecutionProvider
    short = provider.removesuffix(_SUFFIX).encode()
    library.check(append(settings, short, addressof(names), addressof(names), 0))
