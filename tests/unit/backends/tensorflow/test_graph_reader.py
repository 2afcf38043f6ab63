from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from tests.graph_wire import (
    FLOAT,
    X,
    constant,
    function,
    graph,
    identity,
    message,
    node,
    number,
    tensor,
    tensor_of,
    text,
)  # fmt: skip

from salver._pb import message_class
from salver.backends.tensorflow import graph_reader
from salver.backends.tensorflow.graph_reader import GraphPart, GraphReader, TooLarge

Read = Callable[[bytes], tuple[list[Any], dict[str, list[Any]]]]


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Read:
    """The nodes of a serialized graph, and those of its functions by their names."""
    path = tmp_path_factory.mktemp("graphs") / "graph"

    def read(data: bytes) -> tuple[list[Any], dict[str, list[Any]]]:
        path.write_bytes(b"before" + data + b"after")
        nodes: list[Any] = []
        functions: list[tuple[list[str], list[Any]]] = []
        with path.open("rb") as file:
            for part in GraphReader(file, lambda: None).parts(6, 6 + len(data)):
                if isinstance(part, GraphPart):
                    nodes += part.nodes
                    continue
                if part.is_first:
                    functions.append(([], []))
                names, inner = functions[-1]
                names.append(part.name)
                inner += part.nodes
        return nodes, {"".join(names): inner for names, inner in functions}

    return read


def names(nodes: list[Any]) -> list[str]:
    return [each.name for each in nodes]


def test_nodes_and_functions_come_in_their_order(read: Read) -> None:
    nodes, functions = read(
        graph(
            [X, identity("y", "x")],
            [function("f", [identity("i", "x")], "i:output:0"), function("g", [], "x")],
        )
    )
    assert names(nodes) == ["x", "y"]
    assert nodes[1].op == "Identity"
    assert list(nodes[1].input) == ["x"]
    assert {name: names(inner) for name, inner in functions.items()} == {"f": ["i"], "g": []}


def test_a_function_of_many_nodes_is_one_function(read: Read) -> None:
    many = [identity(f"n{n}", "x") for n in range(5000)]
    nodes, functions = read(graph([X, *many], [function("f", many, "n0:output:0")]))
    assert names(nodes) == ["x", *[f"n{n}" for n in range(5000)]]
    assert names(functions["f"]) == [f"n{n}" for n in range(5000)]


def test_of_a_large_constant_only_what_it_claims_is_read(read: Read) -> None:
    content = text(4, bytes(1 << 20))
    large = constant("c", FLOAT, tensor(FLOAT, [1 << 18], content))
    (made, after), functions = read(
        graph([large, X], [function("f", [large, identity("i", "x")], "i:output:0")])
    )
    assert after.name == "x"
    for each in (made, functions["f"][0]):
        assert (each.name, each.op) == ("c", "Const")
        (value,) = [a.value for a in each.attr if a.key == "value"]
        assert [dim.size for dim in value.tensor.tensor_shape.dim] == [1 << 18]
        assert not value.tensor.tensor_content
        assert len(each.SerializeToString()) < 100
    assert names(functions["f"]) == ["c", "i"]


def test_how_much_of_a_large_node_was_not_read_is_told(tmp_path: Path) -> None:
    data = graph([constant("c", FLOAT, tensor(FLOAT, [1], text(4, bytes(1 << 20)))), X])
    path = tmp_path / "graph"
    path.write_bytes(data)
    with path.open("rb") as file:
        parts = list(GraphReader(file, lambda: None).parts(0, len(data)))
    assert [part.unread_bytes >> 10 for part in parts] == [1024, 0]


def test_large_attributes_are_left_out_and_functions_in_lists_kept(read: Read) -> None:
    branches = message(1, *[message(9, text(1, f"branch{n}")) for n in range(5000)])
    made = node("c", "Case", ["x"], branches=branches, note=text(2, bytes(1 << 16)))
    ((found,), _) = read(graph([made]))
    values = {each.key: each.value for each in found.attr}
    assert [each.name for each in values["branches"].list.func] == [
        f"branch{n}" for n in range(5000)
    ]
    assert not values["note"].s if "note" in values else True


def test_a_shape_without_end_is_refused(read: Read) -> None:
    endless = constant("c", FLOAT, tensor(FLOAT, [1] * 100_000))
    with pytest.raises(TooLarge, match="longer than any can be"):
        read(graph([endless]))


def test_attributes_without_end_are_refused(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_reader, "_MOST_KEPT_BYTES", 1 << 16)
    with pytest.raises(TooLarge, match="more attributes than any can have"):
        read(graph([node("n", "AddN", [f"x{n}" for n in range(20_000)])]))
    arguments = message(1, text(1, "f"), *[message(2, text(1, "x" * 90)) for _ in range(1000)])
    with pytest.raises(TooLarge, match="more arguments than any can have"):
        read(message(2, message(1, arguments)))


def test_what_comes_twice_means_what_protobuf_says(read: Read) -> None:
    twice = node("n", "Const", value=tensor_of(tensor(FLOAT, [2])) + tensor_of(tensor(3, [3])))
    ((found,), _) = read(graph([twice]))
    value = found.attr[0].value.tensor
    assert value.dtype == 3
    assert [dim.size for dim in value.tensor_shape.dim] == [2, 3]


def test_numbers_longer_than_need_be_are_read_all_the_same(read: Read) -> None:
    inner = identity("y", "x")
    padded = b"\x8a\x00" + bytes([len(inner) | 0x80, 0x00]) + inner
    nodes, _ = read(graph([X]) + padded)
    assert names(nodes) == ["x", "y"]


@pytest.mark.parametrize(
    "data",
    [
        b"\x0a",  # no length
        b"\x0a\x05ab",  # longer than the graph
        b"\x0b\x0c",  # a group
        b"\x18" + b"\xff" * 12,  # a number that does not end
        b"\x0a\xff\xff\xff\xff\xff\xff\x01",
        b"\x0a\x02\x0a\x05",  # a node that is none
        b"\x12\x03\x0a\x05a",
    ],
)
def test_what_is_no_graph_is_none(read: Read, data: bytes) -> None:
    with pytest.raises(DecodeError):
        read(graph([X]) + data)


_words = st.text("abR\n", max_size=20)
_values = st.one_of(
    st.binary(max_size=40).map(lambda octets: text(2, octets)),
    st.integers(-(1 << 40), 1 << 40).map(lambda value: number(3, value)),
    st.tuples(st.lists(st.integers(0, 300), max_size=3), st.binary(max_size=90)).map(
        lambda made: tensor_of(tensor(FLOAT, made[0], text(4, made[1])))
    ),
    _words.map(lambda name: message(10, text(1, name))),
)
_nodes = st.builds(
    lambda name, op, inputs, values: node(
        name, op, inputs, **{f"k{n}": value for n, value in enumerate(values)}
    ),
    *(_words, _words, st.lists(_words, max_size=3), st.lists(_values, max_size=4)),
)
_functions = st.tuples(st.lists(_nodes, max_size=6)).map(lambda made: function("f", made[0], "x:0"))


@given(st.lists(_nodes, max_size=12), st.lists(_functions, max_size=3), st.sampled_from([16, 64]))
def test_the_same_nodes_are_found_whatever_is_read_at_once(
    read: Read, nodes: list[bytes], library: list[bytes], block: int
) -> None:
    data = graph(nodes, library)
    whole = message_class("salver.graph.Graph").FromString(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph_reader, "_BLOCK_BYTES", max(block, 16))
        patch.setattr(graph_reader, "_BATCH_BYTES", block)
        found, _ = read(data)
        count = sum(len(each.nodes) for each in _parts(data) if not isinstance(each, GraphPart))
    assert found == list(whole.node)
    assert count == sum(len(each.node_def) for each in whole.library.function)


def _parts(data: bytes) -> list[Any]:
    import tempfile

    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        return list(GraphReader(file, lambda: None).parts(0, len(data)))
