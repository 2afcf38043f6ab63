import json

import pytest
from tests.unit.cluster.simulated import MIB, Node, World, model, spec, world

from salver.cluster.control import Controller
from salver.cluster.reports import ModelReport, NodeReport, VersionReport
from salver.errors import DataLoss, InvalidArgument, NotFound
from salver.vocabulary.servable import Latest, Specific


def started(*nodes: Node, models: int = 6, least: int = 0, size: int = 100) -> World:
    found = world(*nodes)
    names = [f"m{number}" for number in range(models)]
    found.controller.apply(
        spec(*(model(name, least) for name in names)), dict.fromkeys(names, size * MIB)
    )
    found.run()
    return found


def test_has_every_model_loaded_somewhere_and_tells_all_nodes_where() -> None:
    found = started(Node("n1"), Node("n2"))
    for name in [f"m{number}" for number in range(6)]:
        assert len(found.at(name)) == 1
        assert {*found.mapped(name)} == found.at(name)
    assert all(node.peer_map == found.controller.peer_map for node in found.nodes.values())
    assert found.controller.status().is_settled


def test_applying_the_same_again_changes_nothing() -> None:
    found = started(Node("n1"), Node("n2"))
    before = found.controller.journal()
    again = found.controller.spec
    assert again is not None
    assert not found.controller.apply(spec(*again.models))
    found.run(20)
    assert found.controller.journal() == before


def test_sends_files_and_map_only_to_who_has_not_got_them() -> None:
    found = started(Node("n1"))
    desire = found.nodes["n1"].desire
    assert desire is not None
    assert desire.config is None
    assert desire.peer_map is None
    found.nodes["n1"].generation = 0
    found.run(1)
    desire = found.nodes["n1"].desire
    assert desire is not None
    assert desire.config is not None


def test_heals_within_ten_seconds_after_a_node_has_died() -> None:
    found = started(Node("n1"), Node("n2"), Node("n3"), least=2)
    del found.nodes["n3"]
    found.run(10)
    for number in range(6):
        assert found.mapped(f"m{number}") != ()
        assert {*found.mapped(f"m{number}")} == {"n1", "n2"}
    assert "n3" not in found.controller.peer_map.peers


def test_takes_a_dead_node_out_of_the_map_before_anything_is_loaded_again() -> None:
    found = started(Node("n1"), Node("n2"), least=2, models=1)
    found.nodes["n1"].loads = {("m0", 1)}
    del found.nodes["n2"]
    found.run(5)
    assert found.mapped("m0") == ("n1",)


def test_does_not_believe_that_most_of_many_nodes_died_at_once_until_long_after() -> None:
    found = started(*(Node(f"n{number}") for number in range(6)))
    for number in range(5):
        del found.nodes[f"n{number}"]
    found.run(20)
    assert len(found.controller.status().nodes) == 6
    found.run(20)
    assert len(found.controller.status().nodes) == 1


def test_a_model_stays_where_it_was_until_it_answers_where_it_should_be() -> None:
    found = started(Node("n1"), models=1)
    found.nodes["n2"] = Node("n2", loads=set())
    found.controller.drain("n1")
    found.run(10)
    assert found.at("m0") == {"n1", "n2"}
    assert found.mapped("m0") == ("n1",)
    found.nodes["n2"].loads = None
    found.run(2)
    assert found.mapped("m0") == ("n2",)
    assert found.at("m0") == {"n1", "n2"}  # requests may be on their way
    found.run(5)
    assert found.at("m0") == {"n2"}


def test_a_drained_node_may_stop_when_nothing_is_left_there_and_takes_nothing_more() -> None:
    found = started(Node("n1"), Node("n2"))
    found.controller.drain("n1")
    found.run(10)
    desire = found.nodes["n1"].desire
    assert desire is not None
    assert desire.is_draining
    assert desire.may_stop
    assert not found.nodes["n1"].files
    assert [node.state for node in found.controller.status().nodes] == ["drained", "live"]
    found.controller.drain("n1", is_draining=False)
    found.run(25)
    assert not found.nodes["n1"].desire.may_stop  # type: ignore[union-attr]


def test_the_last_node_keeps_what_it_has_though_it_is_drained() -> None:
    found = started(Node("n1"), models=2)
    found.controller.drain("n1")
    found.run(20)
    assert found.mapped("m0") == ("n1",)
    assert not found.nodes["n1"].desire.may_stop  # type: ignore[union-attr]


def test_drains_no_node_that_there_is_not() -> None:
    with pytest.raises(NotFound, match="There is no node n9"):
        Controller().drain("n9")


def test_removes_a_model_that_is_desired_no_more() -> None:
    found = started(Node("n1"), Node("n2"), models=2)
    found.controller.apply(spec(model("m1")))
    found.run(1)
    assert "m0" not in found.controller.peer_map.models
    found.run(6)
    assert found.at("m0") == set()
    assert found.at("m1") != set()
    assert "m0" not in found.controller.journal()["models"]


def test_a_model_that_comes_back_while_it_leaves_stays() -> None:
    found = started(Node("n1"), models=1)
    found.controller.apply(spec())
    found.run(1)
    found.controller.apply(spec(model("m0")))
    found.run(8)
    assert found.at("m0") == {"n1"}
    assert found.mapped("m0") == ("n1",)


def test_a_controller_without_a_journal_leaves_models_where_they_are() -> None:
    found = started(Node("n1"), Node("n2"), Node("n3"))
    before = {name: {*node.files} for name, node in found.nodes.items()}
    generation = found.controller.peer_map.generation
    desired = found.controller.spec
    assert desired is not None
    found.controller = Controller()
    found.controller.apply(desired)
    found.run(12)
    assert {name: {*node.files} for name, node in found.nodes.items()} == before
    assert found.controller.peer_map.generation > generation


def test_a_controller_that_has_just_started_empties_no_node() -> None:
    found = started(Node("n1"), Node("n2"))
    found.controller = Controller()
    for _ in range(10):
        found.run(1)
        assert all(node.files for node in found.nodes.values())


def test_a_journal_makes_the_same_controller_again() -> None:
    found = started(Node("n1"), Node("n2"), least=1)
    found.controller.drain("n1")
    found.run(2)
    journal = json.loads(json.dumps(found.controller.journal()))
    again = Controller.restore(journal)
    assert again.journal() == journal
    other = World(again, found.nodes, found.now_s)
    other.run(12)
    assert all(other.mapped(f"m{number}") == ("n2",) for number in range(6))


def test_after_a_restart_nodes_have_time_to_report_before_they_are_dead() -> None:
    found = started(Node("n1"), Node("n2"))
    again = Controller.restore(found.controller.journal())
    other = World(again, found.nodes, 1e6)
    before = {name: {*node.files} for name, node in found.nodes.items()}
    other.run(5)
    assert {name: {*node.files} for name, node in other.nodes.items()} == before


def test_a_journal_of_an_older_release_is_read() -> None:
    found = world(Node("a"), Node("b"))
    found.controller.apply(spec(model("m")))
    found.run()
    found.controller.drain("a")
    older = found.controller.journal()
    del older["restarting"], older["surplus"]
    again = Controller.restore(older)
    assert (again.restarting, again.leaving) == ("", {"a"})


@pytest.mark.parametrize(
    "journal", [{}, {"schema": 2}, {"schema": 1, "generation": 0, "spec": {"name": 3}}]
)
def test_says_that_a_journal_cannot_be_read(journal: dict[str, object]) -> None:
    with pytest.raises(DataLoss, match="journal of the cluster cannot be read"):
        Controller.restore(journal)


def test_a_node_that_restarts_is_asked_for_all_that_it_has() -> None:
    controller = Controller()
    first = NodeReport(name="n1", rest="h:1", memory_bytes=1, incarnation="1", is_partial=True)
    assert controller.report(first, 0.0).wants_all
    whole = NodeReport(name="n1", rest="h:1", memory_bytes=1, incarnation="1")
    assert not controller.report(whole, 1.0).wants_all
    assert not controller.report(first, 2.0).wants_all
    second = NodeReport(name="n1", rest="h:1", memory_bytes=1, incarnation="2", is_partial=True)
    assert controller.report(second, 3.0).wants_all


@pytest.mark.parametrize(
    "report",
    [
        NodeReport(name="n1"),
        NodeReport(name="n 1", rest="h:1"),
        NodeReport(name="n1", rest="h:1", memory_bytes=-1),
        NodeReport(name="n1", rest="h:1", cores=0),
        NodeReport(name="n1", rest="h:1", cores=float("nan")),
    ],
)
def test_takes_no_report_that_cannot_be(report: NodeReport) -> None:
    controller = Controller()
    with pytest.raises(InvalidArgument):
        controller.report(report, 0.0)
    assert controller.status().nodes == ()


# -- versions ------------------------------------------------------------------------------------


def test_a_version_is_the_clusters_when_most_replicas_have_it_and_labels_move_with_it() -> None:
    loads = {("m", 1)}
    nodes = [Node(f"n{number}", loads={*loads}) for number in range(3)]
    found = world(*nodes)
    found.controller.apply(spec(model("m", 3, labels={"stable": 1})))
    found.controller.found({"m": (1,)})
    found.run()
    assert found.controller.peer_map.models["m"].labels == {"stable": 1}
    found.controller.apply(spec(model("m", 3, labels={"stable": 2})))
    found.controller.found({"m": (1, 2)})
    for number in range(2):
        found.run(4)
        placed = found.controller.peer_map.models["m"]
        assert (placed.versions, placed.labels) == ((1,), {"stable": 1})
        assert nodes[0].files["m"] == (1, 2)
        assert nodes[0].loads is not None
        nodes[number].loads.add(("m", 2))  # type: ignore[union-attr]
    found.run(4)
    placed = found.controller.peer_map.models["m"]
    assert (placed.versions, placed.labels) == ((2,), {"stable": 2})
    assert placed.nodes == tuple(name for name in placed.nodes if name != "n2")
    assert nodes[0].labels["m"] == {"stable": 2}
    assert nodes[2].labels["m"] == {}


def test_a_version_that_fails_leaves_the_one_before_it() -> None:
    node = Node("n1", fails={("m", 2): "no such operation"})
    found = world(node)
    found.controller.apply(spec(model("m")))
    found.controller.found({"m": (1,)})
    found.run()
    found.controller.found({"m": (1, 2)})
    found.run(20)
    assert found.controller.peer_map.models["m"].versions == (1,)
    assert found.mapped("m") == ("n1",)
    assert "version 2 at n1: no such operation" in found.controller.status().models[0].error


def test_goes_back_to_an_earlier_version() -> None:
    found = world(Node("n1"), Node("n2"))
    found.controller.apply(spec(model("m", 2, policy=Specific((2,)))))
    found.controller.found({"m": (1, 2)})
    found.run()
    assert found.controller.peer_map.models["m"].versions == (2,)
    found.controller.apply(spec(model("m", 2, policy=Specific((1,)))))
    found.run()
    assert found.controller.peer_map.models["m"].versions == (1,)
    assert all(node.files["m"] == (1,) for node in found.nodes.values())


def test_serves_as_many_versions_as_the_policy_says() -> None:
    found = world(Node("n1"))
    found.controller.apply(spec(model("m", policy=Latest(2))))
    found.controller.found({"m": (1, 2, 3)})
    found.run()
    assert found.controller.peer_map.models["m"].versions == (2, 3)
    found.controller.found({"m": (1, 2, 3, 4)})
    found.run()
    assert found.controller.peer_map.models["m"].versions == (3, 4)


def test_nodes_find_versions_by_themselves_where_nobody_says_which_there_are() -> None:
    found = world(Node("n1", versions={"m": (7,)}), Node("n2", versions={"m": (7,)}))
    found.controller.apply(spec(model("m", 2)))
    found.run()
    assert found.controller.peer_map.models["m"].versions == (7,)


def test_takes_the_versions_that_a_node_has_found() -> None:
    found = world(Node("n1", found={"m": (3, 5)}))
    found.controller.apply(spec(model("m")))
    found.run()
    assert found.nodes["n1"].files["m"] == (5,)


def test_a_new_version_waits_until_there_is_memory_for_both() -> None:
    found = world(Node("n1", memory_bytes=150 * MIB))
    found.controller.apply(spec(model("m", 1)), {"m": 100 * MIB})
    found.controller.found({"m": (1,)})
    found.run()
    found.controller.found({"m": (1, 2)})
    found.run()
    assert found.nodes["n1"].files["m"] == (1,)
    assert "waits for memory" in found.controller.why("m")
    found.nodes["n1"].memory_bytes = 250 * MIB
    found.run()
    assert found.nodes["n1"].files["m"] == (2,)


# -- demand --------------------------------------------------------------------------------------


def ask(found: World, name: str, per_second: int, seconds: int, queued: int = 0) -> None:
    for _ in range(seconds):
        for node in found.nodes.values():
            if name in node.files:
                count = node.requests.get(name, 0) + per_second // len(found.at(name))
                node.requests[name] = count
                node.queued[name] = queued // len(found.at(name))
        found.run(1)


def test_a_hot_model_gains_replicas_and_loses_them_slowly() -> None:
    found = started(*(Node(f"n{number}") for number in range(4)), models=2)
    ask(found, "m0", 100, 10, queued=12)
    found.run(3)
    hot = len(found.at("m0"))
    assert hot >= 3
    assert len(found.at("m1")) == 1
    for node in found.nodes.values():
        node.queued.clear()
    found.run(30)
    assert len(found.at("m0")) == hot
    found.run(400)
    assert len(found.at("m0")) == 1


def test_a_short_burst_adds_no_replica() -> None:
    found = started(Node("n1"), Node("n2"), models=1)
    ask(found, "m0", 100, 2, queued=12)
    for node in found.nodes.values():
        node.queued.clear()
    found.run(10)
    assert len(found.at("m0")) == 1


def test_a_model_has_no_more_replicas_than_its_maximum() -> None:
    found = world(*(Node(f"n{number}") for number in range(4)))
    found.controller.apply(spec(model("m", 1, 2)))
    found.run()
    ask(found, "m", 1000, 30, queued=200)
    assert len(found.at("m")) == 2


def test_a_model_that_may_have_no_replica_is_loaded_when_it_is_asked_for() -> None:
    found = world(Node("n1"), Node("n2"))
    found.controller.apply(spec(model("m", 0, 2)), {"m": 10 * MIB})
    found.run()
    home = found.mapped("m")
    assert len(home) == 1  # requests find it, and wait there
    assert found.controller.status().models[0].state == "cold"
    assert found.nodes[home[0]].desire.resident == ()  # type: ignore[union-attr]
    ask(found, "m", 5, 3)
    found.run(2)
    assert found.mapped("m") == home
    assert {*found.nodes[home[0]].desire.resident} == {"m"}  # type: ignore[union-attr]
    found.run(400)
    assert found.nodes[home[0]].desire.resident == ()  # type: ignore[union-attr]
    assert found.mapped("m") == home
    assert "is cold: it may have no replica" in found.controller.why("m")


def test_where_memory_is_short_the_models_asked_longest_ago_are_cold() -> None:
    found = started(Node("n1", memory_bytes=250 * MIB), models=4)
    ask(found, "m3", 5, 2)
    ask(found, "m2", 5, 2)
    found.run(5)
    assert {*found.nodes["n1"].desire.resident} == {"m2", "m3"}  # type: ignore[union-attr]
    assert all(found.mapped(f"m{number}") == ("n1",) for number in range(4))
    ask(found, "m0", 5, 2)
    found.run(5)
    assert {*found.nodes["n1"].desire.resident} == {"m0", "m2"}  # type: ignore[union-attr]


def test_what_is_asked_most_is_brought_into_memory_first() -> None:
    found = started(Node("n1"), models=3, least=1)
    ask(found, "m1", 20, 10)
    ask(found, "m2", 5, 10)
    found.nodes["n1"].incarnation = "2"
    found.nodes["n1"].requests.clear()
    found.run(1)
    assert found.nodes["n1"].desire is not None
    assert found.nodes["n1"].desire.resident == ("m1", "m2", "m0")


def test_a_model_with_a_minimum_stays_in_memory() -> None:
    found = world(Node("n1", memory_bytes=150 * MIB))
    found.controller.apply(
        spec(model("kept", 1), model("other")), {"kept": 100 * MIB, "other": 100 * MIB}
    )
    found.run()
    ask(found, "other", 50, 5)
    assert {*found.nodes["n1"].desire.resident} == {"kept"}  # type: ignore[union-attr]


def test_learns_from_nodes_how_large_models_are() -> None:
    found = world(Node("n1", sizes={"m": 70 * MIB}))
    found.controller.apply(spec(model("m")))
    found.run()
    assert found.controller.status().models[0].bytes == 70 * MIB


def test_a_model_is_placed_by_the_memory_that_its_processes_have() -> None:
    nodes = [Node(name, memory_bytes=250 * MIB) for name in ("n1", "n2")]
    found = started(*nodes, least=1, size=10)
    (home,) = found.mapped("m0")
    found.nodes[home].sizes["m0"] = 240 * MIB
    found.run(10)
    assert {model.bytes for model in found.controller.status().models} == {10 * MIB, 240 * MIB}
    assert [name for name in found.nodes[home].files if name != "m0"] == []


def test_what_a_version_takes_is_not_taken_for_more_while_its_successor_loads() -> None:
    controller = Controller()
    controller.apply(spec(model("m", 1)))
    states = (VersionReport(1, "AVAILABLE"), VersionReport(2, "LOADING"))
    for now_s, generation in enumerate([0, 0, 0, 0, 1, 1]):
        said = ModelReport(states, resident_bytes=150 * MIB, version_bytes=80 * MIB)
        report = NodeReport(
            name="n1", rest="h:1", memory_bytes=MIB << 10, generation=generation, models={"m": said}
        )
        controller.report(report, float(now_s))
        controller.tick(float(now_s))
    assert controller.status().models[0].bytes == 80 * MIB


# -- why -----------------------------------------------------------------------------------------


def test_says_why_a_model_is_nowhere() -> None:
    found = world(Node("n1", memory_bytes=100 * MIB))
    found.controller.apply(spec(model("huge", 1)), {"huge": 200 * MIB})
    found.run()
    text = found.controller.why("huge")
    assert "huge fits nowhere: it takes 200.0 MiB" in text
    assert "the largest node has 100.0 MiB" in text
    assert found.controller.status().counts == {"nowhere": 1}


def test_says_why_there_are_fewer_replicas_than_there_should_be() -> None:
    found = started(Node("n1"), models=1, least=3)
    assert "m0 has 1 of 3 replicas: there is 1 node." in found.controller.why("m0")


def test_says_which_model_was_probably_meant() -> None:
    found = started(Node("n1"), models=1)
    assert found.controller.why("mo") == "mo is no model of this cluster; is it m0?"


def test_says_how_a_node_fails_to_load() -> None:
    found = world(Node("n1", fails={("m", 1): "no such file"}))
    found.controller.apply(spec(model("m")))
    found.run()
    assert "- n1: version 1 END (no such file)" in found.controller.why("m")
    assert found.controller.status().counts == {"failed": 1}


def test_has_a_status_of_values_that_json_has() -> None:
    found = started(Node("n1"), models=1)
    document = json.loads(json.dumps(found.controller.status().document()))
    assert document["schema"] == 1
    assert document["models"][0]["nodes"] == ["n1"]
    assert document["nodes"][0]["used_bytes"] == 100 * MIB


def test_what_was_to_leave_and_stays_after_all_keeps_no_room_from_another() -> None:
    sizes = {"m0": 5 * MIB, "m1": 15 * MIB, "m2": 25 * MIB, "m3": 35 * MIB}
    small = [model(name) for name in ("m0", "m1", "m2")]
    world = World(Controller(), {"n0": Node("n0", 60 * MIB, sizes=sizes)})
    world.controller.apply(spec(*small), sizes)
    world.run(40)
    world.controller.apply(spec(), sizes)
    world.controller.apply(spec(*small, model("m3", pinned=True)), sizes)
    world.run(40)
    found = {each.name: each.nodes for each in world.controller.status().models}
    assert found["m3"] == ("n0",)
