"""A model compiled by OpenVINO, and the programs that run in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from salver.errors import Internal, InvalidArgument
from salver.vocabulary.dtypes import DataType, dtype_of_array, numpy_dtype
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import DEFAULT_SIGNATURE, Signature, TensorSpec

__all__ = ["OpenVINOModel", "Port", "short_error"]

_LONGEST: Final = 600


def short_error(error: Exception) -> str:
    """What OpenVINO says, without the places in its source."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith("Exception from ")]
    return " ".join(told)[:_LONGEST] or type(error).__name__


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output: what we call it, and which it is of the compiled model's."""

    name: str
    spec: TensorSpec
    index: int


class OpenVINOModel:
    """See `salver.vocabulary.model.Model`."""

    definitions = None
    batching = None
    graph = None

    def __init__(
        self,
        library: Any,
        compiled: Any,
        inputs: Sequence[Port],
        outputs: Sequence[Port],
        *,
        can_loop: bool,
    ) -> None:
        """Take over a compiled model, and make one request so that a load fails if none can be."""
        self._library = library
        self._compiled = compiled
        self._inputs = sorted(inputs, key=lambda each: each.name)
        self._outputs = {each.name: each for each in sorted(outputs, key=lambda each: each.name)}
        self._can_loop = can_loop
        self._blanks = [self._blank(each) for each in self._inputs]
        self._idle: list[Any] = [compiled.create_infer_request()]  # append and pop are atomic
        self.signatures: Mapping[str, Signature] = {
            DEFAULT_SIGNATURE: Signature(
                {each.name: each.spec for each in self._inputs},
                {name: each.spec for name, each in self._outputs.items()},
            )
        }

    def program(
        self, signature_name: str, outputs: Sequence[str] | None = None
    ) -> "OpenVINOProgram":
        """See `Model.program`."""
        if signature_name != DEFAULT_SIGNATURE:
            raise InvalidArgument(f"There is no signature {signature_name}")
        wanted = list(self._outputs if outputs is None else outputs)
        for name in wanted:
            if name not in self._outputs:
                raise InvalidArgument(f"Signature {signature_name} has no output {name}")
        ports = [self._outputs[name] for name in wanted]
        program = OpenVINOProgram(self, self._inputs, ports)
        program.can_loop = self._can_loop
        return program

    def close(self) -> None:
        """See `Model.close`."""
        self._idle.clear()
        self._compiled = None

    def run(self, feeds: Sequence[Array], inputs: Sequence[Port], outputs: Sequence[Port]) -> Any:
        """Run in a request of its own; OpenVINO gives up the GIL meanwhile.

        Raises:
            Internal: OpenVINO refuses, with its words.
        """
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        try:
            for array, port in zip(feeds, inputs, strict=True):
                request.set_input_tensor(port.index, self._tensor(array, port.spec.dtype))
            request.infer()
            return [self._array(request, port) for port in outputs]
        except RuntimeError as error:
            raise Internal(f"OpenVINO: {short_error(error)}") from error
        finally:
            for port, blank in zip(inputs, self._blanks, strict=True):
                request.set_input_tensor(port.index, blank)  # it keeps no values of a client
            self._idle.append(request)

    def _tensor(self, array: Array, dtype: DataType) -> Any:
        tensor = self._library.Tensor
        if dtype is DataType.STRING:
            return tensor(np.array([bytes(each) for each in array.ravel()] or [b""], np.bytes_)
                          .reshape(array.shape))  # fmt: skip
        if dtype is DataType.BFLOAT16:
            return tensor(array.view(np.int16), list(array.shape), self._library.Type.bf16)
        # It is read until the run ends, and whoever called keeps it for so long.
        return tensor(array if array.flags.aligned else array.copy(), shared_memory=True)

    def _array(self, request: Any, port: Port) -> Array:
        """A copy: the next run of the request writes over the same memory."""
        tensor = request.get_output_tensor(port.index)
        if port.spec.dtype is DataType.STRING:
            texts = np.empty(tensor.size, object)
            texts[:] = [bytes(each) for each in tensor.bytes_data.ravel()]
            return texts.reshape(tuple(tensor.shape))
        wanted = numpy_dtype(port.spec.dtype)
        data = tensor.data
        same: Array = data if data.dtype == wanted else data.view(wanted)
        return same.copy()

    def _blank(self, port: Port) -> Any:
        """A tensor of no rows; of all, where their number is fixed."""
        shape = [max(size, 0) for size in port.spec.shape or ()]
        dtype = numpy_dtype(port.spec.dtype)
        blank = np.full(shape, b"", object) if dtype.hasobject else np.zeros(shape, dtype)
        return self._tensor(blank, port.spec.dtype)


class OpenVINOProgram:
    """Some outputs of a model. Thread-safe: each run has a request of its own."""

    can_loop = False

    def __init__(
        self, model: OpenVINOModel, inputs: Sequence[Port], outputs: Sequence[Port]
    ) -> None:
        self._model = model
        self._inputs = inputs
        self._outputs = outputs
        self._dtypes = [numpy_dtype(port.spec.dtype) for port in inputs]

    def run(self, feeds: Sequence[Array]) -> list[Array]:
        """See `Program.run`."""
        for array, port, dtype in zip(feeds, self._inputs, self._dtypes, strict=True):
            if array.dtype != dtype:
                given = dtype_of_array(array.dtype).name
                raise InvalidArgument(
                    f"Input {port.name} must be {port.spec.dtype.name}, not {given}"
                )
            if not _fits(array.shape, port.spec.shape):
                wanted = list(port.spec.shape or ())
                raise InvalidArgument(
                    f"Input {port.name} must have shape {wanted}, not {list(array.shape)}"
                )
        outputs: list[Array] = self._model.run(feeds, self._inputs, self._outputs)
        return outputs

    run_in_caller = run
    run_inline = run


def _fits(sizes: tuple[int, ...], shape: tuple[int, ...] | None) -> bool:
    return shape is None or (
        len(sizes) == len(shape)
        and all(want in (-1, size) for size, want in zip(sizes, shape, strict=True))
    )
