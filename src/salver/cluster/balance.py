"""Moves that nothing forces: replicas into different zones, and shares of nodes within bounds."""

from salver.cluster.board import Board, Share
from salver.cluster.needs import ModelNeed
from salver.cluster.preference import Preference

__all__ = ["balance", "spread_over_zones"]

_NEARLY = 1e-9
_MOST_PARTNERS = 8  # nodes that one node out of bounds is tried with


def spread_over_zones(board: Board, preference: Preference, most_moves: int | None) -> int:
    """Move replicas that share a zone with another of their model to zones that have none.

    Returns:
        How many were moved.
    """
    if not board.has_zones:
        return 0
    moved = 0
    for name, numbers in board.at.items():
        model = board.models[name]
        if len(numbers) < 2:
            continue
        for node in sorted(numbers):
            if most_moves is not None and moved >= most_moves:
                return moved
            if (name, node) in board.fixed or not board.shares_zone(name, node):
                continue
            if (target := _elsewhere(board, preference, model, node)) is not None:
                board.remove(model, node)
                board.add(model, target)
                moved += 1
    return moved


def _elsewhere(board: Board, preference: Preference, model: ModelNeed, node: int) -> int | None:
    """A node for a replica in a zone that none of the others is in: within bounds, or else any."""
    possible = [
        target
        for target in preference.order(model.name)
        if board.fits(model, target) and not board.shares_zone(model.name, target, leaving=node)
    ]
    within = (target for target in possible if board.is_within_bounds(model, target))
    return next(within, possible[0] if possible else None)


def balance(board: Board, most_moves: int | None) -> int:
    """Move models from nodes that have too much to nodes that have little, until all are in bounds.

    Returns:
        How many were moved.
    """
    moved = 0
    for which, share in enumerate(board.shares):
        stuck: set[int] = set()
        while most_moves is None or moved < most_moves:
            node = _furthest_out(share, stuck)
            if node is None:
                break
            if _improve(board, which, node):
                moved += 1
            else:
                stuck.add(node)
    return moved


def _furthest_out(share: Share, stuck: set[int]) -> int | None:
    """The node that is furthest out of its bounds; None where none is."""
    found, distance = None, share.trigger + _NEARLY
    for node, (used, fair) in enumerate(zip(share.used, share.fair, strict=True)):
        if fair <= 0 or node in stuck:
            continue
        if (out := abs(used - fair) / fair) > distance:
            found, distance = node, out
    return found


def _improve(board: Board, which: int, node: int) -> bool:
    """Move one model from or to a node, so that the more loaded of the two has less than before."""
    share = board.shares[which]
    levels = [share.level(other) for other in range(len(board.nodes))]
    has_much = levels[node] > 1
    partners = sorted(
        (other for other in range(len(levels)) if other != node and share.fair[other] > 0),
        key=lambda other: (levels[other] if has_much else -levels[other], other),
    )
    for partner in partners[:_MOST_PARTNERS]:
        source, target = (node, partner) if has_much else (partner, node)
        if levels[source] <= levels[target]:
            return False
        if (model := _movable(board, which, source, target)) is not None:
            board.remove(model, source)
            board.add(model, target)
            return True
    return False


def _movable(board: Board, which: int, source: int, target: int) -> ModelNeed | None:
    """The model whose move brings both nodes nearest to their share, with the fewest moves."""
    share = board.shares[which]
    amount = min(share.used[source] - share.fair[source], share.fair[target] - share.used[target])
    highest = share.level(source)
    best, best_key = None, (2, 0.0, "")
    for name in board.held[source]:
        model = board.models[name]
        weights = board.weights(model)
        weight = weights[which]
        if not weight or (name, source) in board.fixed:
            continue
        key = (0, -weight, name) if weight <= amount else (1, weight, name)
        if key >= best_key:
            continue
        if share.level(target, weight) >= highest - _NEARLY:
            continue
        if not board.fits(model, target) or not _others_bear(board, which, weights, source, target):
            continue
        if board.shares_zone(name, target, leaving=source):
            continue
        best, best_key = model, key
    return best


def _others_bear(
    board: Board, which: int, weights: tuple[float, float, float], source: int, target: int
) -> bool:
    """Whether a move puts its target out of no other bound, or no further than its source was."""
    for number, (share, weight) in enumerate(zip(board.shares, weights, strict=True)):
        if number == which or not weight or share.bears(target, weight):
            continue
        if share.level(target, weight) >= share.level(source) - _NEARLY:
            return False
    return True
