"""What AOTInductor packages say of their inputs, read without PyTorch.

`torch._inductor.aoti_compile_and_package` writes no description of the program. It does write the
C++ source of what it has compiled. That names the inputs, checks their dtypes and the sizes it
relies upon (checks which are compiled in, and off), and holds the trees of arguments and results.

Source: PyTorch, `torch/_inductor/codegen/cpp_wrapper_cpu.py`.
"""

import re
from dataclasses import dataclass
from typing import Final

from salver.backends.pytorch.archive import Archive
from salver.backends.pytorch.leaves import Leaf, input_names, output_names, paths_of
from salver.errors import FailedPrecondition
from salver.vocabulary.dtypes import DTYPES

__all__ = ["Compiled", "is_compiled", "read_compiled"]

_FOLDER: Final = "data/aotinductor/"
_MOST_SOURCE_BYTES: Final = 64 << 20
_CHECK: Final = re.compile(r"\bcheck_input_(?P<number>\d+)\(\s*AtenTensorHandle")
_DTYPE: Final = re.compile(r"_expected_dtype = aoti_torch_dtype_(?P<dtype>\w+)\(\)")
_FIXED: Final = re.compile(r"if \((?P<size>\d+) != \w+_size\[(?P<axis>\d+)\]\)")
_AXIS: Final = re.compile(r"_(?:size|stride)\[(?P<axis>\d+)\]")
_TREES: Final = re.compile(r'\b(?P<which>in|out)_spec_ = R"\((?P<tree>.*?)\)"', re.DOTALL)
_MOST_AXES: Final = 64


@dataclass(frozen=True, slots=True)
class Compiled:
    """A compiled program.

    Attributes:
        inputs: those that are known.
        outputs: names alone: what they are is seen by a run.
    """

    inputs: tuple[Leaf, ...]
    outputs: tuple[str, ...]


def is_compiled(archive: Archive) -> bool:
    """Whether there is machine code."""
    return bool(archive.below(_FOLDER))


def read_compiled(archive: Archive) -> Compiled | None:
    """The only compiled program of an archive; None where its source was left out.

    Raises:
        FailedPrecondition: there are several, or the source is not what it should be.
    """
    names = archive.below(_FOLDER)
    models = {name[len(_FOLDER) :].partition("/")[0] for name in names}
    if len(models) > 1:
        raise FailedPrecondition(
            f"The package holds several models, of which one is served: {', '.join(sorted(models))}"
        )
    sources = [name for name in names if name.endswith("wrapper.cpp")]
    if len(sources) != 1:
        return None
    return _read(archive.read(sources[0], _MOST_SOURCE_BYTES).decode(errors="replace"))


def _read(source: str) -> Compiled | None:
    trees = {found["which"]: found["tree"] for found in _TREES.finditer(source)}
    if trees.keys() != {"in", "out"}:
        return None
    checks = list(_CHECK.finditer(source))
    ends = [found.start() for found in checks[1:]] + [len(source)]
    names = input_names(paths_of(trees["in"]))
    if len(names) != len(checks):  # an argument is no tensor
        return None
    leaves = [
        _leaf(name, source[found.end() : end].partition("\nAOTI_NOINLINE")[0].partition("\n}\n")[0])
        for name, found, end in zip(names, checks, ends, strict=True)
    ]
    known = [leaf for leaf in leaves if leaf is not None]
    if len(known) < len(leaves):
        return None
    return Compiled(tuple(known), tuple(output_names(paths_of(trees["out"]))))


def _leaf(name: str, check: str) -> Leaf | None:
    dtype = _DTYPE.search(check)
    known = None if dtype is None else DTYPES.get(dtype["dtype"])
    if known is None:
        return None
    rank = 1 + max((int(found["axis"]) for found in _AXIS.finditer(check)), default=-1)
    if rank > _MOST_AXES:
        return None
    dims = [-1] * rank
    for found in _FIXED.finditer(check):
        dims[int(found["axis"])] = int(found["size"])
    return Leaf(name, known, tuple(dims))
