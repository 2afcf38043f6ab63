from collections.abc import Mapping

from salver.cluster.conditions import NodeCondition
from salver.cluster.rolling import turn_after

OLD = NodeCondition(server_pid=1, started_by="old", wanted="new")
NEW = NodeCondition(server_pid=2, started_by="new", wanted="new")
UNTOLD = NodeCondition(server_pid=2, started_by="new", wanted="old", knows_flags=False)
GONE = NodeCondition(server_pid=0, started_by="", wanted="new")


def after(
    turn: str,
    nodes: Mapping[str, NodeCondition],
    drained: frozenset[str] = frozenset(),
    is_whole: bool = True,
    is_stuck: bool = False,
) -> str:
    return turn_after(turn, nodes, drained, is_whole=is_whole, is_stuck=is_stuck)


def test_nobody_has_a_turn_while_all_servers_are_as_they_should_be() -> None:
    assert after("", {"a": NEW, "b": NEW}) == ""


def test_one_node_after_the_other_has_its_turn() -> None:
    assert after("", {"a": OLD, "b": OLD}) == "a"
    assert after("a", {"a": OLD, "b": OLD}) == "a"
    assert after("a", {"a": GONE, "b": OLD}, is_whole=False) == "a"
    assert after("a", {"a": NEW, "b": OLD}, is_whole=False) == ""
    assert after("", {"a": NEW, "b": OLD}, is_whole=False) == ""
    assert after("", {"a": NEW, "b": OLD}) == "b"


def test_the_next_turn_waits_until_every_model_has_its_replicas() -> None:
    assert after("", {"a": OLD}, is_whole=False) == ""


def test_a_node_that_has_gone_has_had_its_turn() -> None:
    assert after("a", {"b": OLD}) == ""


def test_a_node_that_a_person_has_drained_is_passed_over() -> None:
    assert after("", {"a": OLD, "b": OLD}, frozenset("a")) == "b"
    assert after("", {"a": OLD, "b": NEW}, frozenset("a")) == ""


def test_a_node_that_a_person_drains_in_its_turn_keeps_the_turn_until_it_is_over() -> None:
    assert after("a", {"a": OLD, "b": OLD}, frozenset("a")) == "a"
    assert after("a", {"a": NEW, "b": OLD}, frozenset("a")) == ""


def test_what_a_person_has_drained_and_others_cannot_take_over_keeps_nobody_waiting() -> None:
    assert after("a", {"a": OLD, "b": OLD}, frozenset("a"), is_stuck=True) == ""
    assert after("a", {"a": OLD, "b": OLD}, is_stuck=True) == "a"


def test_an_agent_that_was_started_again_begins_and_ends_no_turn_before_it_is_told_the_flags() -> (
    None
):
    assert after("", {"a": UNTOLD, "b": NEW}) == ""
    assert after("a", {"a": UNTOLD, "b": OLD}) == "a"
