"""Servers that are to be started with other flags: one node after the other, each drained first.

Pure: it is told how the nodes are and says whose turn it is. The turn itself is of the controller,
whose journal has it.
"""

from collections.abc import Collection, Mapping

from salver.cluster.conditions import NodeCondition

__all__ = ["turn_after"]


def turn_after(
    turn: str,
    nodes: Mapping[str, NodeCondition],
    drained: Collection[str],
    *,
    is_whole: bool,
    is_stuck: bool = False,
) -> str:
    """Say whose turn it is now; empty for nobody's.

    Args:
        turn: whose turn it has been; empty for nobody's.
        nodes: those that report.
        drained: nodes that a person has drained. None of them gets a turn: its server ends anyhow.
        is_whole: every model has the replicas that it should have, so that the next node's turn may
            come.
        is_stuck: others cannot take over what the node of the turn has. Where a person has drained
            it, it keeps that for ever, and others have their turns.
    """
    if turn:
        is_kept = is_stuck and turn in drained
        return "" if is_kept or _is_over(nodes.get(turn)) else turn
    outdated = sorted(name for name, each in nodes.items() if each.is_outdated)
    waiting = [name for name in outdated if name not in drained]
    return waiting[0] if waiting and is_whole else ""


def _is_over(condition: NodeCondition | None) -> bool:
    """Whether a node has gone, or has its new server."""
    return condition is None or condition.is_up_to_date
