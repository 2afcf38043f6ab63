"""A program of PyTorch, written without PyTorch: `python tests/models/pt2.py DIRECTORY`.

`exported`: x, float32 [-1, 2], times (1, 2) plus 0.5, as `y`; and where that is largest, as `top`.
"""

import json
import struct
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROWS = {
    "as_expr": {"expr_str": "Symbol('s77', positive=True, integer=True)", "hint": {"as_int": 2}}
}
FLOAT, LONG = 7, 5


def tensor(dtype: int, *sizes: Any) -> dict[str, Any]:
    """What a program says of a tensor; sizes are numbers, or `ROWS`."""
    strides = [{"as_int": 1}] * len(sizes)
    return {
        "dtype": dtype,
        "sizes": [size if isinstance(size, dict) else {"as_int": size} for size in sizes],
        "requires_grad": False,
        "device": {"type": "cpu", "index": None},
        "strides": strides,
        "storage_offset": {"as_int": 0},
        "layout": 7,
    }


def leaf() -> dict[str, Any]:
    return {"type": None, "context": None, "children_spec": []}


def node(kind: str, context: str, *children: Any) -> dict[str, Any]:
    return {"type": kind, "context": context, "children_spec": list(children)}


def mapping(**children: Any) -> dict[str, Any]:
    return node("builtins.dict", json.dumps(list(children)), *children.values())


def sequence(*children: Any) -> dict[str, Any]:
    return node("builtins.tuple", "null", *children)


def tree(root: Mapping[str, Any]) -> str:
    return json.dumps([1, root])


def argument(name: str) -> dict[str, Any]:
    return {"as_tensor": {"name": name}}


def document() -> dict[str, Any]:
    """`exported`, as `models/model.json` has it."""
    values = {
        "p_scale": tensor(FLOAT, 2),
        "x": tensor(FLOAT, ROWS, 2),
        "mul": tensor(FLOAT, ROWS, 2),
        "add": tensor(FLOAT, ROWS, 2),
        "argmax": tensor(LONG, ROWS),
    }
    nodes = [
        ("mul.Tensor", "mul", [("self", argument("x")), ("other", argument("p_scale"))]),
        ("add.Tensor", "add", [("self", argument("mul")), ("other", {"as_float": 0.5})]),
        ("argmax.default", "argmax", [("self", argument("add")), ("dim", {"as_int": -1})]),
    ]
    graph = {
        "inputs": [argument("p_scale"), argument("x")],
        "outputs": [argument("add"), argument("argmax")],
        "nodes": [
            {
                "target": f"torch.ops.aten.{target}",
                "inputs": [{"name": of, "arg": value, "kind": 1} for of, value in given],
                "outputs": [argument(name)],
                "metadata": {},
                "is_hop_single_tensor_return": None,
                "name": name,
            }
            for target, name, given in nodes
        ],
        "tensor_values": values,
        "sym_int_values": {},
        "sym_bool_values": {},
        "is_single_tensor_return": False,
        "custom_obj_values": {},
        "sym_float_values": {},
    }
    call = {
        "inputs": [],
        "outputs": [],
        "in_spec": tree(sequence(sequence(leaf()), mapping())),
        "out_spec": tree(mapping(y=leaf(), top=leaf())),
        "forward_arg_names": ["x"],
    }
    return {
        "graph_module": {
            "graph": graph,
            "signature": {
                "input_specs": [
                    {"parameter": {"arg": {"name": "p_scale"}, "parameter_name": "scale"}},
                    {"user_input": {"arg": argument("x")}},
                ],
                "output_specs": [
                    {"user_output": {"arg": argument("add")}},
                    {"user_output": {"arg": argument("argmax")}},
                ],
            },
            "module_call_graph": [{"fqn": "", "signature": call}],
            "metadata": {},
            "treespec_namedtuple_fields": {},
        },
        "opset_version": {"aten": 10},
        "range_constraints": {"s77": {"min_val": 2, "max_val": None}},
        "schema_version": {"major": 8, "minor": 8},
        "verifiers": ["TRAINING"],
        "torch_version": "2.9.0",
        "guards_code": [],
    }


def members() -> dict[str, bytes]:
    """The members of the archive."""
    weight = {
        "path_name": "weight_0",
        "is_param": True,
        "use_pickle": False,
        "tensor_meta": tensor(FLOAT, 2),
    }
    return {
        "models/model.json": json.dumps(document()).encode(),
        "data/weights/model_weights_config.json": json.dumps(
            {"config": {"scale": weight}}
        ).encode(),
        "data/weights/weight_0": struct.pack("<2f", 1, 2),
        "data/constants/model_constants_config.json": b'{"config": {}}',
        "data/sample_inputs/model.pt": b"",
        "archive_format": b"pt2",
        "archive_version": b"0",
        ".data/version": b"6\n",
        "byteorder": b"little",
    }


def write(path: Path, contents: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> None:
    """An archive of PyTorch; its members stand below a folder of its name."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in contents.items():
            archive.writestr(f"{path.stem}/{name}", data)


def main(directory: Path) -> None:
    version = directory / "exported" / "1"
    version.mkdir(parents=True)
    write(version / "model.pt2", members())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
