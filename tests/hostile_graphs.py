"""Graphs that would end TensorFlow's process and what they are refused with; and harmless ones.

Seen with TensorFlow 2.21: each of `DEADLY` ends the process while it is loaded, or at the first
run. `tests/integration/test_hostile_graphs.py` looks whether that is so still.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from salver.codecs.protobuf.wire import varint
from salver.errors import Code
from tests.graph_wire import (
    BOOL,
    FLOAT,
    INT32,
    INT64,
    STRING,
    VARIANT,
    X,
    boolean,
    call,
    constant,
    dtype,
    dtypes,
    floats,
    function,
    function_name,
    graph,
    identity,
    integer,
    message,
    node,
    number,
    numbers,
    saved_model,
    shape,
    tensor,
    tensor_of,
    text,
)  # fmt: skip

__all__ = ["DEADLY", "HARMLESS", "Deadly", "with_constant"]

HUGE = 1 << 40


@dataclass(frozen=True)
class Deadly:
    """A graph that must not reach TensorFlow.

    Attributes:
        make: its file.
        says: part of what it is refused with.
        is_slow: TensorFlow takes its time over it, or all memory, before it ends.
    """

    make: Callable[[], bytes]
    says: str
    code: Code = Code.INVALID_ARGUMENT
    is_slow: bool = False


def add(name: str, a: str, b: str) -> bytes:
    return node(name, "AddV2", [a, b], T=dtype(FLOAT))


def with_constant(value: bytes, dtype_: int = FLOAT, op: str = "Const") -> bytes:
    """A constant, beside what the signature computes or in it."""
    made = node("c", op, dtype=dtype(dtype_), value=tensor_of(value))
    y = add("y", "x", "c") if dtype_ == FLOAT else identity("y", "x")
    return saved_model(graph([X, made, y]))


def variant(type_name: str, metadata: bytes, *tensors: bytes) -> bytes:
    value = message(
        15, text(1, type_name), text(2, metadata), *[message(3, each) for each in tensors]
    )
    made = constant("c", VARIANT, tensor(VARIANT, [], value))
    return saved_model(graph([X, made, node("y", "Identity", ["x", "^c"], T=dtype(FLOAT))]))


def list_metadata(missing: int, *rest: bytes) -> bytes:
    return varint(missing) + varint(FLOAT) + varint(1) + b"".join(rest)


# -- what is made of constants ---------------------------------------------------------------------


def shaped(op: str, place: int, sizes: list[int], **attributes: bytes) -> bytes:
    """An operation that makes a tensor of a constant shape."""
    others = [constant("zero", FLOAT, tensor(FLOAT, [], floats(0.0)))]
    inputs = ["s", "zero"] if op == "Fill" else ["s"] if op == "RandomUniform" else ["x", "s"]
    assert inputs[place] == "s"
    made = [
        constant("d", INT64, numbers(INT64, *sizes)),
        identity("s", "d", INT64),  # which does not hide it
        node("r", op, inputs, **attributes),
        constant("axis", INT32, numbers(INT32, 0)),
        node("sum", "Sum", ["r", "axis"], T=dtype(FLOAT), Tidx=dtype(INT32)),
    ]
    return saved_model(graph([X, *others, *made, add("y", "x", "sum")]))


def filled(*sizes: int) -> bytes:
    return shaped("Fill", 0, list(sizes), T=dtype(FLOAT), index_type=dtype(INT64))


def reserved(count: int, op: str = "TensorListReserve") -> bytes:
    size = constant("n", INT32, numbers(INT32, count, sizes=[]))
    nodes = [X, size, constant("e", INT32, numbers(INT32))]
    if op == "TensorArrayV3":
        made = node("r", op, ["n"], dtype=dtype(FLOAT))
        nodes += [made, node("l", "TensorArraySizeV3", ["r", "r:1"])]
    else:
        made = node("r", op, ["e", "n"], element_dtype=dtype(FLOAT), shape_type=dtype(INT32))
        nodes += [made, node("l", "TensorListLength", ["r"])]
    cast = node("f", "Cast", ["l"], SrcT=dtype(INT32), DstT=dtype(FLOAT))
    return saved_model(graph([*nodes, cast, add("y", "x", "f")]))


def shapes(*all_sizes: list[int]) -> bytes:
    return message(1, *[message(7, shape(*sizes)) for sizes in all_sizes])


def pass_on(name: str) -> bytes:
    return function(name, [identity("i", "x")], "i:output:0")


def table(attributes: Mapping[str, bytes], file: bytes = b"/etc/passwd") -> bytes:
    filled_with = node(
        "fill", "InitializeTableFromTextFileV2", ["t", "name"], key_index=integer(-2),
        value_index=integer(-1), delimiter=text(2, "\t"), **attributes,
    )  # fmt: skip
    nodes = [
        node("t", "HashTableV2", key_dtype=dtype(STRING), value_dtype=dtype(INT64)),
        constant("name", STRING, tensor(STRING, [], text(8, file))),
        filled_with,
        node("init", "NoOp", ["^fill"]),
    ]
    return saved_model(graph([X, identity("y", "x"), *nodes]), init_op="init")


# -- functions -------------------------------------------------------------------------------------


def calls(*library: bytes, callee: str = "f") -> bytes:
    return saved_model(graph([X, call("y", callee)], library))


def branch(op: str, yes: str, no: str, **more: bytes) -> list[bytes]:
    """A branch on whether the sum of x is above a billion: it is not."""
    return [
        constant("limit", FLOAT, tensor(FLOAT, [], floats(1e9))),
        constant("axis", INT32, numbers(INT32, 0)),
        node("sum", "Sum", ["x", "axis:output:0"], T=dtype(FLOAT), Tidx=dtype(INT32)),
        node("is", "Greater", ["sum:output:0", "limit:output:0"], T=dtype(FLOAT)),
        node(
            "c", op, ["is:z:0", "x"], Tcond=dtype(BOOL), Tin=dtypes(FLOAT), Tout=dtypes(FLOAT),
            then_branch=function_name(yes), else_branch=function_name(no),
            output_shapes=shapes([-1]), **more,
        ),
    ]  # fmt: skip


def loop(name: str, body: str, iterations: int = 10, *, is_lowered: bool = False) -> bytes:
    return node(
        name, "While", ["x"], T=dtypes(FLOAT), cond=function_name("is"),
        body=function_name(body), output_shapes=shapes([-1]),
        parallel_iterations=integer(iterations), _lower_using_switch_merge=boolean(is_lowered),
    )  # fmt: skip


def never(*more: bytes) -> bytes:
    false = tensor(BOOL, [], message(11, b"\x00"))
    return function("is", [constant("no", BOOL, false), *more], "no:output:0", result=BOOL)


def chain(length: int) -> bytes:
    """Functions that call one another."""
    links = [function(f"f{n}", [call("c", f"f{n + 1}")], "c:output:0") for n in range(length)]
    return calls(*links, pass_on(f"f{length}"), callee="f0")


def doubling(depth: int) -> bytes:
    """Functions each of which calls the next one twice."""
    links = [
        function(
            f"f{n}",
            [call("a", f"f{n + 1}"), call("b", f"f{n + 1}", "a:output:0")],
            "b:output:0",
        )
        for n in range(depth)
    ]
    return calls(*links, pass_on(f"f{depth}"), callee="f0")


def handed_on(times: int) -> bytes:
    row = [identity(f"n{n}", f"n{n - 1}" if n else "x") for n in range(times)]
    return saved_model(graph([X, *row, identity("y", f"n{times - 1}")]))


def entered(iterations: int) -> bytes:
    """A frame of a loop as TensorFlow 1 writes it."""
    enter = node(
        "e", "Enter", ["x"], T=dtype(FLOAT), frame_name=text(2, "f"),
        is_constant=boolean(False), parallel_iterations=integer(iterations),
    )  # fmt: skip
    return saved_model(graph([X, enter, node("y", "Exit", ["e"], T=dtype(FLOAT))]))


def split(count: int) -> bytes:
    axis = constant("axis", INT32, numbers(INT32, 0, sizes=[]))
    made = node("s", "Split", ["axis", "x"], num_split=integer(count), T=dtype(FLOAT))
    return saved_model(graph([X, axis, made, identity("y", "s")]))


ABORT = node("stop", "Abort", error_msg=text(2, ""), exit_without_error=boolean(False))
_STOPPED = node("y", "Identity", ["x", "^stop"], T=dtype(FLOAT))
_NO_RECURSION = "TensorFlow does not support this scenario."
_RECURSIVE = Code.FAILED_PRECONDITION
_OVERFLOW = tensor(FLOAT, [HUGE, HUGE], floats(1.0))


def recursive(says: str, make: Callable[[], bytes], *, is_slow: bool = False) -> Deadly:
    return Deadly(make, f"{says} and {_NO_RECURSION}", _RECURSIVE, is_slow=is_slow)


DEADLY: Mapping[str, Deadly] = {
    "too_many_elements": Deadly(
        lambda: with_constant(_OVERFLOW),
        "Node c (Const) is a constant of shape [1099511627776,1099511627776], with more elements "
        "than 64 bits can count",
    ),
    "too_many_elements_of_none": Deadly(
        lambda: with_constant(tensor(FLOAT, [HUGE, HUGE, 0])), "with more elements than 64 bits"
    ),
    "too_many_dimensions": Deadly(
        lambda: with_constant(tensor(FLOAT, [1] * 300, floats(1.0))), "of 300 dimensions"
    ),
    "very_many_dimensions": Deadly(
        lambda: with_constant(tensor(FLOAT, [1] * 100_000, floats(1.0))),
        "The graph has a constant whose description is longer than any can be",
    ),
    "on_the_host": Deadly(lambda: with_constant(_OVERFLOW, op="HostConst"), "Node c (HostConst)"),
    "in_a_function": Deadly(
        lambda: calls(
            function("f", [constant("k", FLOAT, _OVERFLOW), identity("i", "x")], "i:output:0")
        ),
        "Node k (Const) of function f is a constant",
    ),
    "in_a_function_nobody_calls": Deadly(
        lambda: saved_model(
            graph(
                [X, identity("y", "x")],
                [
                    function(
                        "f", [constant("k", FLOAT, _OVERFLOW), identity("i", "x")], "i:output:0"
                    )
                ],
            )
        ),
        "Node k (Const) of function f is a constant",
    ),
    "in_the_second_of_two_graphs": Deadly(
        lambda: saved_model(
            graph([X]), graph([constant("c", FLOAT, _OVERFLOW), identity("y", "x")])
        ),
        "Node c (Const)",
    ),
    "said_twice": Deadly(
        lambda: with_constant(tensor(FLOAT, [HUGE], floats(1.0)) + message(2, shape(HUGE))),
        "with more elements than 64 bits can count",
    ),
    "beside_a_large_one": Deadly(
        lambda: with_constant(tensor(FLOAT, [HUGE, HUGE], text(4, bytes(1 << 20)))),
        "with more elements than 64 bits can count",
    ),
    "repeated_for_ever": Deadly(
        lambda: with_constant(tensor(FLOAT, [HUGE], floats(1.0))),
        "constants of the graph claim 43980465110",
        Code.FAILED_PRECONDITION,
    ),
    "strings_for_ever": Deadly(
        lambda: with_constant(tensor(STRING, [1 << 34], text(8, "a")), STRING),
        "constants of the graph claim",
        Code.FAILED_PRECONDITION,
    ),
    "a_list_of_what_is_not_there": Deadly(
        lambda: variant("tensorflow::TensorList", list_metadata(1 << 33, number(3, 1))),
        "with a list",
    ),
    "a_list_of_garbage": Deadly(
        lambda: variant("tensorflow::TensorList", b"\xff" * 50), "with a list that cannot be read"
    ),
    "a_list_of_huge_tensors": Deadly(
        lambda: variant("tensorflow::TensorList", list_metadata(0, shape(HUGE, HUGE))),
        "with a list of tensors of a shape with more elements than 64 bits can count",
    ),
    "a_dataset_in_a_file": Deadly(
        lambda: variant("tensorflow::data::WrappedDatasetVariant", b"\xff" * 50),
        "with a value of type tensorflow::data::WrappedDatasetVariant, which no file can hold",
    ),
    "fills_too_much": Deadly(
        lambda: filled(HUGE, HUGE), "Node r (Fill) makes a tensor of shape [1099511627776,1"
    ),
    "fills_too_many_dimensions": Deadly(
        lambda: filled(*[1] * 300), "Node r (Fill) makes a tensor of 300 dimensions"
    ),
    "reshapes_to_too_much": Deadly(
        lambda: shaped("Reshape", 1, [HUGE, HUGE], T=dtype(FLOAT), Tshape=dtype(INT64)),
        "Node r (Reshape) makes a tensor",
    ),
    "spreads_to_too_much": Deadly(
        lambda: shaped("BroadcastTo", 1, [HUGE, HUGE], T=dtype(FLOAT), Tidx=dtype(INT64)),
        "Node r (BroadcastTo) makes a tensor",
    ),
    "rolls_too_many_dice": Deadly(
        lambda: shaped(
            "RandomUniform",
            0,
            [HUGE, HUGE],
            T=dtype(INT64),
            dtype=dtype(FLOAT),
            seed=integer(0),
            seed2=integer(0),
        ),
        "Node r (RandomUniform) makes a tensor",
    ),
    "reserves_a_list": Deadly(
        lambda: reserved(2**31 - 1),
        "Node r (TensorListReserve) makes a list of 2147483647 elements: 68719476704 bytes",
        Code.FAILED_PRECONDITION,
        is_slow=True,
    ),
    "reserves_an_array": Deadly(
        lambda: reserved(2**31 - 1, "TensorArrayV3"),
        "Node r (TensorArrayV3) makes a list of 2147483647 elements",
        Code.FAILED_PRECONDITION,
        is_slow=True,
    ),
    "room_for_all_words": Deadly(
        lambda: table({"vocab_size": integer(HUGE)}),
        "Node fill (InitializeTableFromTextFileV2) takes memory for 1099511627776 elements",
        Code.FAILED_PRECONDITION,
        is_slow=True,
    ),
    "words_from_a_device": Deadly(
        lambda: table({"vocab_size": integer(-1)}, b"/dev/zero"),
        "reads /dev/zero, which is not a regular file",
        is_slow=True,
    ),
    "a_queue_for_all": Deadly(
        lambda: saved_model(
            graph(
                [
                    X,
                    identity("y", "x"),
                    node(
                        "q",
                        "RandomShuffleQueueV2",
                        component_types=dtypes(FLOAT),
                        capacity=integer(2**31 - 1),
                        min_after_dequeue=integer(2**31 - 2),
                    ),
                    node("init", "NoOp", ["^q"]),
                ]
            ),
            init_op="init",
        ),
        "Node q (RandomShuffleQueueV2) takes memory for 2147483646 elements",
        Code.FAILED_PRECONDITION,
        is_slow=True,
    ),
    "calls_itself": Deadly(
        lambda: calls(function("f", [call("c", "f")], "c:output:0")),
        f"Function f is self recursive and {_NO_RECURSION}",
        _RECURSIVE,
    ),
    "calls_itself_statefully": Deadly(
        lambda: calls(function("f", [call("c", "f", op="StatefulPartitionedCall")], "c:output:0")),
        "Function f is self recursive",
        _RECURSIVE,
    ),
    "calls_itself_for_nothing": Deadly(
        lambda: calls(function("f", [call("c", "f"), identity("i", "x")], "i:output:0")),
        "Function f is self recursive",
        _RECURSIVE,
    ),
    "calls_itself_by_another": recursive(
        "Function f calls itself by way of g",
        lambda: calls(
            function("f", [call("c", "g")], "c:output:0"),
            function("g", [call("c", "f")], "c:output:0"),
        ),
    ),
    "calls_itself_by_its_name": recursive(
        "Function f calls itself by way of g",
        lambda: calls(
            function("f", [node("c", "g", ["x"])], "c:y:0"),
            function("g", [node("c", "f", ["x"])], "c:y:0"),
        ),
    ),
    "calls_itself_from_where_nothing_comes": Deadly(
        lambda: saved_model(
            graph(
                [X, identity("y", "x"), call("z", "f")],
                [function("f", [call("c", "f")], "c:output:0")],
            )
        ),
        "Function f is self recursive",
        _RECURSIVE,
    ),
    "calls_itself_on_a_condition": Deadly(
        lambda: calls(function("f", branch("If", "f", "g"), "c:output:0"), pass_on("g")),
        "Function f is self recursive",
        _RECURSIVE,
    ),
    "calls_itself_on_a_lowered_condition": Deadly(
        lambda: calls(
            function(
                "f",
                branch("StatelessIf", "f", "g", _lower_using_switch_merge=boolean(True)),
                "c:output:0",
            ),
            pass_on("g"),
        ),
        "Function f is self recursive",
        _RECURSIVE,
        is_slow=True,
    ),
    "calls_itself_in_a_loop": Deadly(
        lambda: calls(function("f", [loop("w", "f")], "w:output:0"), never()),
        "Function f is self recursive",
        _RECURSIVE,
    ),
    "calls_itself_to_go_on": Deadly(
        lambda: saved_model(graph([X, loop("y", "g")], [never(loop("w", "g")), pass_on("g")])),
        "Function is is self recursive",
        _RECURSIVE,
    ),
    "calls_too_deep": Deadly(lambda: chain(10_000), "call each other 10001 deep"),
    "doubles_thirty_times": Deadly(
        lambda: doubling(30), "has more than 10000000 nodes once", is_slow=True
    ),
    "an_argument_in_a_function": Deadly(
        lambda: calls(
            function(
                "f",
                [node("a", "_Arg", T=dtype(FLOAT), index=integer(1 << 30)), identity("i", "x")],
                "i:output:0",
            )
        ),
        "Node a (_Arg) of function f is of a kind that a function in a file cannot have",
    ),
    "a_result_in_a_function": Deadly(
        lambda: calls(
            function(
                "f",
                [
                    identity("i", "x"),
                    node("r", "_Retval", ["x"], T=dtype(FLOAT), index=integer(-5)),
                ],
                "i:output:0",
            )
        ),
        "Node r (_Retval) of function f is of a kind that a function in a file cannot have",
    ),
    "handed_on_too_often": Deadly(lambda: handed_on(60_000), "More than 15000 nodes in a row"),
    "no_iterations": Deadly(lambda: entered(-1), "Node e (Enter) wants -1 iterations"),
    "all_iterations": Deadly(
        lambda: entered(2**31 - 1), "Node e (Enter) wants 2147483647 iterations", is_slow=True
    ),
    "all_iterations_of_a_loop": Deadly(
        lambda: saved_model(
            graph([X, loop("y", "g", 2**31 - 1, is_lowered=True)], [never(), pass_on("g")])
        ),
        "Node y (While) wants 2147483647 iterations",
        is_slow=True,
    ),
    "splits_in_all": Deadly(
        lambda: split(2**31 - 1), "Node s (Split) has 2147483647 outputs", is_slow=True
    ),
    "gives_up": Deadly(
        lambda: saved_model(graph([X, ABORT, _STOPPED])),
        "Node stop (Abort) ends the process that runs it",
    ),
}

HARMLESS: Mapping[str, Callable[[], bytes]] = {
    "a_constant": lambda: with_constant(tensor(FLOAT, [], floats(2.0))),
    "a_constant_that_is_repeated": lambda: with_constant(tensor(FLOAT, [4], floats(2.0))),
    "of_254_dimensions_nobody_asks_for": lambda: saved_model(
        graph([X, constant("c", FLOAT, tensor(FLOAT, [1] * 254, floats(1.0))), identity("y", "x")])
    ),
    "an_absurd_note": lambda: saved_model(
        graph([X, node("y", "Identity", ["x"], T=dtype(FLOAT), _note=tensor_of(_OVERFLOW))])
    ),
    "many_numbers_that_are_no_shape": lambda: saved_model(
        graph([X, constant("c", INT64, numbers(INT64, *[HUGE] * 300)), identity("y", "x")])
    ),
    "a_shape_that_is_not_known_whole": lambda: shaped(
        "Reshape", 1, [-1, 1], T=dtype(FLOAT), Tshape=dtype(INT64)
    ),
    "recursion_nobody_calls": lambda: saved_model(
        graph([X, identity("y", "x")], [function("f", [call("c", "f")], "c:output:0")])
    ),
    "a_note_of_a_function": lambda: saved_model(
        graph(
            [X, node("y", "Identity", ["x"], T=dtype(FLOAT), _note=function_name("f"))],
            [
                function(
                    "f",
                    [node("i", "Identity", ["x"], T=dtype(FLOAT), _note=function_name("f"))],
                    "i:output:0",
                )
            ],
        )
    ),
    "a_branch": lambda: calls(
        function("f", branch("If", "g", "h"), "c:output:0"), pass_on("g"), pass_on("h")
    ),
    "a_loop": lambda: saved_model(graph([X, loop("y", "g")], [never(), pass_on("g")])),
    "one_function_called_twice": lambda: calls(
        function("f", [call("a", "g"), call("b", "g", "a:output:0")], "b:output:0"), pass_on("g")
    ),
    "calls_a_hundred_deep": lambda: chain(100),
    "doubles_ten_times": lambda: doubling(10),
    "handed_on_a_thousand_times": lambda: handed_on(1000),
    "an_argument_in_the_graph": lambda: saved_model(
        graph([X, node("a", "_Arg", T=dtype(FLOAT), index=integer(0)), identity("y", "x")])
    ),
    "a_frame": lambda: entered(10),
    "graphs_in_two_parts": lambda: saved_model(graph([X]), graph([identity("y", "x")])),
    "an_empty_variant": lambda: variant("", b""),
    "an_empty_list": lambda: variant("tensorflow::TensorList", list_metadata(0, number(3, 1))),
}
