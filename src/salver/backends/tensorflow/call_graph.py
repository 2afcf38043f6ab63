"""Which functions of a graph call which, and what comes of that when all are put in their place.

TensorFlow puts the body of a function where it is called, for compilation and for execution, and
follows calls without a look at how deep they go. Its documentation knows no recursion, its loader
refuses the simplest kind ("Function f is self recursive"), and all others end its process, in 2.21
even where a condition would have ended them.
"""

from collections.abc import Mapping
from typing import Final

from salver.backends.tensorflow.graph_scopes import Scope, short
from salver.errors import FailedPrecondition, InvalidArgument

__all__ = ["check_calls", "reachable"]

_DEEPEST: Final = 500  # calls within calls; 700 take a minute, 10,000 the process
_MOST_NODES: Final = 10_000_000  # with all functions in their place; 100,000 take a second
_NAMED: Final = 4


def reachable(graph: Scope, functions: Mapping[str, Scope]) -> set[Scope]:
    """The graph and the functions that it calls, also by way of others."""
    found, to_do = {graph}, [graph]
    while to_do:
        callees = {functions[name] for name in _callees(to_do.pop(), functions)} - found
        found |= callees
        to_do += callees
    return found


def check_calls(graph: Scope, functions: Mapping[str, Scope]) -> None:
    """See that all calls end, and soon enough.

    Args:
        graph: from which everything is called.
        functions: by their names.

    Raises:
        FailedPrecondition: a function calls itself.
        InvalidArgument: calls go too deep, or make a graph too large.
    """
    depths: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for scope in _innermost_first(graph, functions):
        callees = _callees(scope, functions)
        name = scope.name if scope is not graph else ""
        depths[name] = 1 + max((depths[callee] for callee in callees), default=-1)
        sizes[name] = min(
            _MOST_NODES + 1,
            scope.num_nodes + sum(count * sizes[callee] for callee, count in callees.items()),
        )
    if depths[""] > _DEEPEST:
        raise InvalidArgument(
            f"Functions of the graph call each other {depths['']} deep; TensorFlow does not "
            "survive that"
        )
    if sizes[""] > _MOST_NODES:
        raise InvalidArgument(
            f"The graph has more than {_MOST_NODES} nodes once its functions stand where they are "
            "called; TensorFlow does not come to an end with that"
        )


def _callees(scope: Scope, functions: Mapping[str, Scope]) -> dict[str, int]:
    """Function → how many times it is called. A node may have its name for an operation."""
    callees = {name: count for name, count in scope.calls.items() if name in functions}
    for op in scope.ops.keys() & functions.keys():
        callees[op] = callees.get(op, 0) + scope.ops[op]
    return callees


def _innermost_first(graph: Scope, functions: Mapping[str, Scope]) -> list[Scope]:
    """What is reachable, each after all that it calls."""
    ordered: list[Scope] = []
    path: list[tuple[str, Scope, list[str]]] = [("", graph, list(_callees(graph, functions)))]
    on_path, done = {""}, set[str]()
    while path:
        name, scope, to_do = path[-1]
        if not to_do:
            path.pop()
            on_path.discard(name)
            done.add(name)
            ordered.append(scope)
            continue
        callee = to_do.pop()
        if callee in on_path:
            raise _recursion([each for each, _, _ in path], callee)
        if callee not in done:
            on_path.add(callee)
            path.append((callee, functions[callee], list(_callees(functions[callee], functions))))
    return ordered


def _recursion(path: list[str], callee: str) -> FailedPrecondition:
    circle = path[path.index(callee) + 1 :]
    name = short(callee)
    if not circle:
        text = f"Function {name} is self recursive and TensorFlow does not support this scenario."
    else:
        way = ", ".join(map(short, circle[:_NAMED])) + (", …" if len(circle) > _NAMED else "")
        text = (
            f"Function {name} calls itself by way of {way} and TensorFlow does not support this "
            "scenario."
        )
    return FailedPrecondition(text)
