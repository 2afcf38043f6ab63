"""Files of PyTorch → models: each kind by the loader that PyTorch has for it."""

import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np

from salver.backends.protocol import LoadStage
from salver.backends.pytorch.archive import Archive, open_archive
from salver.backends.pytorch.compiled import is_compiled, read_compiled
from salver.backends.pytorch.declared import parse_leaves
from salver.backends.pytorch.exported import DEFAULT_PROGRAM, has_program, read_programs
from salver.backends.pytorch.leaves import Constant, Interface, Leaf, output_names
from salver.backends.pytorch.model import Function, PyTorchModel, Runtime, leaves_in, said
from salver.backends.pytorch.options import PyTorchOptions
from salver.backends.pytorch.tensors import array_of, value_of
from salver.backends.pytorch.torchscript import check_is_script, script_inputs, script_outputs
from salver.errors import FailedPrecondition, InvalidArgument, ServingError
from salver.vocabulary.dtypes import DataType, dtype_of_array, numpy_dtype
from salver.vocabulary.model import ModelInfo
from salver.vocabulary.signature import DEFAULT_SIGNATURE

__all__ = ["inspect_file", "load_file"]

_log = logging.getLogger(__name__)

_EXPORTED: Final = ".pt2"
_TRIED_SIZES: Final = (2, 3)
_NOT_DECLARED: Final = (
    "Say them by the option inputs, in the order of the arguments: x: float32[-1, 4], k: int64[]"
)

Call = Callable[[Sequence[Any]], Any]


def inspect_file(path: Path) -> ModelInfo | None:
    """What a file says of itself, without PyTorch; None where only a load tells.

    Raises:
        ServingError: it cannot be read, or is nothing that is served.
    """
    with open_archive(path) as archive:
        if path.suffix != _EXPORTED:
            check_is_script(path, archive)
            return None
        _check_has_model(path, archive)
        if not has_program(archive):
            return None
        programs = _served(archive)
    signatures = {_signature_name(name, programs): of.signature for name, of in programs.items()}
    return ModelInfo(signatures, footprint_bytes=path.stat().st_size)


def load_file(torch: Any, path: Path, options: PyTorchOptions, stage: LoadStage) -> PyTorchModel:
    """Load a file.

    Args:
        torch: PyTorch's module.
        path: of the file.
        options: of the model.
        stage: of the load.

    Raises:
        ServingError: it cannot be loaded.
    """
    runtime = _runtime(torch, options)
    with open_archive(path) as archive:
        if path.suffix != _EXPORTED:
            check_is_script(path, archive)
            functions = None
        else:
            _check_has_model(path, archive)
            functions = _compiled(runtime, path, archive, options) or _exported(
                runtime, path, archive
            )
    stage.check()
    if functions is None:
        functions = _script(runtime, path, options)
    return PyTorchModel(functions, runtime)


def _runtime(torch: Any, options: PyTorchOptions) -> Runtime:
    if options.num_threads < 0:
        raise InvalidArgument(f"num_threads is a number from 0, not {options.num_threads}")
    if options.num_threads:
        torch.set_num_threads(options.num_threads)
    mode = torch.inference_mode if options.inference_mode else torch.no_grad
    if options.device == "cpu":
        return Runtime(torch, None, mode)
    try:
        device = torch.device(options.device)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, ValueError) as error:
        text = f"There is no device {options.device} for PyTorch {torch.__version__}: {said(error)}"
        raise FailedPrecondition(text) from error
    return Runtime(torch, device, mode)


def _check_has_model(path: Path, archive: Archive) -> None:
    if not has_program(archive) and not is_compiled(archive):
        raise FailedPrecondition(
            f"{path} holds no exported program",
            hint="torch.export.save(torch.export.export(model, (example,)), 'model.pt2') makes one",
        )


def _opened(path: Path, torch: Any, load: Callable[[], Any]) -> Any:
    """What PyTorch's own loader makes of a file.

    Raises:
        FailedPrecondition: it does not, in its words.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is deprecated: said by ourselves
            return load()
    except MemoryError:
        raise
    except Exception as error:  # whatever it meets in a file
        text = f"{path} cannot be loaded by PyTorch {torch.__version__}: {said(error)}"
        raise FailedPrecondition(text) from error


# -- exported programs -----------------------------------------------------------------------------


def _served(archive: Archive) -> dict[str, Interface]:
    """The programs of an archive; beside machine code, the one that was compiled."""
    programs = read_programs(archive)
    if is_compiled(archive) and len(programs) > 1:
        raise FailedPrecondition(
            f"A compiled package is served with one program, not {len(programs)}: "
            + ", ".join(programs)
        )
    return programs


def _signature_name(program: str, programs: "dict[str, Interface]") -> str:
    is_default = program == DEFAULT_PROGRAM or len(programs) == 1
    return DEFAULT_SIGNATURE if is_default else program


def _exported(runtime: Runtime, path: Path, archive: Archive) -> dict[str, Function]:
    torch = runtime.torch
    programs = _served(archive)

    def load() -> dict[str, Any]:
        if list(programs) == [DEFAULT_PROGRAM]:
            return {DEFAULT_PROGRAM: torch.export.load(str(path))}
        package = import_module("torch.export.pt2_archive._package")
        found: dict[str, Any] = package.load_pt2(str(path)).exported_programs
        return found

    loaded = _opened(path, torch, load)
    functions = {}
    for name, interface in programs.items():
        call = _opened(path, torch, partial(_module_call, runtime, loaded[name]))
        functions[_signature_name(name, programs)] = Function(interface, call)
    return functions


def _module_call(runtime: Runtime, exported: Any) -> Call:
    """What runs an exported program, by the leaves of its arguments and results."""
    if runtime.device is not None:
        move = import_module("torch.export.passes").move_to_device_pass
        exported = move(exported, runtime.device)
    tree = import_module("torch.utils._pytree")
    takes = exported.call_spec.in_spec
    module = exported.module()

    def call(values: Sequence[Any]) -> Any:
        arguments, named = tree.tree_unflatten(list(values), takes)
        return tree.tree_leaves(module(*arguments, **named))

    return call


# -- what says less of itself ----------------------------------------------------------------------


def _compiled(
    runtime: Runtime, path: Path, archive: Archive, options: PyTorchOptions
) -> dict[str, Function] | None:
    """A package of AOTInductor; None where there is no machine code."""
    if not is_compiled(archive):
        return None
    torch = runtime.torch
    interface = next(iter(_served(archive).values())) if has_program(archive) else None
    source = None if interface is not None else read_compiled(archive)
    declared = parse_leaves(options.inputs)
    if interface is None and source is None and not declared:
        raise FailedPrecondition(
            f"{path} does not say what it takes: it has neither the program nor its C++ source",
            hint=_NOT_DECLARED,
        )

    def load() -> Any:
        index = -1 if runtime.device is None else runtime.device.index or 0
        return import_module("torch._inductor").aoti_load_package(str(path), device_index=index)

    package = _opened(path, torch, load)
    if interface is not None:
        inputs: tuple[Leaf | Constant, ...] = interface.inputs
    else:
        inputs = declared or (source.inputs if source is not None else ())
    tensors = [n for n, of in enumerate(inputs) if isinstance(of, Leaf) and of.number is None]

    def call(values: Sequence[Any]) -> Any:
        return package.loader.boxed_run([values[number] for number in tensors])

    if interface is None:
        names = list(source.outputs) if source is not None else None
        interface = _observed(runtime, inputs, call, names, options)
    # Those outputs that are no tensors are not returned.
    outputs = tuple(of for of in interface.outputs if of is not None and of.number is None)
    return {DEFAULT_SIGNATURE: Function(replace(interface, outputs=outputs), call)}


def _script(runtime: Runtime, path: Path, options: PyTorchOptions) -> dict[str, Function]:
    torch = runtime.torch
    where = runtime.device or "cpu"
    module = _opened(path, torch, lambda: torch.jit.load(str(path), map_location=where).eval())
    _log.warning(
        "%s is TorchScript, which PyTorch has deprecated: export it anew with torch.export", path
    )
    inputs = script_inputs(module, parse_leaves(options.inputs))

    def call(values: Sequence[Any]) -> Any:
        return [leaf for _, leaf in leaves_in(module(*values))]

    interface = _observed(runtime, inputs, call, script_outputs(module), options, module)
    return {DEFAULT_SIGNATURE: Function(interface, call)}


def _observed(
    runtime: Runtime,
    inputs: "tuple[Leaf | Constant, ...]",
    call: Call,
    names: list[str] | None,
    options: PyTorchOptions,
    module: Any = None,
) -> Interface:
    """What a function takes and gives whose file does not say what it gives.

    Where the shapes of its inputs are known it is run, with zeros, for two numbers of rows.

    Raises:
        FailedPrecondition: neither that nor the options tell.
    """
    outputs: tuple[Leaf, ...] | None = parse_leaves(options.outputs)
    if not outputs:
        outputs = _tried(runtime, inputs, call, names, module)
    if not outputs and names is not None:
        outputs = tuple(Leaf(name, DataType.FLOAT32, None) for name in names)
    if not outputs:
        raise FailedPrecondition(
            "The model does not say what it returns",
            hint="Say it by the option outputs: scores: float32[-1, 3]. " + _NOT_DECLARED,
        )
    # Functions of TorchScript, and machine code, may write into their arguments.
    return Interface(inputs, outputs, changes_inputs=True)


def _tried(
    runtime: Runtime,
    inputs: "tuple[Leaf | Constant, ...]",
    call: Call,
    names: list[str] | None,
    module: Any,
) -> tuple[Leaf, ...] | None:
    """The outputs of two runs; None where the model cannot be run with zeros."""
    leaves = [of for of in inputs if isinstance(of, Leaf)]
    if any(of.dims is None for of in leaves):
        return None
    try:
        runs = [_try(runtime, inputs, call, size) for size in _TRIED_SIZES]
        if names is None and module is not None:
            values = _zeros(runtime, inputs, _TRIED_SIZES[0])
            with runtime.mode():
                names = output_names([path for path, _ in leaves_in(module(*values))])
    except (RuntimeError, AssertionError, IndexError, TypeError, ValueError, ServingError) as error:
        _log.info("What the model gives is not known: it cannot run with zeros: %s", said(error))
        return None
    first, second = runs
    names = names or output_names([()] if len(first) == 1 else [(n,) for n in range(len(first))])
    if not len(first) == len(second) == len(names):
        return None
    return tuple(
        Leaf(name, dtype_of_array(one.dtype), _common(one.shape, two.shape))
        for name, one, two in zip(names, first, second, strict=True)
    )


def _common(one: tuple[int, ...], two: tuple[int, ...]) -> tuple[int, ...] | None:
    if len(one) != len(two):
        return None
    return tuple(a if a == b else -1 for a, b in zip(one, two, strict=True))


def _zeros(runtime: Runtime, inputs: "tuple[Leaf | Constant, ...]", size: int) -> list[Any]:
    values = []
    for of in inputs:
        if isinstance(of, Constant):
            values.append(of.value)
            continue
        shape = [size if isinstance(n, str) or n < 0 else n for n in of.dims or ()]
        zeros = np.zeros(shape, numpy_dtype(of.dtype))
        values.append(value_of(runtime.torch, zeros, of, runtime.device, is_copied=True))
    return values


def _try(
    runtime: Runtime, inputs: "tuple[Leaf | Constant, ...]", call: Call, size: int
) -> list[Any]:
    with runtime.mode():
        results = call(_zeros(runtime, inputs, size))
        return [array_of(runtime.torch, of, "y") for of in results]
