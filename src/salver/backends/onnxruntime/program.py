"""Some outputs of a session, run with all its inputs.

A run of small arrays is bound: inputs are copied to, and outputs from, arrays that lie in a
binding of ONNX Runtime's for their shapes, so that a run is one call. Making and freeing values,
and asking for the shapes of outputs, takes longer than such a run itself. All other runs feed the
arrays where they are, and take the outputs as they come; so do those whose outputs turn out to
have other shapes than the model declares.
"""

from collections.abc import Callable, Mapping, Sequence
from ctypes import addressof, c_char_p, c_void_p
from math import prod
from typing import Final

import numpy as np

from salver.backends.onnxruntime.session import Releasable, Session
from salver.backends.onnxruntime.tensors import SHORT_BYTES, from_value, to_value
from salver.backends.onnxruntime.value_types import Value
from salver.vocabulary.dtypes import DataType, numpy_dtype
from salver.vocabulary.requests import Array

__all__ = ["OnnxProgram"]

_MOST_SHAPES: Final = 16  # for which there are bindings
_MOST_DIMENSIONS: Final = 32  # that any numpy has
_NEVER_BOUND: Final = frozenset({DataType.STRING, DataType.INT4, DataType.UINT4})

Shapes = tuple[tuple[int, ...], ...]


class _Bound(Releasable):
    """A binding with the arrays it is of.

    Attributes:
        address: of the `OrtIoBinding`.
        inputs: in the order of the program.
        outputs: likewise.
    """

    def __init__(
        self,
        session: Session,
        inputs: Sequence[tuple[bytes, Array]],
        outputs: Sequence[tuple[bytes, Array]],
    ) -> None:
        library, quick = session.library, session.library.quick
        self.address = c_void_p(None)
        self._release_binding, self._release_value = quick.ReleaseIoBinding, quick.ReleaseValue
        self._values: list[int] = []
        self.inputs = [array for _, array in inputs]
        self.outputs = [array for _, array in outputs]
        self.address = c_void_p(library.made(quick.CreateIoBinding, session.address))
        session.made.add(self)
        for bind, named in ((quick.BindInput, inputs), (quick.BindOutput, outputs)):
            for name, array in named:
                value, _ = to_value(library, array)
                self._values.append(value)
                library.check(bind(self.address, name, value))

    def release(self) -> None:
        """See `Releasable`."""
        address, self.address = self.address, c_void_p(None)
        if address.value:
            self._release_binding(address)
        while self._values:
            self._release_value(self._values.pop())

    __del__ = release


class _Shaped:
    """The bindings of one program for one set of shapes.

    Attributes:
        free: those that nobody runs; append and pop are atomic.
        outputs: shapes; None where no run is bound.
    """

    __slots__ = ("free", "outputs")

    def __init__(self, outputs: Shapes | None) -> None:
        self.free: list[_Bound] = []
        self.outputs = outputs


class OnnxProgram:
    """See `salver.vocabulary.model.Program`. Each run has a binding of its own."""

    def __init__(
        self,
        session: Session,
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        *,
        can_loop: bool,
    ) -> None:
        """Resolve the names.

        Args:
            session: runs it.
            inputs: all of the graph.
            outputs: those wanted.
            can_loop: whether the graph has loops.
        """
        self.can_loop = can_loop
        self._session = session
        self._inputs = inputs
        self._outputs = outputs
        self._input_names = [each.name.encode() for each in inputs]
        self._output_names = [each.name.encode() for each in outputs]
        self._c_inputs = (c_char_p * len(inputs))(*self._input_names)
        self._c_outputs = (c_char_p * len(outputs))(*self._output_names)
        self._dtypes = [numpy_dtype(each.dtype) for each in inputs]
        self._shaped: dict[Shapes, _Shaped] = {}
        self._rows = _fixed_rows(inputs, outputs)
        given = {each.name for each in inputs}
        self._may_bind = all(
            each.kind == "tensor" and each.dtype not in _NEVER_BOUND for each in (*inputs, *outputs)
        ) and not any(each.name in given for each in outputs)

    def run(self, feeds: Sequence[Array]) -> list[Array]:
        """Run without the GIL, in this thread and those that models share."""
        session = self._session
        library = session.library
        options = session.begin(feeds)
        try:
            return self._run(feeds, library.long_run, library.long.Run, options)
        finally:
            session.end(feeds, options)

    run_in_caller = run

    def run_inline(self, feeds: Sequence[Array]) -> list[Array]:
        """Run with the GIL."""
        session = self._session
        library = session.library
        return self._run(feeds, library.quick_run, library.quick.Run, session.inline_options)

    def _run(
        self,
        feeds: Sequence[Array],
        run_bound: Callable[..., int | None],
        run: Callable[..., int | None],
        options: c_void_p,
    ) -> list[Array]:
        shapes = tuple([array.shape for array in feeds])
        shaped = self._shaped.get(shapes)
        if shaped is None:
            if self._rows and (parts := _parts(feeds, self._rows)):
                several = [self._run(part, run_bound, run, options) for part in parts]
                return [np.concatenate(each) for each in zip(*several, strict=True)]
            shaped = self._new_shaped(shapes)
        if shaped.outputs is not None:
            outputs = self._run_bound(feeds, shapes, shaped, run_bound, options)
            if outputs is not None:
                return outputs
        return self._run_as_they_are(feeds, run, options)

    # -- bound -------------------------------------------------------------------------------------

    def _run_bound(
        self,
        feeds: Sequence[Array],
        shapes: Shapes,
        shaped: _Shaped,
        run: Callable[..., int | None],
        options: c_void_p,
    ) -> list[Array] | None:
        """Run; None where that has to be done otherwise, if only to be told what is wrong."""
        try:
            bound = shaped.free.pop()
        except IndexError:
            bound = self._bind(shapes, shaped.outputs or ())
        for place, array in zip(bound.inputs, feeds, strict=True):
            if array.dtype is not place.dtype and array.dtype != place.dtype:
                shaped.free.append(bound)
                return None
            place[...] = array
        status = run(self._session.address_argument, options, bound.address)
        if status is None:
            outputs = [each.copy() for each in bound.outputs]
            shaped.free.append(bound)
            return outputs
        shaped.free.append(bound)
        self._session.library.error(status)  # perhaps an output has another shape
        return None

    def _new_shaped(self, shapes: Shapes) -> _Shaped:
        """Remember shapes, and whether their runs are bound."""
        outputs = self._bound_shapes(shapes) if self._may_bind else None
        shaped = _Shaped(outputs)
        if outputs is not None:
            while len(self._shaped) >= _MOST_SHAPES:  # another thread may do so too
                self._shaped.pop(next(iter(self._shaped), ()), None)
            self._shaped[shapes] = shaped
        return shaped

    def _bound_shapes(self, shapes: Shapes) -> Shapes | None:
        """The shapes of the outputs, if the model declares them and all is small."""
        sizes: dict[str, int] = {}
        for value, shape in zip(self._inputs, shapes, strict=True):
            if value.dims is None or len(value.dims) != len(shape):
                return None
            for dim, size in zip(value.dims, shape, strict=True):
                wanted = dim if isinstance(dim, int) else sizes.setdefault(dim, size)
                if dim != "" and wanted != size:
                    return None
        sizes.pop("", None)
        outputs = tuple([_resolved(each, sizes) for each in self._outputs])
        known = [each for each in outputs if each is not None]
        if len(known) < len(outputs):
            return None
        for shape, value in zip((*shapes, *known), (*self._inputs, *self._outputs), strict=True):
            n_bytes = prod(shape) * numpy_dtype(value.dtype).itemsize
            if not 0 < n_bytes < SHORT_BYTES or len(shape) > _MOST_DIMENSIONS:
                return None
        return tuple(known)

    def _bind(self, shapes: Shapes, outputs: Shapes) -> _Bound:
        return _Bound(
            self._session,
            [
                (name, np.empty(shape, dtype))
                for name, shape, dtype in zip(self._input_names, shapes, self._dtypes, strict=True)
            ],
            [
                (name, np.empty(shape, numpy_dtype(value.dtype)))
                for name, shape, value in zip(
                    self._output_names, outputs, self._outputs, strict=True
                )
            ],
        )

    # -- as they are -------------------------------------------------------------------------------

    def _run_as_they_are(
        self, feeds: Sequence[Array], run: Callable[..., int | None], options: c_void_p
    ) -> list[Array]:
        session = self._session
        library = session.library
        release = library.quick.ReleaseValue
        fed = (c_void_p * len(feeds))()
        given = (c_void_p * len(self._outputs))()
        kept = []
        try:
            for index, array in enumerate(feeds):
                fed[index], held = to_value(library, array)
                kept.append(held)
            library.check(
                run(
                    *(session.address, options, addressof(self._c_inputs), addressof(fed)),
                    *(len(feeds), addressof(self._c_outputs), len(given), addressof(given)),
                )
            )
            outputs = []
            arrays = [each for each in kept if isinstance(each, np.ndarray)]
            for index, value in enumerate(given):
                given[index] = None  # it is no longer ours
                outputs.append(from_value(library, value, arrays))
            return outputs
        finally:
            for value in (*fed, *given):
                release(value)


def _resolved(value: Value, sizes: Mapping[str, int]) -> tuple[int, ...] | None:
    """The shape of an output, if its symbols are known."""
    shape: list[int] = []
    for dim in ("",) if value.dims is None else value.dims:
        size = sizes.get(dim) if isinstance(dim, str) else dim
        if size is None:
            return None
        shape.append(size)
    return tuple(shape)


# -- rows ------------------------------------------------------------------------------------------


def _fixed_rows(inputs: Sequence[Value], outputs: Sequence[Value]) -> int:
    """How many rows the model takes and gives, if that is fixed; else 0."""
    first = {each.dims[0] if each.dims else "" for each in (*inputs, *outputs)}
    rows = first.pop() if len(first) == 1 and inputs and outputs else 0
    return rows if isinstance(rows, int) else 0


def _parts(feeds: Sequence[Array], rows: int) -> list[list[Array]]:
    """What is fed in several runs, if it is several times the rows of the model."""
    given = {len(array) if array.ndim else 0 for array in feeds}
    number = given.pop() if len(given) == 1 else 0
    if number <= rows or number % rows:
        return []
    return [[array[at : at + rows] for array in feeds] for at in range(0, number, rows)]
