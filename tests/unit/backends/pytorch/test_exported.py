import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from tests.models.pt2 import ROWS, argument, document, leaf, members, sequence, tensor, tree, write

from salver.backends.pytorch.archive import open_archive
from salver.backends.pytorch.exported import has_program, read_programs
from salver.backends.pytorch.leaves import Constant, Interface, Leaf
from salver.errors import FailedPrecondition
from salver.vocabulary.dtypes import DataType


def programs(path: Path) -> dict[str, Interface]:
    with open_archive(path) as archive:
        assert has_program(archive)
        return read_programs(archive)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.pt2"


def interface(path: Path, program: Any) -> Interface:
    write(path, {"models/model.json": json.dumps(program).encode()})
    return programs(path)["model"]


def test_a_program_tells_names_dtypes_and_shapes(path: Path) -> None:
    write(path, members())
    (found,) = programs(path).values()
    rows = str(ROWS["as_expr"]["expr_str"])
    assert found.inputs == (Leaf("x", DataType.FLOAT32, (rows, 2)),)
    assert found.outputs == (
        Leaf("y", DataType.FLOAT32, (rows, 2)),
        Leaf("top", DataType.INT64, (rows,)),
    )
    assert not found.changes_inputs
    assert found.signature.inputs["x"].shape == (-1, 2)


def test_an_archive_of_an_older_pytorch_is_read_too(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("serialized_exported_program.json", json.dumps(document()))
        archive.writestr("version", "8.1")
    assert programs(path)["model"].fed.keys() == {"x"}


def test_several_programs_are_several_functions(path: Path) -> None:
    data = json.dumps(document()).encode()
    write(path, {"models/model.json": data, "models/embed.json": data})
    assert programs(path).keys() == {"model", "embed"}


def test_arguments_that_were_fixed_are_not_fed(path: Path) -> None:
    program = document()
    specs = program["graph_module"]["signature"]["input_specs"]
    specs += [
        {"constant_input": {"name": "flag", "value": {"as_bool": True}}},
        {"constant_input": {"name": "none", "value": {"as_none": True}}},
        {"user_input": {"arg": {"as_int": 3}}},
        {"user_input": {"arg": {"as_none": True}}},
        {"user_input": {"arg": {"as_sym_int": {"as_name": "n"}}}},
        {"user_input": {"arg": {"as_sym_float": {"as_float": 0.5}}}},
        {"token": {"arg": {"name": "token"}}},
    ]
    assert interface(path, program).inputs[1:] == (
        Constant(True),
        Constant(None),
        Constant(3),
        Constant(None),
        Leaf("n", DataType.INT64, (), int),
        Constant(0.5),
    )


def test_outputs_that_are_no_tensors_are_numbers_or_left_out(path: Path) -> None:
    program = document()
    module = program["graph_module"]
    module["signature"]["output_specs"] = [
        {"buffer_mutation": {"arg": {"name": "mul"}, "buffer_name": "b"}},
        {"user_input_mutation": {"arg": {"name": "mul"}, "user_input_name": "x"}},
        {"user_output": {"arg": argument("add")}},
        {"user_output": {"arg": {"as_none": True}}},
        {"user_output": {"arg": {"as_sym_int": {"as_name": "n"}}}},
    ]
    call = module["module_call_graph"][0]["signature"]
    call["out_spec"] = tree(sequence(leaf(), leaf(), leaf()))
    found = interface(path, program)
    assert [of and (of.name, of.number) for of in found.outputs] == [
        ("y0", None),
        None,
        ("y2", int),
    ]
    assert found.changes_inputs


def test_without_a_tree_outputs_are_counted(path: Path) -> None:
    program = document()
    program["graph_module"]["module_call_graph"] = []
    assert list(interface(path, program).given) == ["y0", "y1"]


def _of_dtype(number: int) -> Any:
    program = document()
    program["graph_module"]["graph"]["tensor_values"]["x"] = tensor(number, ROWS)
    return program


@pytest.mark.parametrize(
    ("number", "dtype"), [(1, "uint8"), (6, "float16"), (13, "bfloat16"), (12, "bool")]
)
def test_dtypes_have_pytorchs_numbers(number: int, dtype: str, path: Path) -> None:
    assert interface(path, _of_dtype(number)).fed["x"].dtype.name == dtype


@pytest.mark.parametrize("number", [0, 9, 33, 99])
def test_a_dtype_that_no_request_has_is_refused(number: int, path: Path) -> None:
    with pytest.raises(FailedPrecondition, match=f"tensor x has elements of .* type {number}"):
        interface(path, _of_dtype(number))


def test_an_object_cannot_be_sent(path: Path) -> None:
    program = document()
    spec = {"as_custom_obj": {"name": "tokens", "class_fqn": "my.Tokens"}}
    program["graph_module"]["signature"]["input_specs"].append({"user_input": {"arg": spec}})
    with pytest.raises(FailedPrecondition, match=r"tokens is an object of my\.Tokens"):
        interface(path, program)


@pytest.mark.parametrize(
    "program",
    [
        {},
        [],
        None,
        {"graph_module": {}},
        {"graph_module": {"graph": {"tensor_values": 3}, "signature": {"input_specs": 3}}},
    ],
)
def test_a_description_that_is_wrong_is_an_error_with_a_code(program: Any, path: Path) -> None:
    with pytest.raises(FailedPrecondition, match="The program's description is wrong"):
        interface(path, program)


def test_each_part_that_is_missing_is_an_error_with_a_code(path: Path) -> None:
    whole = json.dumps(document())
    for key in ("graph", "tensor_values", "signature", "input_specs", "dtype", "sizes", "arg"):
        changed = json.loads(whole.replace(f'"{key}"', f'"{key}_"'))
        with pytest.raises(FailedPrecondition):
            interface(path, changed)


def test_too_many_programs_are_refused(path: Path) -> None:
    write(path, {f"models/{number}.json": b"{}" for number in range(65)})
    with pytest.raises(FailedPrecondition, match="There are 65 programs, more than 64"):
        programs(path)
