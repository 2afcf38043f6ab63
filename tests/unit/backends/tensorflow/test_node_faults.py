from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.graph_wire import (
    FLOAT,
    INT32,
    INT64,
    STRING,
    boolean,
    constant,
    dtypes,
    function_name,
    functions,
    graph,
    identity,
    integer,
    node,
    numbers,
    shape_of,
    tensor,
    text,
)  # fmt: skip

from salver._pb import message_class
from salver.backends.tensorflow.graph_scopes import Fault, Scope
from salver.backends.tensorflow.node_faults import WATCHED

GIB = 1 << 30


def looked_at(*nodes: bytes, is_function: bool = False) -> Scope:
    scope = Scope("f" if is_function else "", is_function=is_function)
    scope.add(message_class("salver.graph.Graph").FromString(graph(nodes)).node, WATCHED, 0)
    scope.judge()
    return scope


def only_fault(*nodes: bytes, is_function: bool = False) -> Fault:
    (fault,) = looked_at(*nodes, is_function=is_function).faults
    return fault


def faults(*nodes: bytes) -> list[Fault]:
    return looked_at(*nodes).faults


def test_nodes_are_counted_by_their_operations() -> None:
    scope = looked_at(node("a", "Add"), node("b", "Add"), node("c", "Mul"))
    assert scope.ops == {"Add": 2, "Mul": 1}
    assert scope.num_nodes == 3


def test_functions_are_called_by_attributes_of_nodes_that_call() -> None:
    scope = looked_at(
        node("a", "PartitionedCall", f=function_name("f")),
        node("b", "If", then_branch=function_name("f"), else_branch=function_name("g")),
        node("c", "Case", branches=functions("g", "h")),
        node("d", "MapDataset", f=function_name("m"), output_types=dtypes(FLOAT)),
        node("e", "Add", f=function_name("never")),
        node("g", "If", _note=function_name("never")),
    )
    assert scope.calls == {"f": 2, "g": 2, "h": 1, "m": 1}


@pytest.mark.parametrize("count", [0, 1, 10, 1 << 20])
@pytest.mark.parametrize("op", ["Enter", "RefEnter", "While", "StatelessWhile"])
def test_loops_may_run_as_many_iterations_at_once_as_there_is_room_for(op: str, count: int) -> None:
    assert not faults(node("n", op, parallel_iterations=integer(count)))


@pytest.mark.parametrize("count", [-1, (1 << 20) + 1, 2**31 - 1])
@pytest.mark.parametrize("op", ["Enter", "RefEnter", "While", "StatelessWhile"])
def test_loops_without_iterations_or_with_all_are_faults(op: str, count: int) -> None:
    fault = only_fault(node("n", op, parallel_iterations=integer(count)))
    assert fault.text == f"Node n ({op}) wants {count} iterations to run at once"


def test_of_an_attribute_that_comes_twice_the_last_one_counts() -> None:
    first, last = integer(2**31 - 1), integer(10)
    twice = node("n", "Enter", parallel_iterations=first) + node(
        "n", "Enter", parallel_iterations=last
    )
    assert not faults(twice)


@pytest.mark.parametrize(
    ("op", "attribute"),
    [("Split", "num_split"), ("Unpack", "num"), ("DynamicPartition", "num_partitions")],
)
def test_nodes_with_outputs_without_end_are_faults(op: str, attribute: str) -> None:
    assert not faults(node("n", op, (), **{attribute: integer(1000)}))
    assert not faults(node("n", op, (), **{attribute: integer(-1)}))
    fault = only_fault(node("n", op, (), **{attribute: integer(1 << 24)}))
    assert fault.text == f"Node n ({op}) has 16777216 outputs"
    assert fault.is_met_anyway


@pytest.mark.parametrize("op", ["_Arg", "_Retval", "_DeviceArg", "_DeviceRetval"])
def test_what_stands_for_arguments_stands_in_no_function(op: str) -> None:
    assert not faults(node("a", op, index=integer(0)))
    fault = only_fault(node("a", op, index=integer(0)), is_function=True)
    assert fault.text.startswith(f"Node a ({op}) of function f is of a kind")


@pytest.mark.parametrize("kind", [INT32, INT64])
@pytest.mark.parametrize("has_content", [True, False])
def test_shapes_are_known_in_each_form_of_numbers(kind: int, has_content: bool) -> None:
    sizes = (1 << 30, 1 << 30, 1 << 30)
    width = 4 if kind == INT32 else 8
    content = b"".join(size.to_bytes(width, "little") for size in sizes)
    made = tensor(kind, [3], text(4, content)) if has_content else numbers(kind, *sizes)
    fault = only_fault(constant("d", kind, made), node("r", "Fill", ["d", "v"]))
    assert "makes a tensor of shape [1073741824,1073741824,1073741824], with more" in fault.text


def test_a_number_that_is_left_out_is_the_last_one() -> None:
    short = numbers(INT64, 1 << 40, sizes=[2])
    fault = only_fault(constant("d", INT64, short), node("r", "Fill", ["d", "v"]))
    assert "[1099511627776,1099511627776]" in fault.text
    none = tensor(INT64, [3])
    assert not faults(constant("d", INT64, none), node("r", "Fill", ["d", "v"]))


def test_a_shape_of_too_many_dimensions_is_seen_though_its_numbers_are_not_there() -> None:
    made = tensor(INT64, [1 << 30])
    fault = only_fault(constant("d", INT64, made), node("r", "Fill", ["d", "v"]))
    assert fault.text == "Node r (Fill) makes a tensor of 1073741824 dimensions"


def test_shapes_are_followed_through_nodes_that_hand_them_on_and_in_any_order() -> None:
    nodes = [
        node("r", "Fill", ["b:0", "v"]),
        identity("b", "a", INT64),
        identity("a", "d", INT64),
        constant("d", INT64, numbers(INT64, 1 << 40, 1 << 40)),
    ]
    assert "(Fill) makes a tensor" in only_fault(*nodes).text


def test_what_is_made_takes_memory_and_what_is_only_reshaped_does_not() -> None:
    d = constant("d", INT64, numbers(INT64, GIB))
    assert only_fault(d, node("r", "Fill", ["d", "v"])).claimed_bytes == 4 * GIB
    assert only_fault(d, node("r", "BroadcastTo", ["x", "d"])).claimed_bytes == 4 * GIB
    assert not faults(d, node("r", "Reshape", ["x", "d"]))


def test_a_shape_that_is_not_known_claims_nothing() -> None:
    d = constant("d", INT64, numbers(INT64, -1, 1 << 40))
    assert not faults(d, node("r", "Fill", ["d", "v"]))


@pytest.mark.parametrize(
    "attributes", [{"vocab_size": integer(-1)}, {"vocab_size": integer(1000)}, {}]
)
def test_a_table_makes_room_for_its_words(attributes: Mapping[str, bytes]) -> None:
    assert not faults(node("t", "InitializeTableFromTextFileV2", (), **attributes))


def test_room_is_claimed_by_attributes() -> None:
    made = node("t", "InitializeTableFromTextFileV2", vocab_size=integer(1 << 40))
    assert only_fault(made).claimed_bytes == 64 << 40
    made = node("q", "RandomShuffleQueueV2", min_after_dequeue=integer(2**31 - 1))
    assert only_fault(made).claimed_bytes == 32 * (2**31 - 1)


def test_lists_claim_room_for_their_elements() -> None:
    n = constant("n", INT32, numbers(INT32, 2**31 - 1, sizes=[]))
    fault = only_fault(n, node("l", "TensorListReserve", ["e", "n"]))
    assert fault.claimed_bytes == 32 * (2**31 - 1)
    several = constant("n", INT32, numbers(INT32, 2**31 - 1))  # TensorFlow says what is wrong
    assert not faults(several, node("l", "TensorListReserve", ["e", "n"]))


def test_files_are_read_and_devices_are_not(tmp_path: Path) -> None:
    words = tmp_path / "words"
    words.write_text("a\nb\n")

    def read(path: str) -> list[Fault]:
        name = constant("n", STRING, tensor(STRING, [], text(8, path)))
        return faults(node("t", "InitializeTableFromTextFileV2", ["h", "n"]), name)

    assert not read(str(words))
    assert not read(str(tmp_path / "gone"))
    assert not read("")
    assert not read("with\0null")
    (fault,) = read("/dev/zero")
    assert "reads /dev/zero, which is not a regular file" in fault.text


def test_nodes_that_lack_what_they_should_have_are_left_to_tensorflow() -> None:
    assert not faults(
        node("a", "Fill"),
        node("b", "InitializeTableFromTextFileV2"),
        node("c", "Identity"),
        node("d", "Const"),
        node("e", "Const", value=boolean(True)),
        node("f", "Enter"),
        node("g", "Enter", parallel_iterations=shape_of(1)),
        node("h", "AddN", ["x", "y"]),
        node("i", "Case", branches=integer(3)),
    )
