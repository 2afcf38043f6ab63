from salver.cluster.conditions import NodeCondition
from salver.cluster.rolling import Rolling, Step

OLD = NodeCondition(server_pid=1, started_by="old", wanted="new")
NEW = NodeCondition(server_pid=2, started_by="new", wanted="new")
GONE = NodeCondition(server_pid=0, started_by="", wanted="new")


def test_nothing_follows_while_all_servers_are_as_they_should_be() -> None:
    rolling = Rolling()
    assert rolling.step({"a": NEW, "b": NEW}, is_whole=True) == Step()
    assert rolling.node == ""


def test_one_node_after_the_other_is_drained_and_released() -> None:
    rolling = Rolling()
    assert rolling.step({"a": OLD, "b": OLD}, is_whole=True) == Step(drain="a")
    assert rolling.step({"a": OLD, "b": OLD}, is_whole=True) == Step()
    assert rolling.step({"a": GONE, "b": OLD}, is_whole=False) == Step()
    assert rolling.step({"a": NEW, "b": OLD}, is_whole=False) == Step(release="a")
    assert rolling.step({"a": NEW, "b": OLD}, is_whole=False) == Step()
    assert rolling.step({"a": NEW, "b": OLD}, is_whole=True) == Step(drain="b")


def test_the_next_turn_waits_until_every_model_has_its_replicas() -> None:
    rolling = Rolling()
    assert rolling.step({"a": OLD}, is_whole=False) == Step()
    assert rolling.node == ""


def test_a_node_that_has_gone_has_had_its_turn() -> None:
    rolling = Rolling()
    rolling.step({"a": OLD, "b": OLD}, is_whole=True)
    assert rolling.step({"b": OLD}, is_whole=True) == Step(release="a")
    assert rolling.step({"b": OLD}, is_whole=True) == Step(drain="b")
