"""A cluster that becomes smaller and larger, in simulated seconds."""

import json
from dataclasses import replace

from tests.unit.cluster.simulated import MIB, Node, World, model, spec, world

from salver.cluster.control import Controller
from salver.cluster.growing import Wanted
from salver.cluster.spec import NodesSpec

IDLE_S = 30
SIZES = {f"m{number}": 100 * MIB for number in range(10)}


def elastic(nodes: str = "abc", models: int = 2, least: int = 1, **more: float) -> World:
    """Nodes of 500 MiB, the first of which is the head, and models of 100."""
    found = world(*(Node(name, 500 * MIB) for name in nodes))
    for node in found.nodes.values():
        node.sizes = SIZES
    change(found, models, least, **more)
    found.run(8)
    return found


def change(found: World, models: int, least: int = 1, **more: float) -> None:
    wanted = spec(*(model(f"m{number}", least) for number in range(models)))
    nodes = NodesSpec(**{"idle_s": IDLE_S, **more})  # type: ignore[arg-type]
    found.controller.apply(replace(wanted, nodes=nodes), SIZES)


def run(found: World, seconds: int) -> None:
    """As a machine that has gone is seen to be gone."""
    for _ in range(seconds):
        found.controller.see(found.nodes.keys(), ["a"])
        found.run(1)


def leaving(found: World) -> set[str]:
    return {*found.controller.surplus}


def give_back(found: World) -> None:
    """Let five minutes pass in which nodes go as soon as they are to."""
    for _ in range(300):
        run(found, 1)
        for name in leaving(found):
            del found.nodes[name]


def test_a_node_is_drained_when_it_has_been_superfluous_for_long_enough() -> None:
    found = elastic("ab", 2)
    run(found, IDLE_S - 1)
    assert leaving(found) == set()
    run(found, 25)
    assert leaving(found) == {"b"}
    desire = found.nodes["b"].desire
    assert desire is not None
    assert desire.may_stop
    assert found.mapped("m0") == found.mapped("m1") == ("a",)
    assert found.controller.wanted == Wanted(("a",))


def test_nodes_go_one_after_the_other_each_after_its_own_time() -> None:
    found = elastic("abc", 2)
    run(found, IDLE_S + 25)
    (first,) = leaving(found)
    run(found, 2 * IDLE_S)
    assert leaving(found) == {first}  # it reports still
    del found.nodes[first]
    run(found, IDLE_S - 5)
    assert leaving(found) == set()
    run(found, 25)
    assert len(leaving(found)) == 1
    assert "a" not in leaving(found)


def test_no_node_goes_where_nobody_takes_it() -> None:
    found = elastic("abc", 2, idle_s=0)
    run(found, 20 * IDLE_S)
    assert leaving(found) == set()


def test_no_node_goes_before_anybody_said_which_is_the_head() -> None:
    found = elastic("abc", 2)
    found.run(10 * IDLE_S)
    assert leaving(found) == set()


def test_as_many_nodes_stay_as_there_should_be_at_least() -> None:
    found = elastic("abc", 0, min=3)
    run(found, 5 * IDLE_S)
    assert leaving(found) == set()


def test_a_node_that_is_needed_again_is_taken_back_and_no_further_one_is_asked_for() -> None:
    found = elastic("ab", 2)
    run(found, IDLE_S + 25)
    assert leaving(found) == {"b"}
    change(found, 8)
    run(found, 15)
    assert leaving(found) == set()
    assert all(found.mapped(f"m{number}") for number in range(8))
    assert found.controller.wanted == Wanted(("a", "b"))
    assert not found.nodes["b"].desire.is_draining  # type: ignore[union-attr]


def test_nodes_are_asked_for_where_none_has_ever_reported() -> None:
    found = elastic("", 2, min=2)
    assert found.controller.wanted == Wanted()  # agents need a moment until they report
    run(found, 5)
    assert found.controller.wanted == Wanted((), 2)
    found.nodes |= {name: Node(name, 500 * MIB, sizes=SIZES) for name in "ab"}
    run(found, 5)
    assert found.controller.wanted == Wanted(("a", "b"))


def test_a_further_node_is_asked_for_while_a_model_lacks_room() -> None:
    found = elastic("a", 7)
    run(found, 8)
    assert found.controller.wanted == Wanted(("a",), 1)
    found.nodes["b"] = Node("b", 500 * MIB, sizes=SIZES)
    for _ in range(20):  # whenever it is asked: never for two
        found.controller.see(found.nodes.keys(), ["a"])
        for node in found.nodes.values():
            node.step(found.controller, found.now_s)
            assert len(found.controller.wanted.nodes) + found.controller.wanted.more == 2
        found.run(1)
    assert found.controller.wanted == Wanted(("a", "b"))


def test_a_further_node_is_asked_for_while_a_model_has_too_few_replicas() -> None:
    found = elastic("a", 1, least=2)
    run(found, 8)
    assert found.controller.wanted == Wanted(("a",), 1)


def test_no_further_node_is_asked_for_while_a_server_is_started_anew() -> None:
    found = elastic("ab", 10)
    found.controller.restart("b")
    for _ in range(60):
        run(found, 1)
        assert found.controller.wanted == Wanted(("a", "b"))
    found.controller.restart("")
    del found.nodes["b"]
    run(found, 20)
    assert found.controller.wanted == Wanted(("a",), 1)


def test_a_lack_that_is_over_in_a_moment_asks_for_nothing() -> None:
    found = elastic("a", 7)
    run(found, 1)
    change(found, 2)
    run(found, 20)
    assert found.controller.wanted == Wanted(("a",))


def test_models_that_nobody_asks_for_need_no_node_but_the_head() -> None:
    found = elastic("ab", 0)
    wanted = spec(*(model(f"m{number}", 0, 1) for number in range(8)))
    for node in found.nodes.values():
        node.loads = {(name, 1) for name in SIZES}
    found.controller.apply(replace(wanted, nodes=NodesSpec(idle_s=IDLE_S)), SIZES)
    run(found, IDLE_S + 45)
    assert leaving(found) == {"b"}
    assert all(found.at(f"m{number}") == {"a"} for number in range(8))


def ask(found: World, name: str) -> None:
    """One request, to a node that has the model in its file: it loads it then."""
    node = next(node for node in found.nodes.values() if name in node.files)
    node.requests[name] = node.requests.get(name, 0) + 1


def test_a_node_comes_for_models_at_zero_that_are_asked_for_and_have_no_room() -> None:
    found = elastic("a", 0)
    names = [f"m{number}" for number in range(6)]
    wanted = spec(*(model(name, 0, 1) for name in names))
    found.controller.apply(replace(wanted, nodes=NodesSpec(idle_s=IDLE_S)), SIZES)
    run(found, 20)
    assert found.controller.wanted == Wanted(("a",))
    for _ in range(20):
        for name in names:
            ask(found, name)
        run(found, 1)
    assert found.controller.wanted == Wanted(("a",), 1)
    found.nodes["b"] = Node("b", 500 * MIB, sizes=SIZES)
    for _ in range(30):
        for name in names:
            ask(found, name)
        run(found, 1)
    assert found.controller.wanted == Wanted(("a", "b"))
    states = {each.name: each.state for each in found.controller.status().models}
    assert states == dict.fromkeys(names, "available")
    assert {node for name in names for node in found.mapped(name)} == {"a", "b"}
    run(found, 300 + IDLE_S + 60)
    assert leaving(found) == {"b"}


def test_no_further_node_is_asked_for_where_none_would_be_large_enough() -> None:
    found = elastic("a", 7)
    found.controller.apply(
        replace(spec(model("m9", 1)), nodes=NodesSpec(idle_s=IDLE_S)), {"m9": 600 * MIB}
    )
    found.nodes["a"].sizes = {"m9": 600 * MIB}
    run(found, 20)
    assert found.controller.wanted == Wanted(("a",), 1)  # who knows how large others are
    found.nodes["b"] = Node("b", 500 * MIB)
    run(found, 20)
    assert found.controller.wanted.more == 0
    run(found, 3 * IDLE_S)
    assert (leaving(found), found.controller.wanted) == (set(), Wanted(("a", "b")))


def grow(found: World, seconds: int, name: str) -> None:
    """As an autoscaler that gives whatever is asked for; a model is asked for all the time."""
    for _ in range(seconds):
        if found.at(name):
            ask(found, name)
        if found.controller.wanted.more and len(found.nodes) < 10:
            number = len(found.nodes)
            sizes = found.nodes["a"].sizes
            found.nodes[f"n{number}"] = Node(f"n{number}", 500 * MIB, sizes=sizes)
        run(found, 1)


def test_no_further_node_is_asked_for_a_model_that_each_has_too_little_room_for() -> None:
    found = elastic("a", 0)
    found.nodes["a"].sizes = {"m9": 475 * MIB}
    wanted = replace(spec(model("m9", 0, 1)), nodes=NodesSpec(idle_s=IDLE_S))
    found.controller.apply(wanted, found.nodes["a"].sizes)
    grow(found, 200, "m9")
    assert len(found.nodes) <= 2  # nobody knew how large others are


def test_no_further_node_is_asked_for_where_the_one_that_came_was_of_no_use() -> None:
    found = elastic("ab", 7)
    run(found, 2)
    del found.nodes["b"]  # of which it is known how large it was
    run(found, 16)
    assert found.controller.wanted == Wanted(("a",), 1)
    found.nodes["c"] = Node("c", 50 * MIB)
    run(found, 60)
    assert found.controller.wanted == Wanted(("a", "c"))
    change(found, 8)
    run(found, 16)
    assert found.controller.wanted == Wanted(("a", "c"), 1)
    found.nodes["d"] = Node("d", 500 * MIB, sizes=SIZES)
    run(found, 5)
    assert all(found.mapped(f"m{number}") for number in range(8))


def test_a_model_with_many_replicas_is_asked_a_node_for_each() -> None:
    found = elastic("a", 1, least=4)
    grow(found, 100, "m0")
    assert len(found.nodes) == 4
    assert len(found.mapped("m0")) == 4


def test_a_model_that_is_busy_keeps_its_node() -> None:
    found = elastic("ab", 1)
    for _ in range(2 * IDLE_S):
        for node in found.nodes.values():
            if "m0" in node.files:
                node.requests["m0"] = node.requests.get("m0", 0) + 2500
        run(found, 1)
    assert leaving(found) == set()


def test_a_node_comes_for_a_model_that_all_nodes_together_are_too_busy_with() -> None:
    found = elastic("ab", 0)
    wanted = spec(model("m0", 1, 3), model("m1", 1, 1))
    found.controller.apply(replace(wanted, nodes=NodesSpec(idle_s=IDLE_S)), SIZES)
    run(found, IDLE_S + 25)
    assert leaving(found) == {"b"}
    del found.nodes["b"]
    for _ in range(100):
        load(found, 5000)
        if found.controller.wanted.more:
            name = f"n{len(found.nodes)}"
            found.nodes[name] = Node(name, 500 * MIB, sizes=SIZES)
        run(found, 1)
    assert len(found.nodes) == 3
    assert len(found.mapped("m0")) == 3
    assert leaving(found) == set()
    give_back(found)
    assert found.nodes.keys() == {"a"}


def work(found: World, seconds: int, names: list[str], each: int) -> None:
    """As an autoscaler that gives what is asked for: so many requests a second for each model."""
    for _ in range(seconds):
        for name in names:
            nodes = [node for node in found.nodes.values() if name in node.files]
            for node in nodes:
                node.requests[name] = node.requests.get(name, 0) + each // len(nodes)
        if found.controller.wanted.more and len(found.nodes) < 10:
            name = f"n{len(found.nodes)}"
            found.nodes[name] = Node(name, 500 * MIB, sizes=SIZES)
        run(found, 1)


def test_nodes_come_for_many_models_of_one_replica_that_are_busy_together() -> None:
    found = elastic("a", 0)
    names = [f"m{number}" for number in range(4)]
    wanted = spec(*(model(name, 1, 1) for name in names))
    found.controller.apply(replace(wanted, nodes=NodesSpec(idle_s=IDLE_S)), SIZES)
    work(found, 200, names, 1400)  # 5.6 processors of 4
    assert len(found.nodes) == 3
    assert all(len(found.mapped(name)) == 1 for name in names)
    assert {node for name in names for node in found.mapped(name)} == {*found.nodes}
    assert leaving(found) == set()
    give_back(found)
    assert found.nodes.keys() == {"a"}


def test_no_further_node_comes_where_each_busy_model_has_one_to_itself() -> None:
    found = elastic("a", 0)
    wanted = spec(model("m0", 1, 1), model("m1", 1, 1))
    found.controller.apply(replace(wanted, nodes=NodesSpec(idle_s=IDLE_S)), SIZES)
    work(found, 200, ["m0", "m1"], 3500)
    assert len(found.nodes) == 2
    assert {*found.mapped("m0"), *found.mapped("m1")} == {*found.nodes}


def test_no_node_comes_for_load_that_is_borne_or_where_none_is_ever_given_back() -> None:
    found = elastic("a", 0)
    for nodes, each in ((NodesSpec(idle_s=IDLE_S), 1500), (NodesSpec(), 5000)):
        found.controller.apply(replace(spec(model("m0", 1, 3)), nodes=nodes), SIZES)
        for _ in range(40):
            load(found, each)
            run(found, 1)
        assert found.controller.wanted == Wanted(("a",))


def load(found: World, requests: int) -> None:
    """So many requests for a model, at whichever nodes have it."""
    nodes = [node for node in found.nodes.values() if "m0" in node.files]
    for node in nodes:
        node.requests["m0"] = node.requests.get("m0", 0) + requests // len(nodes)


def test_who_takes_over_knows_which_node_was_superfluous() -> None:
    found = elastic("ab", 2)
    run(found, IDLE_S + 25)
    again = Controller.restore(json.loads(json.dumps(found.controller.journal())))
    assert again.surplus == {"b"}
    again.see(["a"], ["a"])
    assert again.surplus == set()


def test_a_person_takes_a_superfluous_node_back() -> None:
    found = elastic("ab", 2)
    run(found, IDLE_S + 25)
    found.controller.drain("b", is_draining=False)
    assert leaving(found) == set()
    run(found, 10)
    assert not found.nodes["b"].desire.is_draining  # type: ignore[union-attr]


def test_a_node_that_a_person_has_drained_is_not_superfluous_too() -> None:
    found = elastic("ab", 2)
    found.controller.drain("b")
    run(found, 5 * IDLE_S)
    assert leaving(found) == set()
    assert found.controller.wanted == Wanted(("a",))


def test_a_superfluous_node_is_taken_back_where_too_few_others_are_left() -> None:
    found = elastic("abc", 1, min=2)
    run(found, IDLE_S + 25)
    (first,) = leaving(found)
    del found.nodes["b"], found.nodes["c"]  # the machine of one of them is there still
    for _ in range(10):
        found.controller.see(["a", first], ["a"])
        found.run(1)
    assert leaving(found) == set()
    assert found.controller.wanted == Wanted(("a",), 1)


def test_superfluous_nodes_are_taken_back_where_no_other_is_left() -> None:
    found = elastic("ab", 1)
    run(found, IDLE_S + 25)
    journal = found.controller.journal()
    found.controller, found.nodes = Controller.restore(journal), {}
    for _ in range(20):
        found.controller.see(["b"], [])
        found.run(1)
    assert leaving(found) == set()


def test_nobody_takes_nodes_any_more() -> None:
    found = elastic("ab", 2)
    run(found, IDLE_S + 25)
    change(found, 2, idle_s=0)
    run(found, 2)
    assert leaving(found) == set()
