"""What is read of an ONNX file without ONNX Runtime."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from tests.onnx_models import (
    classifier,
    half_plus_two,
    looping,
    model,
    save,
    several,
    value,
    weights,
)

from salver.backends.onnxruntime.model_file import ModelFile, read
from salver.errors import Code, ServingError
from salver.instruments.files import open_regular

MOST = 1000


def read_of(proto: Any, directory: Path, max_nodes: int = MOST) -> ModelFile:
    return read(save(proto, directory), max_nodes=max_nodes)


def test_inputs_are_those_without_weights(tmp_path: Path) -> None:
    proto = several()
    proto.graph.input.append(value("weights", [3, 2]))  # as files of an early format have it
    found = read_of(proto, tmp_path)
    assert [each.name for each in found.inputs] == ["z_matrix", "a_bias"]
    assert [each.dims for each in found.inputs] == [("n", 3), (2,)]
    assert [each.name for each in found.outputs] == ["z_sum", "a_total"]
    assert [each.shape for each in found.outputs] == [(-1, 2), ()]
    assert not found.can_loop


def test_a_dimension_may_be_unknown_and_a_shape_too(tmp_path: Path) -> None:
    proto = half_plus_two()
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    found = read_of(proto, tmp_path)
    assert [each.shape for each in (*found.inputs, *found.outputs)] == [(-1,), None]


def test_loops_are_found_wherever_they_are(tmp_path: Path) -> None:
    loop = looping()
    assert read_of(loop, tmp_path / "a").can_loop
    branch = helper.make_graph(
        list(loop.graph.node), "branch", [], [value("y", [])], list(loop.graph.initializer)
    )
    inner = model(
        [helper.make_node("If", ["which"], ["y"], then_branch=branch, else_branch=branch)],
        [value("which", [], TensorProto.BOOL), *loop.graph.input],
        [value("y", [])],
    )
    assert read_of(inner, tmp_path / "b").can_loop


def test_weights_are_never_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 32 << 20
    proto = half_plus_two()
    raw = proto.graph.initializer.add(name="unused", data_type=1, dims=[size // 4])
    raw.raw_data = bytes(size)
    path = save(proto, tmp_path)
    seen: list[int] = []
    from salver.backends.onnxruntime import model_file

    def opened(path: Path) -> Any:
        file = open_regular(path)
        plain = file.read

        class Counting:
            fileno, seek = file.fileno, file.seek

            def read(self, number: int) -> bytes:
                seen.append(number)
                return plain(number)

            def __enter__(self) -> "Counting":
                return self

            def __exit__(self, *_: object) -> None:
                file.close()

        return Counting()

    monkeypatch.setattr(model_file, "open_regular", opened)
    assert [each.name for each in read(path, max_nodes=MOST).inputs] == ["x"]
    assert sum(seen) < 2 << 20


@pytest.mark.parametrize("where", ["initializer", "attribute", "branch", "sparse", "function"])
def test_names_of_other_files_are_found_wherever_they_are(where: str, tmp_path: Path) -> None:
    """The key after the value, for order means nothing in this format."""
    tensor = TensorProto(name="w", data_type=1, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="offset", value="0")
    tensor.external_data.add(key="location", value="elsewhere.bin")
    proto = half_plus_two()
    if where == "initializer":
        proto.graph.initializer.append(tensor)
    elif where == "attribute":
        proto.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))
    elif where == "sparse":
        sparse = proto.graph.sparse_initializer.add(dims=[1])
        sparse.values.CopyFrom(tensor)
    elif where == "branch":
        branch = helper.make_graph([], "branch", [], [value("w", [1])], [tensor])
        proto.graph.node.append(
            helper.make_node("If", ["c"], ["i"], then_branch=branch, else_branch=branch)
        )
    else:
        constant = helper.make_node("Constant", [], ["c"], value=tensor)
        proto.functions.append(
            helper.make_function("d", "f", [], ["c"], [constant], [helper.make_opsetid("", 17)])
        )
    found = read_of(proto, tmp_path)
    assert {(each.tensor, each.location) for each in found.external} == {("w", "elsewhere.bin")}


def test_a_key_called_location_that_is_none_of_weights_means_nothing(tmp_path: Path) -> None:
    proto = half_plus_two()
    proto.metadata_props.add(key="location", value="/factory/7")
    proto.graph.node[0].doc_string = "location"
    assert read_of(proto, tmp_path).external == []


def _calling(number: int, times: int) -> Any:
    """A model whose functions call the next one so many times each."""
    proto = model(
        [helper.make_node("f0", ["x"], ["y"], domain="d")], [value("x", ["n"])], [value("y", ["n"])]
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("d", 1)]
    proto.opset_import.append(opsets[1])
    for at in range(number):
        is_last = at == number - 1
        nodes = [
            helper.make_node(
                "Neg" if is_last else f"f{at + 1}",
                [f"v{n}" if n else "a"],
                ["b" if n == times - 1 else f"v{n + 1}"],
                domain="" if is_last else "d",
            )
            for n in range(times)
        ]
        proto.functions.append(helper.make_function("d", f"f{at}", ["a"], ["b"], nodes, opsets))
    return proto


def test_functions_may_call_others_but_not_without_end(tmp_path: Path) -> None:
    read_of(_calling(90, 1), tmp_path / "deep")
    read_of(_calling(5, 3), tmp_path / "wide")
    with pytest.raises(ServingError, match="deeper than 100") as raised:
        read_of(_calling(200, 1), tmp_path / "deeper")
    assert raised.value.code is Code.INVALID_ARGUMENT
    with pytest.raises(ServingError, match="more than 1000 nodes") as raised:
        read_of(_calling(40, 2), tmp_path / "wider")
    assert raised.value.code is Code.RESOURCE_EXHAUSTED
    circle = _calling(2, 1)
    circle.functions[1].node[0].op_type, circle.functions[1].node[0].domain = "f0", "d"
    with pytest.raises(ServingError, match="deeper than 100"):
        read_of(circle, tmp_path / "circle")


def test_too_many_nodes_are_refused_wherever_they_are(tmp_path: Path) -> None:
    nodes = [helper.make_node("Neg", ["x"], [f"v{n}"]) for n in range(300)]
    flat = model(nodes, [value("x", ["n"])], [value("v1", ["n"])])
    branch = helper.make_graph(nodes, "branch", [], [value("v1", ["n"])])
    nested = model(
        [helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)],
        [value("c", [], TensorProto.BOOL), value("x", ["n"])],
        [value("y", ["n"])],
    )
    for at, proto in enumerate((flat, nested)):
        with pytest.raises(ServingError, match="more than 200 nodes") as raised:
            read_of(proto, tmp_path / str(at), max_nodes=200)
        assert raised.value.code is Code.RESOURCE_EXHAUSTED
        assert raised.value.is_final


@pytest.mark.parametrize("content", [b"", b"\x08\x08", b"\x3a\xff", bytes(range(256)) * 8])
def test_what_is_no_model_is_an_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(ServingError, match="is no ONNX model") as raised:
        read(tmp_path / "m.onnx", max_nodes=MOST)
    assert raised.value.code is Code.INVALID_ARGUMENT


def test_a_file_that_is_not_there_or_a_directory_is_an_error(tmp_path: Path) -> None:
    for path, code in ((tmp_path / "m.onnx", Code.NOT_FOUND), (tmp_path, Code.FAILED_PRECONDITION)):
        with pytest.raises(ServingError) as raised:
            read(path, max_nodes=MOST)
        assert raised.value.code is code


_CONTENTS = tuple(make().SerializeToString() for make in (several, classifier, looping))


@given(data=st.data())
def test_a_file_with_errors_is_read_or_refused(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(data.draw(st.sampled_from(_CONTENTS)))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(0, 2 * len(content))) :]
    path = tmp_path_factory.getbasetemp() / "errors.onnx"
    path.write_bytes(content)
    try:
        read(path, max_nodes=MOST)
    except ServingError as error:
        assert error.message  # noqa: PT017 - most are refused, some are not


def test_more_than_one_graph_is_one(tmp_path: Path) -> None:
    """Protocol buffers merge a message that is there twice."""
    whole = several()
    second = several()
    second.graph.ClearField("node")
    second.graph.ClearField("input")
    second.graph.ClearField("output")
    second.graph.initializer[0].CopyFrom(weights("a_bias", [1.0, 2.0]))
    (tmp_path / "m.onnx").write_bytes(whole.SerializeToString() + second.SerializeToString())
    found = read(tmp_path / "m.onnx", max_nodes=MOST)
    assert [each.name for each in found.inputs] == ["z_matrix"]
