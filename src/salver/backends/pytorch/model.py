"""A loaded PyTorch model, and the programs that run its functions."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final

from salver.backends.pytorch.leaves import Constant, Interface, Leaf
from salver.backends.pytorch.tensors import array_of, check_feeds, value_of
from salver.errors import Internal, InvalidArgument, ResourceExhausted, ServingError
from salver.vocabulary.model import Program
from salver.vocabulary.requests import Array

__all__ = ["Function", "PyTorchModel", "Runtime", "leaves_in", "said"]

_LONGEST_ERROR: Final = 2000
_NO_MEMORY: Final = ("can't allocate memory", "out of memory")
# How PyTorch refuses inputs. All of these are of the model's own making as well: nothing tells.
_OF_INPUTS: Final = (RuntimeError, AssertionError, IndexError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class Runtime:
    """How programs are run.

    Attributes:
        torch: PyTorch's module.
        device: of tensors; None for the CPU.
        mode: makes what a run happens in: no gradients.
    """

    torch: Any
    device: Any
    mode: Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True, slots=True)
class Function:
    """A function of a model.

    Attributes:
        interface: what it takes and gives.
        call: takes the leaves of the inputs, constants among them, and gives those of the outputs.
    """

    interface: Interface
    call: Callable[[Sequence[Any]], Sequence[Any]]


class PyTorchModel:
    """See `salver.vocabulary.model.Model`."""

    definitions = None
    batching = None
    graph = None

    def __init__(self, functions: Mapping[str, Function], runtime: Runtime) -> None:
        """Take over what is loaded.

        Args:
            functions: signature name → what runs it.
            runtime: how.
        """
        self._functions = dict(functions)
        self._runtime = runtime
        self.signatures = {name: of.interface.signature for name, of in functions.items()}

    def program(self, signature_name: str, outputs: Sequence[str] | None = None) -> Program:
        """See `Model.program`."""
        return _Program(self._functions[signature_name], outputs, self._runtime)

    def close(self) -> None:
        """See `Model.close`."""
        self._functions.clear()


class _Program:
    """See `salver.vocabulary.model.Program`. PyTorch gives up the GIL while it computes."""

    can_loop = True

    def __init__(self, function: Function, outputs: Sequence[str] | None, runtime: Runtime) -> None:
        interface = function.interface
        self._call = function.call
        self._runtime = runtime
        self._leaves = interface.fed
        self._inputs = interface.inputs
        self._changes_inputs = interface.changes_inputs
        at = {of.name: number for number, of in enumerate(interface.outputs) if of is not None}
        wanted = interface.given if outputs is None else outputs
        self._count = len(interface.outputs)
        self._outputs = [(at[name], name) for name in wanted]

    def run(self, feeds: Sequence[Array]) -> list[Array]:
        """Run in this thread, and in PyTorch's own for large operations."""
        arrays = dict(zip(self._leaves, feeds, strict=True))
        check_feeds(arrays, self._leaves)
        torch = self._runtime.torch
        try:
            with self._runtime.mode():
                values = [self._value(arrays, of) for of in self._inputs]
                results = self._call(values)
                if len(results) != self._count:
                    raise Internal(
                        f"The model has returned {len(results)} values in place of {self._count}"
                    )
                return [array_of(torch, results[number], name) for number, name in self._outputs]
        except ServingError:
            raise
        except _OF_INPUTS as error:
            raise _translated(error) from error

    run_in_caller = run
    run_inline = run

    def _value(self, arrays: Mapping[str, Array], of: Leaf | Constant) -> Any:
        if isinstance(of, Constant):
            return of.value
        runtime = self._runtime
        return value_of(
            *(runtime.torch, arrays[of.name], of, runtime.device),
            is_copied=self._changes_inputs,
        )


def leaves_in(value: Any) -> list[tuple[tuple[str | int, ...], Any]]:
    """The leaves of what a function has returned, with their paths, in their order."""
    if isinstance(value, Mapping):
        return [
            ((str(key), *path), leaf) for key, of in value.items() for path, leaf in leaves_in(of)
        ]
    if isinstance(value, (tuple, list)):
        return [
            ((number, *path), leaf)
            for number, of in enumerate(value)
            for path, leaf in leaves_in(of)
        ]
    return [((), value)]


def said(error: BaseException) -> str:
    """What PyTorch says in an error, without where in its own source that is."""
    text = str(error).partition("\nException raised from ")[0].rstrip()
    _, _, behind = text.rpartition("\nRuntimeError: ")  # of TorchScript, behind its own traceback
    text = (behind or text).strip()
    if len(text) > _LONGEST_ERROR:
        text = f"{text[:_LONGEST_ERROR]} …"
    return text or type(error).__name__


def _translated(error: Exception) -> ServingError:
    text = said(error)
    if any(sign in text for sign in _NO_MEMORY):
        return ResourceExhausted(f"PyTorch has no memory for this request: {text}")
    return InvalidArgument(f"PyTorch cannot run the model with these inputs: {text}")
