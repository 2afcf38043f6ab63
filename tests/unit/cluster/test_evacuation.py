from dataclasses import replace

from tests.unit.cluster.simulated import MIB, Node, World, model, spec, world

from salver.cluster.spec import NodesSpec

WAIT_S = 60


def full(*, size: int = 100, least: int = 1) -> World:
    """Two nodes, each with room for its own model alone."""
    found = world(Node("n1", 150 * MIB), Node("n2", 150 * MIB))
    names = ("m1", "m2")
    found.controller.apply(
        spec(*(model(name, least) for name in names)), dict.fromkeys(names, size * MIB)
    )
    found.run()
    return found


def is_stuck(found: World) -> bool:
    return found.controller.is_stuck


def at(found: World, node: str) -> str:
    (name,) = found.nodes[node].files
    return name


def test_a_restart_waits_a_bounded_time_for_room_elsewhere() -> None:
    found = full()
    found.controller.restart("n1")
    found.run(WAIT_S - 5)
    assert not is_stuck(found)
    found.run(10)
    assert is_stuck(found)
    assert found.mapped(at(found, "n1")) == ("n1",)


def test_says_before_what_nobody_will_answer_for() -> None:
    found = full()
    name = at(found, "n1")
    found.controller.restart("n1")
    found.run(5)
    (notice,) = found.controller.problems.values()
    assert f"others cannot take over {name} (no other node has room). In 5" in notice
    assert f"{name} cannot be asked meanwhile" in notice
    assert "n1 is to have other flags, and no other node has room" in found.controller.why(name)
    assert "other flags" not in found.controller.why(at(found, "n2"))
    found.run(WAIT_S)
    (notice,) = found.controller.problems.values()
    assert "is being started anew where it is" in notice
    found.controller.restart("")
    found.run(2)
    assert found.controller.problems == {}


def test_room_that_comes_in_time_ends_the_wait() -> None:
    found = full()
    name = at(found, "n1")
    found.controller.restart("n1")
    found.run(WAIT_S - 10)
    found.nodes["n3"] = Node("n3")
    found.run(30)
    assert not is_stuck(found)
    assert found.controller.problems == {}
    assert found.mapped(name) == ("n3",)


def test_what_still_loads_elsewhere_is_waited_for() -> None:
    found = full()
    found.nodes["n3"] = Node("n3", loads=set())
    found.run(2)
    found.controller.restart("n1")
    found.run(2 * WAIT_S)
    assert not is_stuck(found)


def test_what_cannot_be_loaded_elsewhere_is_not_waited_for() -> None:
    found = full()
    name = at(found, "n1")
    found.nodes["n3"] = Node("n3", fails={(name, 1): "no space left"})
    found.run(2)
    found.controller.restart("n1")
    found.run(5)
    (notice,) = found.controller.problems.values()
    assert f"{name} (it cannot be loaded at n3)" in notice
    found.run(WAIT_S)
    assert is_stuck(found)


def test_a_model_that_others_answer_for_too_is_not_said_to_be_away() -> None:
    found = world(Node("n1"), Node("n2"), Node("n3", fails={("m", 1): "no space left"}))
    found.nodes["n3"].memory_bytes = 0
    found.controller.apply(spec(model("m", 2)), {"m": 100 * MIB})
    found.run()
    assert {*found.mapped("m")} == {"n1", "n2"}
    found.nodes["n3"].memory_bytes = 1000 * MIB
    found.controller.restart("n1")
    found.run(5)
    (notice,) = found.controller.problems.values()
    assert "it cannot be loaded at n3" in notice
    assert "cannot be asked" not in notice


def test_a_drain_that_a_person_has_asked_for_waits_for_ever_and_says_why() -> None:
    found = full()
    name = at(found, "n1")
    found.controller.drain("n1")
    found.run(3 * WAIT_S)
    assert not is_stuck(found)
    assert found.mapped(name) == ("n1",)
    assert found.controller.problems == {
        "the drain of n1": f"others cannot take over {name} (no other node has room); it waits"
    }


def test_a_superfluous_node_whose_models_cannot_be_loaded_elsewhere_takes_models_again() -> None:
    found = world(Node("n1"), Node("n2", fails={("m", 1): "no space left"}))
    found.controller.apply(
        replace(spec(model("m", 1)), nodes=NodesSpec(idle_s=30)), {"m": 100 * MIB}
    )
    found.nodes["n2"].memory_bytes = 0
    found.run()
    found.nodes["n2"].memory_bytes = 1000 * MIB

    def run(seconds: int) -> None:
        for _ in range(seconds):
            found.controller.see(found.nodes.keys(), ["n2"])
            found.run(1)

    run(50)
    assert found.controller.surplus == {"n1"}
    (problem,) = found.controller.problems.items()
    assert problem[0] == "the return of n1"
    assert "others cannot take over m (it cannot be loaded at n2). In " in problem[1]
    assert "n1 is superfluous, and it cannot be loaded at n2" in found.controller.why("m")
    run(WAIT_S - 5)
    assert found.controller.surplus == set()
    assert found.mapped("m") == ("n1",)
    assert found.controller.problems == {}


def test_a_model_that_may_leave_memory_does_so_where_it_fits_beside_nothing() -> None:
    sizes = {"kept1": 120 * MIB, "kept2": 120 * MIB, "large": 90 * MIB}
    found = world(*(Node(f"n{number}", 200 * MIB) for number in range(3)))
    kept = [model("kept1", 1), model("kept2", 1)]
    found.controller.apply(spec(*kept, model("large")), sizes)
    found.run(10)
    (home,) = found.mapped("large")
    found.controller.restart(home)
    found.run(10)
    assert found.mapped("large") not in ((), (home,))
    assert found.controller.status().counts == {"available": 2, "cold": 1}
    assert not found.nodes[home].files
