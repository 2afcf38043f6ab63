"""What exported programs say of themselves in `models/*.json` of a `.pt2`, read without PyTorch.

Source: PyTorch, `torch/_export/serde/schema.py` (major version 8, and what older ones share with
it) and `torch/export/pt2_archive/constants.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from salver.backends.pytorch.archive import Archive
from salver.backends.pytorch.leaves import (
    NUMBERS,
    Constant,
    Interface,
    Leaf,
    output_names,
    paths_of,
)
from salver.errors import FailedPrecondition
from salver.vocabulary.dtypes import DataType

__all__ = ["DEFAULT_PROGRAM", "OLD_PROGRAM", "has_program", "read_programs"]

DEFAULT_PROGRAM: Final = "model"
"""What `torch.export.save` calls the program of an archive."""

OLD_PROGRAM: Final = "serialized_exported_program.json"
"""Where PyTorch before 2.8 wrote it."""

_MODELS: Final = "models/"
_ENDING: Final = ".json"
# A graph of 100,000 nodes has some 60 MiB.
_MOST_BYTES: Final = 64 << 20
_MOST_PROGRAMS: Final = 64

_DTYPES: Final[Mapping[int, DataType]] = {
    1: DataType.UINT8,
    2: DataType.INT8,
    3: DataType.INT16,
    4: DataType.INT32,
    5: DataType.INT64,
    6: DataType.FLOAT16,
    7: DataType.FLOAT32,
    8: DataType.FLOAT64,
    10: DataType.COMPLEX64,
    11: DataType.COMPLEX128,
    12: DataType.BOOL,
    13: DataType.BFLOAT16,
    28: DataType.UINT16,
    29: DataType.FLOAT8_E4M3FN,
    30: DataType.FLOAT8_E5M2,
    31: DataType.FLOAT8_E4M3FNUZ,
    32: DataType.FLOAT8_E5M2FNUZ,
    34: DataType.UINT32,
    35: DataType.UINT64,
}
_NUMBERS: Final[Mapping[str, type]] = {
    "as_int": int,
    "as_sym_int": int,
    "as_float": float,
    "as_sym_float": float,
    "as_bool": bool,
    "as_sym_bool": bool,
}
_MUTATIONS: Final = "user_input_mutation"
_GIVEN: Final = ("user_output", "loss_output")


def has_program(archive: Archive) -> bool:
    """Whether there are programs, and not compiled ones alone."""
    return bool(_names(archive)) or OLD_PROGRAM in archive


def read_programs(archive: Archive) -> dict[str, Interface]:
    """The programs of an archive: name → what it takes and gives.

    Raises:
        FailedPrecondition: one is described wrongly, or takes what cannot be sent.
    """
    names = _names(archive)
    if len(names) > _MOST_PROGRAMS:
        raise FailedPrecondition(f"There are {len(names)} programs, more than {_MOST_PROGRAMS}")
    members = {name: f"{_MODELS}{name}{_ENDING}" for name in names}
    if not members:
        members = {DEFAULT_PROGRAM: OLD_PROGRAM}
    return {name: _interface(archive.read(of, _MOST_BYTES)) for name, of in members.items()}


def _names(archive: Archive) -> list[str]:
    found = [name[len(_MODELS) :] for name in archive.below(_MODELS)]
    return [name.removesuffix(_ENDING) for name in found if name.endswith(_ENDING)]


def _interface(data: bytes) -> Interface:
    try:
        module = orjson.loads(data)["graph_module"]
        graph, signature = module["graph"], module["signature"]
        values = _Values(graph)
        inputs = [made for spec in signature["input_specs"] for made in values.inputs(spec)]
        arguments = [
            spec[key]["arg"] for spec in signature["output_specs"] for key in _GIVEN if key in spec
        ]
        names = _output_names(module, len(arguments))
        outputs = [values.output(of, name) for of, name in zip(arguments, names, strict=True)]
        changes = any(_MUTATIONS in spec for spec in signature["output_specs"]) or any(
            map(_may_write, graph["nodes"])
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        text = f"The program's description is wrong: {type(error).__name__}: {error}"
        raise FailedPrecondition(text) from error
    return Interface(tuple(inputs), tuple(outputs), changes_inputs=changes)


def _output_names(module: Mapping[str, Any], count: int) -> list[str]:
    for call in module.get("module_call_graph", ()):
        if call["fqn"] == "" and call.get("signature"):
            fields = module.get("treespec_namedtuple_fields") or {}
            named = {kind: of["field_names"] for kind, of in fields.items()}
            paths = paths_of(call["signature"]["out_spec"], named)
            if len(paths) == count:
                return output_names(paths)
    return output_names([()] if count == 1 else [(number,) for number in range(count)])


class _Values:
    """The values of a graph by their names."""

    def __init__(self, graph: Mapping[str, Any]) -> None:
        self._tensors: Mapping[str, Any] = graph["tensor_values"]

    def inputs(self, spec: Mapping[str, Any]) -> Sequence[Leaf | Constant]:
        """What is fed for an entry of the signature; nothing for parameters, buffers and tokens."""
        if "constant_input" in spec:
            (value,) = spec["constant_input"]["value"].values()
            is_none = "as_none" in spec["constant_input"]["value"]
            return [Constant(None if is_none else value)]
        if "user_input" not in spec:
            return []
        argument = spec["user_input"]["arg"]
        ((kind, value),) = argument.items()
        if kind == "as_tensor":
            return [self._tensor(value["name"], value["name"])]
        if kind.startswith("as_sym_") and kind in _NUMBERS:
            if "as_name" in value:
                return [_number(kind, value["as_name"])]
            return [Constant(next(iter(value.values())))]
        if kind == "as_custom_obj":
            raise FailedPrecondition(
                f"The input {value['name']} is an object of {value.get('class_fqn')}, which "
                "cannot be sent"
            )
        return [Constant(None if kind == "as_none" else value)]

    def output(self, argument: Mapping[str, Any], name: str) -> Leaf | None:
        """What is given for a value that the graph returns; None for what nobody is given."""
        ((kind, value),) = argument.items()
        if kind == "as_tensor":
            return self._tensor(value["name"], name)
        return _number(kind, name) if kind in _NUMBERS else None

    def _tensor(self, tensor: str, name: str) -> Leaf:
        meta = self._tensors[tensor]
        dtype = _DTYPES.get(meta["dtype"])
        if dtype is None:
            raise FailedPrecondition(
                f"The tensor {name} has elements of PyTorch's type {meta['dtype']}, which no "
                "request can hold"
            )
        return Leaf(name, dtype, tuple(_dim(size) for size in meta["sizes"]))


def _may_write(node: Mapping[str, Any]) -> bool:
    """Whether an operation may change a tensor in place: `add_`, or what a graph within does."""
    operation = str(node["target"]).rpartition(".")[0]
    return operation.endswith("_") or any("as_graph" in of["arg"] for of in node["inputs"])


def _number(kind: str, name: str) -> Leaf:
    number = _NUMBERS[kind]
    return Leaf(name, NUMBERS[number], (), number)


def _dim(size: Mapping[str, Any]) -> int | str:
    if "as_int" in size:
        return int(size["as_int"])
    return str(size["as_expr"]["expr_str"])
