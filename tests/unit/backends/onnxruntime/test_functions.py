"""How large a model is once its functions stand in place of their calls."""

import pytest

from salver.backends.onnxruntime.functions import MAIN, CallGraph, TooDeep, function_name


def graph(**calls: list[str]) -> CallGraph:
    """A graph: caller → what its nodes are."""
    made = CallGraph()
    for caller, kinds in calls.items():
        made.caller = MAIN if caller == "main" else caller
        made.nodes[made.caller] += 0
        for kind in kinds:
            made.add(kind)
    return made


def test_nodes_of_functions_count_as_often_as_they_are_called() -> None:
    assert graph().size() == 0
    assert graph(main=["Add", "Mul"]).size() == 2
    assert graph(main=["f", "f", "Add"], f=["g", "g"], g=["Add"]).size() == 3 + 2 * (2 + 2)
    assert graph(main=["f"], f=[]).size() == 1


def test_what_nobody_calls_counts_too() -> None:
    assert graph(main=["Add"], f=["Add"] * 9).size() == 9


@pytest.mark.parametrize("is_backwards", [True, False])
def test_calls_may_be_so_deep_and_no_deeper(is_backwards: bool) -> None:
    def chain(length: int) -> CallGraph:
        names = [f"f{n}" for n in range(length)]
        calls = {name: [after] for name, after in zip(names, [*names[1:], "Add"], strict=True)}
        items = reversed(calls.items()) if is_backwards else iter(calls.items())
        return graph(**dict(items))

    assert chain(101).size() == 101
    with pytest.raises(TooDeep):
        chain(102).size()
    with pytest.raises(TooDeep):
        chain(20_000).size()


def test_calls_without_end_are_too_deep() -> None:
    for circle in (graph(main=["f"], f=["f"]), graph(f=["g"], g=["h"], h=["f"])):
        with pytest.raises(TooDeep):
            circle.size()


def test_the_default_domain_has_two_names() -> None:
    assert function_name("ai.onnx", "Add") == function_name("", "Add")
    assert function_name("d", "Add") != function_name("", "Add")
