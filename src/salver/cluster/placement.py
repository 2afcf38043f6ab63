"""Which nodes hold which models: a pure function of what is needed and where there is room.

Rendezvous hashing with bounded load. Each model has an order of all nodes, from the names alone; it
goes to the first of them that has room and whose share of memory, rate and models is within bounds.
What is placed stays, unless its node has gone, is full, or has far more than its share, or another
far less. So a change of the nodes moves little.

First comes a node's memory, which is never exceeded; then the replicas that models must have, for
which surplus replicas of others make room or others move; then zones; then surplus replicas; then
balance.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from salver.cluster.balance import balance, spread_over_zones
from salver.cluster.board import Board
from salver.cluster.needs import Assignment, ModelNeed, NodeRoom
from salver.cluster.preference import Preference
from salver.cluster.room import make_room, shed

__all__ = ["Assignment", "ModelNeed", "NodeRoom", "place"]

_MOST_SEARCHES: Final = 20
"""For room by moving others, in one call: each looks at what several nodes have. What is left over
gets its turn in the next."""


def place(
    models: Sequence[ModelNeed],
    nodes: Sequence[NodeRoom],
    before: Assignment,
    *,
    most_moves: int | None = None,
) -> Assignment:
    """Say which nodes each model should be at.

    Args:
        models: all of them, with different names.
        nodes: those that may hold models, with different names.
        before: the present assignment; models and nodes that are no more may be in it.
        most_moves: for zones and balance alone; None for any number.

    Returns:
        The nodes of each model, at most as many as it has replicas, preferred first. A model whose
        nodes do not change has the tuple of `before`.
    """
    board = Board(sorted(models, key=lambda model: model.name), nodes)
    preference = Preference(board.nodes)
    _keep(board, before)
    for node in range(len(board.nodes)):
        if board.free[node] < 0:
            shed(board, node)
    searches = _MOST_SEARCHES
    for model in _missing(board, lambda model: model.least):
        if (found := _best(board, preference, model)) is not None:
            board.add(model, found)
        elif searches > 0:
            searches -= 1
            make_room(board, preference, model)
    _fill(board, preference)
    moved = spread_over_zones(board, preference, most_moves)
    balance(board, None if most_moves is None else most_moves - moved)
    _fill(board, preference)  # what has moved may have left room
    return _result(board, preference, before)


def _keep(board: Board, before: Assignment) -> None:
    """Leave what is placed where it is; of surplus replicas those go that bring least."""
    for name, model in board.models.items():
        here = [board.number[node] for node in before.get(name, ()) if node in board.number]
        here = list(dict.fromkeys(here))
        for node in here:
            board.add(model, node)
            if model.is_pinned:
                board.fixed.add((name, node))
        while len(board.at.get(name, ())) > model.replicas:
            board.remove(model, _least_useful(board, name))


def _least_useful(board: Board, model: str) -> int:
    return max(
        board.at[model],
        key=lambda node: (board.shares_zone(model, node), board.level(node), node),
    )


def _missing(board: Board, replicas: Callable[[ModelNeed], int]) -> Iterator[ModelNeed]:
    """Models with fewer replicas than that, once for each missing one; firsts before seconds."""
    lacking = [
        (number, -model.bytes, -model.rate, model.name)
        for model in board.models.values()
        for number in range(len(board.at.get(model.name, ())), replicas(model))
    ]
    for _, _, _, name in sorted(lacking):
        yield board.models[name]


def _fill(board: Board, preference: Preference) -> None:
    """Place the replicas that are missing, where there is room."""
    for model in _missing(board, lambda model: model.replicas):
        if (found := _best(board, preference, model)) is not None:
            board.add(model, found)


def _best(board: Board, preference: Preference, model: ModelNeed) -> int | None:
    """The node for one more replica of a model; None where none has memory for it."""
    found, found_rank = None, (2, 0.0)
    for node in preference.order(model.name):
        if not board.fits(model, node):
            continue
        shares = board.shares_zone(model.name, node)
        if board.is_within_bounds(model, node):
            if not shares:
                return node
            rank = (1, -1.0)
        else:
            rank = (int(shares), board.level(node))
        if rank < found_rank:
            found, found_rank = node, rank
    return found


def _result(board: Board, preference: Preference, before: Assignment) -> Assignment:
    names = [node.name for node in board.nodes]
    assignment = {}
    for model in board.models:
        numbers = board.at.get(model, ())
        old = before.get(model)
        if old is not None and len(old) == len(numbers) and {names[at] for at in numbers} == {*old}:
            assignment[model] = old
        else:
            assignment[model] = tuple(names[at] for at in preference.sorted(model, numbers))
    return assignment
