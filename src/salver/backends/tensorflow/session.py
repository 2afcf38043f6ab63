"""A SavedModel loaded into a session, and the programs that run in it."""

import ctypes
import os
from collections.abc import Callable, Mapping, Sequence
from ctypes import c_char_p, c_void_p
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from salver._pb import message_class
from salver.backends.tensorflow.examination import examine
from salver.backends.tensorflow.library import Buffer, Library, Output
from salver.backends.tensorflow.ranks import ABORTING, CheckedProgram, least_ranks
from salver.backends.tensorflow.saved_model import (
    MetaGraph,
    meta_graph_with_tags,
    read_meta_graphs,
)
from salver.backends.tensorflow.tensors import from_tensor, to_tensor
from salver.errors import InvalidArgument, NotFound
from salver.instruments.heap import return_freed_pages
from salver.instruments.threads import Breather, in_background
from salver.vocabulary.model import Program, TensorNames, signature_program
from salver.vocabulary.requests import Array
from salver.vocabulary.tensorflow_types import base_dtype, number_of

__all__ = ["SavedModel", "SavedModelGraph", "SavedModelProgram", "load_saved_model"]

# `tensorflow.RunOptions { inter_op_thread_pool: -1 }`: the graph runs in the calling thread.
_IN_CALLER: Final = b"\x18" + b"\xff" * 9 + b"\x01"

_OWN_DEVICE_POOLS: Final = "TF_OVERRIDE_GLOBAL_THREADPOOL"  # each session's device has its own
_LOAD_THREAD: Final = "salver-restore"
_CLOSE_THREAD: Final = "salver-free"


@dataclass(slots=True)
class _Frame:
    """What one run needs and the next can use again. Python owns the arrays.

    Attributes:
        input_values: the tensors fed.
        output_values: the tensors fetched.
        arguments: of `TF_SessionRun`, but the first two and the last.
    """

    input_values: Any
    output_values: Any
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _Session:
    """A session, and what its runs share.

    Attributes:
        library: the C API.
        address: of the `TF_Session`.
        statuses: of runs that have ended, for those to come. Programs own nothing of TensorFlow's,
            so that they can be dropped at any time; append and pop are atomic.
        has_own_pools: its runs compute in threads that no other session has.
    """

    library: Library
    address: int
    statuses: list[int]
    has_own_pools: bool = False


class SavedModelProgram:
    """Some feeds and fetches of one session. Thread-safe: each run has a frame of its own."""

    def __init__(
        self,
        session: _Session,
        inputs: Sequence[Output],
        outputs: Sequence[Output],
        targets: Sequence[int],
        *,
        can_loop: bool,
    ) -> None:
        library = session.library
        self.can_loop = can_loop
        self._library = library
        self._session = c_void_p(session.address)
        self._statuses = session.statuses
        self._inputs = (Output * len(inputs))(*inputs)
        self._outputs = (Output * len(outputs))(*outputs)
        self._targets = (c_void_p * len(targets))(*targets) if targets else None
        self._n_targets = len(targets)
        self._dtypes = [
            number_of(base_dtype(library.quick.TF_OperationOutputType(o))) for o in inputs
        ]
        self._in_caller = Buffer.of(_IN_CALLER)
        self._options = c_void_p(ctypes.addressof(self._in_caller))
        self._frames: list[_Frame] = []  # append and pop are atomic
        self._has_own_pools = session.has_own_pools

    def run(self, feeds: Sequence[Array]) -> list[Array]:
        """Run in TensorFlow's thread pools, without the GIL.

        One run at a time: the branches of its graph compute side by side there. Further ones
        compute in the threads that call them, as `run_in_caller` does. Otherwise a few runs of a
        model that waits for something would take all threads of the pool, and with it every run
        of every model. (`docs/architecture.md` has the figures.)
        """
        if self._has_own_pools:
            return self._run(feeds, self._library.long_run, None)
        if not self._library.in_pool.acquire(blocking=False):
            return self.run_in_caller(feeds)
        try:
            return self._run(feeds, self._library.long_run, None)
        finally:
            self._library.in_pool.release()

    def run_in_caller(self, feeds: Sequence[Array]) -> list[Array]:
        """Run in the calling thread, without the GIL."""
        return self._run(feeds, self._library.long_run, self._options)

    def run_inline(self, feeds: Sequence[Array]) -> list[Array]:
        """Run in the calling thread, with the GIL."""
        return self._run(feeds, self._library.quick_run, self._options)

    def _run(
        self, feeds: Sequence[Array], session_run: Callable[..., None], options: c_void_p | None
    ) -> list[Array]:
        library = self._library
        quick = library.quick
        delete = quick.TF_DeleteTensor
        try:
            frame = self._frames.pop()
        except IndexError:
            frame = self._new_frame()
        try:
            status = self._statuses.pop()
        except IndexError:
            status = quick.TF_NewStatus()
        values, results = frame.input_values, frame.output_values
        fed = fetched = 0
        try:
            for array, dtype in zip(feeds, self._dtypes, strict=True):
                values[fed] = to_tensor(library, array, status, dtype)
                fed += 1
            session_run(self._session, options, *frame.arguments, c_void_p(status))
            if quick.TF_GetCode(status):
                library.check(status)
            fetched = len(results)
            return [from_tensor(library, tensor) for tensor in results]
        finally:
            for index in range(fed):
                delete(values[index])
            for index in range(fetched):
                delete(results[index])
            self._frames.append(frame)
            self._statuses.append(status)

    def _new_frame(self) -> _Frame:
        inputs, outputs = (c_void_p * len(self._inputs))(), (c_void_p * len(self._outputs))()
        return _Frame(
            inputs,
            outputs,
            (
                *(_address(self._inputs), _address(inputs), len(inputs)),
                *(_address(self._outputs), _address(outputs), len(outputs)),
                *(_address(self._targets), self._n_targets, None),
            ),
        )


def _address(array: Any) -> c_void_p | None:
    """Where an array lies that outlives the call it is given to."""
    return None if array is None else c_void_p(ctypes.addressof(array))


class SavedModelGraph:
    """The graph of a loaded SavedModel: see `salver.vocabulary.model.Graph`."""

    def __init__(
        self,
        session: _Session,
        address: int,
        names: Mapping[str, TensorNames],
        *,
        can_loop: bool,
        ranks: Mapping[str, int],
    ) -> None:
        """Name what a session has loaded.

        Args:
            session: runs it.
            address: of the `TF_Graph`.
            names: see `Graph.names`.
            can_loop: whether it has loops.
            ranks: see `least_ranks`.
        """
        self.names = names
        self._can_loop = can_loop
        self._ranks = ranks
        self._session = session
        self._quick = session.library.quick
        self._address = address

    def program(
        self, feeds: Sequence[str], fetches: Sequence[str], targets: Sequence[str] = ()
    ) -> Program:
        """See `Graph.program`."""
        program = SavedModelProgram(
            self._session,
            [self._output(name) for name in feeds],
            [self._output(name) for name in fetches],
            [self._operation(name) for name in targets],
            can_loop=self._can_loop,
        )
        ranks = [self._ranks.get(name, 0) for name in feeds]
        return CheckedProgram(program, ranks) if any(ranks) else program

    def _output(self, tensor_name: str) -> Output:
        # TensorId::Parse: "x:1" is output 1 of x, "x" is output 0.
        name, colon, index = tensor_name.rpartition(":")
        if not colon:
            name, index = tensor_name, "0"
        operation = self._quick.TF_GraphOperationByName(self._address, name.encode())
        known = operation and index.isdecimal()
        if not known or int(index) >= self._quick.TF_OperationNumOutputs(operation):
            raise InvalidArgument(
                f"Tensor {name}:{index}, specified in either feed_devices or fetch_devices "
                "was not found in the Graph"
            )
        return Output(operation, int(index))

    def _operation(self, name: str) -> int:
        operation: int | None = self._quick.TF_GraphOperationByName(self._address, name.encode())
        if not operation:
            # The text of PruneForTargets, `core/graph/subgraph.cc`.
            raise NotFound(f"PruneForTargets: Some target nodes not found: {name}")
        return operation


class SavedModel:
    """One loaded SavedModel: see `salver.vocabulary.model.Model`."""

    batching = None

    def __init__(
        self,
        library: Library,
        graph: int,
        session: int,
        meta_graph: MetaGraph,
        *,
        can_loop: bool,
        ranks: Mapping[str, int],
        has_own_pools: bool = False,
    ) -> None:
        self.signatures = meta_graph.signatures
        self.definitions = meta_graph.definitions
        self._library = library
        self._graph = graph
        self._session = _Session(library, session, [], has_own_pools)
        self.graph = SavedModelGraph(
            self._session, graph, meta_graph.names, can_loop=can_loop, ranks=ranks
        )

    def program(self, signature_name: str, outputs: Sequence[str] | None = None) -> Program:
        """See `Model.program`."""
        return signature_program(self.graph, signature_name, outputs)

    def close(self) -> None:
        """See `Model.close`. Errors are not raised: what can be freed is freed regardless."""
        quick, long = self._library.quick, self._library.long
        status = quick.TF_NewStatus()

        def free() -> None:
            long.TF_CloseSession(self._session.address, status)
            long.TF_DeleteSession(self._session.address, status)
            long.TF_DeleteGraph(self._graph)
            return_freed_pages()

        in_background(_CLOSE_THREAD, free)
        for each in (status, *self._session.statuses):
            quick.TF_DeleteStatus(each)


def load_saved_model(
    library: Library,
    directory: str,
    *,
    tags: Sequence[str],
    session_config: bytes,
    target: str = "",
    thread_pool: int | None = None,
    steps_back: bool = True,
) -> SavedModel:
    """Load one variant of a SavedModel: restore variables, assets and tables, run its init ops.

    Args:
        library: the C API.
        directory: of one version.
        tags: the tag set must equal this.
        session_config: a serialized `tensorflow.ConfigProto`.
        target: where the session runs; empty for this process.
        thread_pool: which of the thread pools of `session_config` loads; None for the usual one.
        steps_back: whether it runs behind requests where that can be; see `in_background`.

    Raises:
        ServingError: with TensorFlow's code and text.
    """
    meta_graph = meta_graph_with_tags(read_meta_graphs(directory), tags, directory)
    breathe = Breather() if steps_back else _go_on
    found = examine(directory, meta_graph, breathe=breathe)
    quick = library.quick
    status, options, graph = quick.TF_NewStatus(), quick.TF_NewSessionOptions(), quick.TF_NewGraph()
    tag_array = (c_char_p * len(tags))(*[tag.encode() for tag in tags])
    try:
        quick.TF_SetConfig(options, session_config, len(session_config), status)
        library.check(status)
        quick.TF_SetTarget(options, target.encode())
        has_own_pools = _has_own_pools(session_config)
        is_behind = steps_back and library.has_pools and not has_own_pools
        # A graph that loops while it restores, perhaps for ever, must not do so in a thread of the
        # pool that all sessions share: as many of them as it has threads would end all runs.
        in_caller = is_behind or found.can_loop
        run_options = Buffer.of(_load_options(thread_pool, in_caller=in_caller))
        load = partial(
            library.long.TF_LoadSessionFromSavedModel,
            *(options, ctypes.addressof(run_options), os.fsencode(directory)),
            *(tag_array, len(tags), graph, None, status),
        )
        session = in_background(_LOAD_THREAD, load) if is_behind else load()
        library.check(status)
        library.has_pools = True
    except Exception:
        quick.TF_DeleteGraph(graph)
        raise
    finally:
        quick.TF_DeleteSessionOptions(options)
        quick.TF_DeleteStatus(status)
    return SavedModel(
        *(library, graph, session, meta_graph),
        can_loop=found.can_loop,
        ranks=_ranks(meta_graph) if found.operations & ABORTING else {},
        has_own_pools=has_own_pools,
    )


def _ranks(meta_graph: MetaGraph) -> dict[str, int]:
    return least_ranks(meta_graph.signatures, meta_graph.names)


def _go_on() -> None:
    """There is nobody to rest for."""


def _has_own_pools(session_config: bytes) -> bool:
    """Whether a session makes threads of its own, which will run its requests.

    They would inherit the place of the thread that makes them.

    Source: `common_runtime/direct_session.cc`, `common_runtime/local_device.cc`.
    """
    if os.environ.get(_OWN_DEVICE_POOLS, "").lower() in ("1", "true"):
        return True
    config = message_class("tensorflow.ConfigProto").FromString(session_config)
    return bool(config.use_per_session_threads or len(config.session_inter_op_thread_pool))


def _load_options(thread_pool: int | None, *, in_caller: bool) -> bytes:
    """Where the restoring graph runs: where that was said, or in the thread that loads."""
    if thread_pool is None:
        return _IN_CALLER if in_caller else b""
    options = message_class("tensorflow.RunOptions")(inter_op_thread_pool=thread_pool)
    serialized: bytes = options.SerializeToString()
    return serialized
