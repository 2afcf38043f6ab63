"""A SavedModel loaded into a session, and the programs that run in it."""

import ctypes
import os
from collections.abc import Callable, Mapping, Sequence
from ctypes import c_char_p, c_void_p
from dataclasses import dataclass
from typing import Any, Final

from salver.backends.tensorflow.library import Buffer, Library, Output
from salver.backends.tensorflow.loops import can_loop
from salver.backends.tensorflow.saved_model import meta_graph_with_tags, read_meta_graphs
from salver.backends.tensorflow.tensors import from_tensor, to_tensor
from salver.dtypes import base_dtype
from salver.errors import InvalidArgument
from salver.requests import Array
from salver.signature import Signature

__all__ = ["SavedModel", "SavedModelProgram", "load_saved_model"]

# `tensorflow.RunOptions { inter_op_thread_pool: -1 }`: the graph runs in the calling thread.
_IN_CALLER: Final = b"\x18" + b"\xff" * 9 + b"\x01"


@dataclass(slots=True)
class _Frame:
    """What one run needs and the next can use again."""

    status: int
    input_values: Any
    output_values: Any


class SavedModelProgram:
    """Some feeds and fetches of one session. Thread-safe: each run has a frame of its own."""

    def __init__(
        self,
        library: Library,
        session: int,
        inputs: Sequence[Output],
        outputs: Sequence[Output],
        *,
        can_loop: bool,
    ) -> None:
        self.can_loop = can_loop
        self._library = library
        self._session = session
        self._inputs = (Output * len(inputs))(*inputs)
        self._outputs = (Output * len(outputs))(*outputs)
        self._dtypes = [base_dtype(library.quick.TF_OperationOutputType(o)) for o in inputs]
        self._in_caller = Buffer.of(_IN_CALLER)
        self._frames: list[_Frame] = []  # append and pop are atomic

    def run(self, feeds: Sequence[Array]) -> list[Array]:
        """Run in TensorFlow's thread pools, without the GIL."""
        return self._run(feeds, self._library.long.TF_SessionRun, None)

    def run_inline(self, feeds: Sequence[Array]) -> list[Array]:
        """Run in the calling thread, with the GIL."""
        options = ctypes.addressof(self._in_caller)
        return self._run(feeds, self._library.quick.TF_SessionRun, options)

    def close(self) -> None:
        """Free the frames."""
        while self._frames:
            self._library.quick.TF_DeleteStatus(self._frames.pop().status)

    def _run(
        self, feeds: Sequence[Array], session_run: Callable[..., None], options: int | None
    ) -> list[Array]:
        library = self._library
        quick = library.quick
        try:
            frame = self._frames.pop()
        except IndexError:
            frame = self._new_frame()
        values, results, status = frame.input_values, frame.output_values, frame.status
        fed = fetched = 0
        try:
            for array, dtype in zip(feeds, self._dtypes, strict=True):
                values[fed] = to_tensor(library, array, status, dtype)
                fed += 1
            session_run(
                *(self._session, options),
                *(self._inputs, values, fed),
                *(self._outputs, results, len(results)),
                *(None, 0, None, status),
            )
            if quick.TF_GetCode(status):
                library.check(status)
            fetched = len(results)
            return [from_tensor(library, tensor) for tensor in results]
        finally:
            for index in range(fed):
                quick.TF_DeleteTensor(values[index])
            for index in range(fetched):
                quick.TF_DeleteTensor(results[index])
            self._frames.append(frame)

    def _new_frame(self) -> _Frame:
        return _Frame(
            status=self._library.quick.TF_NewStatus(),
            input_values=(c_void_p * len(self._inputs))(),
            output_values=(c_void_p * len(self._outputs))(),
        )


class SavedModel:
    """One loaded SavedModel: see `salver.model.Model`."""

    def __init__(
        self,
        library: Library,
        graph: int,
        session: int,
        signatures: Mapping[str, Signature],
        signature_def_map: bytes,
        *,
        can_loop: bool,
    ) -> None:
        self._can_loop = can_loop
        self.signatures = signatures
        self.signature_def_map = signature_def_map
        self._library = library
        self._graph = graph
        self._session = session
        self._programs: dict[tuple[tuple[str, ...], tuple[str, ...]], SavedModelProgram] = {}

    def program(self, feeds: Sequence[str], fetches: Sequence[str]) -> SavedModelProgram:
        """See `Model.program`; the same names give the same program."""
        key = (tuple(feeds), tuple(fetches))
        program = self._programs.get(key)
        if program is None:
            made = SavedModelProgram(
                self._library,
                self._session,
                [self._output(name) for name in feeds],
                [self._output(name) for name in fetches],
                can_loop=self._can_loop,
            )
            program = self._programs.setdefault(key, made)  # another thread may have been first
        return program

    def close(self) -> None:
        """See `Model.close`. Errors are not raised: what can be freed is freed regardless."""
        quick, long = self._library.quick, self._library.long
        status = quick.TF_NewStatus()
        for program in self._programs.values():
            program.close()
        long.TF_CloseSession(self._session, status)
        long.TF_DeleteSession(self._session, status)
        long.TF_DeleteGraph(self._graph)
        quick.TF_DeleteStatus(status)

    def _output(self, tensor_name: str) -> Output:
        # TensorId::Parse: "x:1" is output 1 of x, "x" is output 0.
        name, colon, index = tensor_name.rpartition(":")
        if not colon:
            name, index = tensor_name, "0"
        operation = self._library.quick.TF_GraphOperationByName(self._graph, name.encode())
        known = operation and index.isdecimal()
        if not known or int(index) >= self._library.quick.TF_OperationNumOutputs(operation):
            raise InvalidArgument(
                f"Tensor {name}:{index}, specified in either feed_devices or fetch_devices "
                "was not found in the Graph"
            )
        return Output(operation, int(index))


def load_saved_model(
    library: Library, directory: str, *, tags: Sequence[str], session_config: bytes
) -> SavedModel:
    """Load one variant of a SavedModel: restore variables, assets and tables, run its init ops.

    Args:
        library: the C API.
        directory: of one version.
        tags: the tag set must equal this.
        session_config: a serialized `tensorflow.ConfigProto`.

    Raises:
        ServingError: with TensorFlow's code and text.
    """
    meta_graph = meta_graph_with_tags(read_meta_graphs(directory), tags, directory)
    has_loops = can_loop(directory)
    quick = library.quick
    status, options, graph = quick.TF_NewStatus(), quick.TF_NewSessionOptions(), quick.TF_NewGraph()
    tag_array = (c_char_p * len(tags))(*[tag.encode() for tag in tags])
    try:
        quick.TF_SetConfig(options, session_config, len(session_config), status)
        library.check(status)
        session = library.long.TF_LoadSessionFromSavedModel(
            *(options, None, os.fsencode(directory)),
            *(tag_array, len(tags), graph, None, status),
        )
        library.check(status)
    except Exception:
        quick.TF_DeleteGraph(graph)
        raise
    finally:
        quick.TF_DeleteSessionOptions(options)
        quick.TF_DeleteStatus(status)
    return SavedModel(
        *(library, graph, session, meta_graph.signatures, meta_graph.signature_def_map),
        can_loop=has_loops,
    )
