"""Memory on a node, by having models leave it: what one node has too much of, or another needs."""

from collections.abc import Iterator

from salver.cluster.board import Board
from salver.cluster.needs import ModelNeed
from salver.cluster.preference import Preference

__all__ = ["make_room", "shed"]

_MOST_TRIED = 16  # nodes, with the most free memory first


def shed(board: Board, node: int) -> None:
    """Have models leave a node until what stays fits: as few as can be, surplus replicas first."""
    for candidates in _by_worth(board, node):
        while board.free[node] < 0 and candidates:
            excess = -board.free[node]
            enough = [model for model in candidates if model.bytes >= excess]
            if enough:
                gone = min(enough, key=lambda model: (model.bytes, model.name))
            else:
                gone = max(candidates, key=lambda model: (model.bytes, model.name))
            candidates.remove(gone)
            board.remove(gone, node)


def _by_worth(board: Board, node: int) -> Iterator[list[ModelNeed]]:
    """The models of a node that take memory, in the order in which they have to go."""
    models = [board.models[name] for name in sorted(board.held[node])]
    models = [model for model in models if model.bytes]
    yield [model for model in models if board.is_surplus(model.name)]
    models = [model for model in models if model.name in board.held[node]]
    yield [model for model in models if (model.name, node) not in board.fixed]
    yield [model for model in models if (model.name, node) in board.fixed]


def make_room(board: Board, preference: Preference, model: ModelNeed) -> bool:
    """Place a model that no node has memory for, by having others leave one.

    Returns:
        Whether it could be done; if not, nothing has changed.
    """
    order = [
        node for node in preference.order(model.name) if node not in board.at.get(model.name, ())
    ]
    order = [node for node in order if model.bytes <= board.nodes[node].memory_bytes]
    order.sort(key=lambda node: -board.free[node])  # stable, so that equals stay in order
    for node in order[:_MOST_TRIED]:
        if (leaving := _leaving(board, model, node)) is None:
            continue
        for other, target in leaving:
            board.remove(other, node)
            if target is not None:
                board.add(other, target)
        board.add(model, node)
        return True
    return False


def _leaving(
    board: Board, model: ModelNeed, node: int
) -> list[tuple[ModelNeed, int | None]] | None:
    """Who has to leave a node for a model to fit, and to where: None is away altogether.

    Surplus replicas go first; then the largest of the others, each to where it fits best.
    """
    lacking = model.bytes - board.free[node]
    leaving: list[tuple[ModelNeed, int | None]] = []
    here = [board.models[name] for name in sorted(board.held[node])]
    here = sorted((each for each in here if each.bytes), key=lambda each: -each.bytes)
    for each in here:
        if lacking > 0 and board.is_surplus(each.name):
            leaving.append((each, None))
            lacking -= each.bytes
    gone = {each.name for each, _ in leaving}
    free = list(board.free)
    for each in here:
        if lacking <= 0:
            break
        if each.name in gone or (each.name, node) in board.fixed:
            continue
        targets = [
            other
            for other in range(len(free))
            if other != node and each.bytes <= free[other] and each.name not in board.held[other]
        ]
        if targets:
            target = min(targets, key=lambda other: (free[other], other))
            free[target] -= each.bytes
            leaving.append((each, target))
            lacking -= each.bytes
    return leaving if lacking <= 0 else None
