import pytest

from salver.backends.tensorflow.call_graph import check_calls, reachable
from salver.backends.tensorflow.graph_scopes import Scope
from salver.errors import FailedPrecondition, InvalidArgument


def functions(**calls: str) -> dict[str, Scope]:
    """Functions by name, each with those it calls: `f="g g h"`."""
    found: dict[str, Scope] = {}
    for name, callees in calls.items():
        scope = found[name] = Scope(name, ops={"PartitionedCall": max(1, len(callees.split()))})
        for callee in callees.split():
            scope.calls[callee] = scope.calls.get(callee, 0) + 1
    return found


def graph(*callees: str) -> Scope:
    return Scope(ops={"PartitionedCall": 1}, calls=dict.fromkeys(callees, 1))


def test_what_is_called_by_way_of_others_is_reachable() -> None:
    library = functions(f="g", g="h", h="", other="h")
    main = graph("f")
    assert {scope.name for scope in reachable(main, library)} == {"", "f", "g", "h"}


def test_a_node_may_have_the_name_of_a_function_for_its_operation() -> None:
    library = functions(f="")
    main = Scope(ops={"f": 1, "Add": 1})
    assert reachable(main, library) == {main, library["f"]}


def test_an_operation_that_is_no_function_is_none_that_is_called() -> None:
    check_calls(graph("nowhere"), functions(f="nowhere"))


def test_calls_that_end_are_let_pass() -> None:
    check_calls(graph("f", "g"), functions(f="g h", g="h", h=""))


@pytest.mark.parametrize(
    ("library", "says"),
    [
        (functions(f="f"), "Function f is self recursive and"),
        (functions(f="g", g="f"), "Function f calls itself by way of g and"),
        (functions(f="a", a="g", g="h", h="a"), "Function a calls itself by way of g, h and"),
        (
            functions(f="a", a="b", b="c", c="d", d="e", e="g", g="f"),
            "by way of a, b, c, d, … and",
        ),
    ],
)
def test_calls_that_come_back_are_told_with_their_way(library: dict[str, Scope], says: str) -> None:
    with pytest.raises(FailedPrecondition, match=r"TensorFlow does not support this") as caught:
        check_calls(graph("f"), library)
    assert says in caught.value.message


def test_recursion_that_nobody_calls_does_no_harm() -> None:
    check_calls(graph("f"), functions(f="", r="r"))


def test_calls_may_go_as_deep_as_tensorflow_can_follow() -> None:
    links = {f"f{n}": f"f{n + 1}" for n in range(499)}
    check_calls(graph("f0"), functions(**links, f499=""))
    links = {f"f{n}": f"f{n + 1}" for n in range(20_000)}
    with pytest.raises(InvalidArgument, match="call each other 20001 deep"):
        check_calls(graph("f0"), functions(**links, f20000=""))


def test_a_graph_may_be_as_large_as_tensorflow_can_make_it() -> None:
    doublings = {f"f{n}": f"f{n + 1} f{n + 1}" for n in range(20)}
    check_calls(graph("f0"), functions(**doublings, f20=""))
    doublings = {f"f{n}": f"f{n + 1} f{n + 1}" for n in range(400)}
    with pytest.raises(InvalidArgument, match="has more than 10000000 nodes once its functions"):
        check_calls(graph("f0"), functions(**doublings, f400=""))
