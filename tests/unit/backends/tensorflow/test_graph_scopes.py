from salver.backends.tensorflow.graph_scopes import Scope, node_of, short


def test_inputs_name_nodes_in_several_ways() -> None:
    assert [node_of(name) for name in ("x", "x:0", "^x", "x:output:0", "")] == [*"xxxx", ""]


def test_a_value_is_followed_to_where_it_comes_from() -> None:
    scope = Scope(handed_on={"a": "b", "b": "c"})
    assert scope.origin("a:0") == "c"
    assert scope.origin("z") == "z"


def test_a_value_that_comes_from_itself_is_not_followed_for_ever() -> None:
    assert Scope(handed_on={"a": "b", "b": "a"}).origin("a") in "ab"


def test_the_longest_row_of_nodes_that_hand_on_is_found() -> None:
    assert Scope().most_handed_on() == 0
    assert Scope(handed_on={"b": "a", "c": "b", "d": "c", "z": "y"}).most_handed_on() == 3
    assert Scope(handed_on={"d": "c", "c": "b", "b": "a", "e": "b"}).most_handed_on() == 3


def test_a_row_that_comes_back_to_itself_has_an_end() -> None:
    assert Scope(handed_on={"a": "b", "b": "c", "c": "a"}).most_handed_on() <= 3
    assert Scope(handed_on={"a": "a"}).most_handed_on() <= 1


def test_a_long_row_is_no_deep_recursion() -> None:
    row = {f"n{n + 1}": f"n{n}" for n in range(50_000)}
    assert Scope(handed_on=row).most_handed_on() == 50_000


def test_faults_name_the_node_and_its_function() -> None:
    scope = Scope()
    scope.blame("n", "Add", "is wrong")
    scope.name, scope.is_function = "f", True
    scope.blame("n", "Add", "is wrong")
    assert [fault.text for fault in scope.faults] == [
        "Node n (Add) is wrong",
        "Node n (Add) of function f is wrong",
    ]


def test_claims_that_every_machine_can_meet_are_no_faults() -> None:
    scope = Scope()
    scope.blame("n", "Fill", "is large", claimed_bytes=1 << 20)
    assert not scope.faults
    scope.blame("n", "Fill", "is large", claimed_bytes=1 << 40)
    assert scope.faults[0].claimed_bytes == 1 << 40


def test_not_every_fault_of_a_hostile_graph_is_kept() -> None:
    scope = Scope()
    for _ in range(1000):
        scope.blame("n", "Abort", "is wrong")
    assert len(scope.faults) < 100


def test_names_without_end_are_cut() -> None:
    assert short("n") == "n"
    assert len(short("n" * 10_000_000)) < 200
