"""PyTorch's modules and exported programs → `model.pt2`, by `torch.export`."""

import inspect
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import fields, is_dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Final

from salver.errors import InvalidArgument
from salver.exporting.asked import Asked, Made, bases

__all__ = ["export_torch", "is_torch"]

_LONGEST_ERROR: Final = 1500
_HOW: Final = (
    "torch.export takes a module whose way does not depend on the values in its tensors: rewrite "
    "the branch by torch.cond or torch.where, or serve the module from a Python model (model.py)."
)
_OWN_STACK: Final = (
    "\nException raised from ",
    "\nCaused by: ",
    "\nFor more information",
    "\n\nfrom user code",
    "\n\nUser Stack",
)
_TALKATIVE: Final = "torch.fx.experimental.symbolic_shapes"
_EXAMPLE: Final = (
    "Give an example of them: inputs={'x': numpy.zeros((1, 4), 'float32')}, by the names of the "
    "arguments of forward, or a tuple in their order."
)


def is_torch(model: Any) -> bool:
    """Whether it is a module, TorchScript among them, or an exported program."""
    return any(kind.__name__ in ("Module", "ExportedProgram") for kind in bases(model, "torch"))


def export_torch(model: Any, directory: Path, asked: Asked) -> Made:
    """Write a program; of TorchScript, `model.pt`.

    Axis 0 of every tensor is rows, whose number is left open where the module allows it.

    Raises:
        InvalidArgument: there is no example of its inputs, or it cannot be exported: in PyTorch's
            words.
    """
    torch = sys.modules["torch"]
    kinds = {kind.__name__ for kind in bases(model, "torch")}
    if "ScriptModule" in kinds:
        _written(lambda: model.save(str(directory / "model.pt")))
        return Made()
    warnings: tuple[str, ...] = ()
    if "ExportedProgram" in kinds:
        program = model
    else:
        program, warnings = _program(torch, model, asked.inputs)
    _written(lambda: _save(torch, program, directory / "model.pt2"))
    return Made(warnings=warnings)


def _save(torch: Any, program: Any, path: Path) -> None:
    """Without the example it was exported with: that may be large, and somebody's data."""
    example = program.example_inputs
    program.example_inputs = None
    try:
        torch.export.save(program, str(path))
    finally:
        program.example_inputs = example


def _written(write: Callable[[], Any]) -> None:
    try:
        write()
    except Exception as error:  # PyTorch's own words are the best there are
        raise InvalidArgument(f"PyTorch cannot write the model: {_said(error)}") from error


def _program(torch: Any, module: Any, inputs: Any) -> tuple[Any, tuple[str, ...]]:
    """The exported module, and what the caller should know of it."""
    arguments, named = _arguments(torch, module, inputs)
    with _evaluated(module), _quiet(), torch.no_grad():
        _check_runs(module, arguments, named)
        with _plain_outputs(module):
            failures: list[Exception] = []
            for example in _examples(torch, (arguments, named)):
                try:
                    program = _exported(torch, module, *example)
                except Exception as error:  # noqa: BLE001, PERF203 - whatever PyTorch meets
                    failures.append(error)
                else:
                    return program, _fixed(program)
    text = f"PyTorch cannot export the module: {_said(failures[-1])}"
    raise InvalidArgument(text, hint=_HOW) from failures[-1]


def _arguments(torch: Any, module: Any, inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The example, by place and by name.

    Raises:
        InvalidArgument: there is none, or it does not fit `forward`.
    """
    if inputs is None:
        raise InvalidArgument("A PyTorch module does not say what it takes", hint=_EXAMPLE)
    if isinstance(inputs, Mapping):
        arguments: tuple[Any, ...] = ()
        named = {str(name): _tensors(torch, value) for name, value in inputs.items()}
    else:
        several = inputs if isinstance(inputs, (tuple, list)) else (inputs,)
        arguments = tuple(_tensors(torch, value) for value in several)
        named = {}
    try:
        bound = inspect.signature(module.forward).bind(*arguments, **named)
    except TypeError as error:
        raise InvalidArgument(f"inputs do not fit forward: {error}", hint=_EXAMPLE) from None
    return tuple(bound.args), dict(bound.kwargs)


def _tensors(torch: Any, value: Any) -> Any:
    """The same with tensors in place of arrays."""
    if isinstance(value, torch.Tensor):
        return value.detach()
    if isinstance(value, Mapping):
        return {key: _tensors(torch, of) for key, of in value.items()}
    if type(value) in (tuple, list):
        return type(value)(_tensors(torch, of) for of in value)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    try:
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        kind = type(value).__name__
        raise InvalidArgument(f"An example of an input is a {kind}: {_said(error)}") from None


@contextmanager
def _evaluated(module: Any) -> Iterator[None]:
    """The module as it predicts: no dropout. Afterwards it is as it was."""
    training = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, was in training:
            part.training = was


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the graphs that PyTorch prints where it cannot follow one: the error says enough."""
    log = logging.getLogger(_TALKATIVE)
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with redirect_stderr(StringIO()):
            yield
    finally:
        log.setLevel(level)


def _check_runs(module: Any, arguments: Sequence[Any], named: Mapping[str, Any]) -> None:
    try:
        module(*arguments, **named)
    except Exception as error:  # the module's own words
        raise InvalidArgument(f"The module does not run with inputs: {_said(error)}") from error


@contextmanager
def _plain_outputs(module: Any) -> Iterator[None]:
    """Have the module return dicts for named tuples and the like, which no program can hold."""
    hook = module.register_forward_hook(lambda _module, _given, answer: _plain(answer))
    try:
        yield
    finally:
        hook.remove()


def _plain(value: Any) -> Any:
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {name: _plain(of) for name, of in zip(value._fields, value, strict=True)}
    if isinstance(value, Mapping):  # what Hugging Face's models return is one
        return {str(key): _plain(of) for key, of in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if type(value) in (tuple, list):
        return type(value)(_plain(of) for of in value)
    return value


def _examples(torch: Any, example: Any) -> Iterator[tuple[tuple[Any, ...], dict[str, Any], bool]]:
    """Examples to export with, and whether the number of rows is to be left open.

    One row would be taken for the only number there may ever be; so two are tried first.
    """
    arguments, named = example
    rows = {of.shape[0] for of in _all_tensors(torch, example) if of.dim()}
    if rows == {1}:
        doubled = _with_rows(torch, example)
        yield *doubled, True
    yield arguments, named, True
    yield arguments, named, False


def _with_rows(torch: Any, value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return torch.cat([value, value]) if value.dim() else value
    if isinstance(value, Mapping):
        return {key: _with_rows(torch, of) for key, of in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(_with_rows(torch, of) for of in value)
    return value


def _all_tensors(torch: Any, value: Any) -> Iterator[Any]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (Mapping, tuple, list)):
        for of in value.values() if isinstance(value, Mapping) else value:
            yield from _all_tensors(torch, of)


def _exported(torch: Any, module: Any, arguments: Any, named: dict[str, Any], is_open: bool) -> Any:
    shapes = None
    if is_open:
        bound = inspect.signature(module.forward).bind(*arguments, **named)
        shapes = {name: _open_rows(torch, of) for name, of in bound.arguments.items()}
    return torch.export.export(module, arguments, named, dynamic_shapes=shapes)


def _open_rows(torch: Any, value: Any) -> Any:
    """What `dynamic_shapes` says of an argument: axis 0 is any that the module allows."""
    if isinstance(value, torch.Tensor):
        return {0: torch.export.Dim.AUTO} if value.dim() else None
    if isinstance(value, Mapping):
        return {key: _open_rows(torch, of) for key, of in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(_open_rows(torch, of) for of in value)
    return None


def _fixed(program: Any) -> tuple[str, ...]:
    """A warning where the number of rows is not open."""
    taken = set(program.graph_signature.user_inputs)
    shapes = {
        node.name: node.meta["val"].shape
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in taken and hasattr(node.meta["val"], "shape")
    }
    # A size that was open, and turned out to be fixed, is a symbol that stands for a number.
    fixed = {name: of[0] for name, of in shapes.items() if len(of) and str(of[0]).isdigit()}
    if not fixed or len(fixed) < sum(1 for of in shapes.values() if len(of)):
        return ()
    name, rows = next(iter(fixed.items()))
    return (f"The module takes {name} with {rows} along axis 0 alone: requests are not batched",)


def _said(error: BaseException) -> str:
    """The first paragraphs of what PyTorch says: more is its own stack."""
    text = str(error).strip() or type(error).__name__
    for sign in _OWN_STACK:
        text = text.partition(sign)[0]
    return text if len(text) <= _LONGEST_ERROR else f"{text[:_LONGEST_ERROR]} …"
