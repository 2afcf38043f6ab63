import pytest

from salver.cluster.growing import Wanted, crowded, request_of, superfluous, wanted_nodes
from salver.cluster.needs import ModelNeed, NodeRoom
from salver.cluster.spec import NodesSpec

GIB = 1 << 30


@pytest.mark.parametrize(
    ("staying", "is_short", "bounds", "more"),
    [
        ("", False, (1, 0), 1),
        ("", False, (3, 0), 3),
        ("ab", False, (1, 0), 0),
        ("ab", True, (1, 0), 1),
        ("ab", True, (1, 2), 0),
        ("", True, (1, 5), 1),
        ("a", False, (2, 0), 1),
    ],
)
def test_nodes_are_those_that_are_there_and_one_more_for_a_model_that_lacks_room(
    staying: str, is_short: bool, bounds: tuple[int, int], more: int
) -> None:
    spec = NodesSpec(min=bounds[0], max=bounds[1])
    assert wanted_nodes(spec, [*staying], is_short=is_short) == Wanted((*staying,), more)


def test_no_more_nodes_are_asked_for_than_there_may_be() -> None:
    assert wanted_nodes(NodesSpec(max=2), [*"cab"], is_short=False) == Wanted(("a", "b"))


def test_each_node_asks_for_all_of_itself_so_that_a_further_one_fits_beside_none() -> None:
    processors = {"head": 0.0, "small": 2.0, "large": 16.0, "leaves": 16.0}
    wanted = Wanted(("head", "large", "small"), 1)
    assert request_of(wanted, (), processors, 1.0) == [{"CPU": 16.0}, {"CPU": 2.0}, {"CPU": 1.0}]


def test_a_node_that_leaves_is_no_room_for_a_further_one() -> None:
    processors = {"drained": 8.0, "small": 2.0, "new": 4.0}
    bundles = request_of(Wanted(("small",), 1), ("small", "drained"), processors, 1.0)
    assert bundles == [{"CPU": 8.0}, {"CPU": 2.0}, {"CPU": 1.0}]


def test_nothing_is_asked_for_where_the_nodes_that_stay_are_enough() -> None:
    assert request_of(Wanted(("head", "large")), (), {"head": 2.0, "large": 16.0}, 1.0) == []


def without(
    *models: tuple[str, float, str],
    nodes: str = "abc",
    kept: str = "a",
    zones: str = "",
    busy: float = 0.0,
    pinned: str = "",
) -> str:
    """The superfluous one of some nodes of 1 GiB, by models with their GiB and nodes."""
    needs = [
        ModelNeed(name, int(part * GIB), busy, len(at), len(at), is_pinned=name in pinned)
        for name, part, at in models
    ]
    rooms = [
        NodeRoom(name, GIB, 4.0, zone)
        for name, zone in zip(nodes, zones or " " * len(nodes), strict=True)
    ]
    before = {name: tuple(at) for name, _, at in models}
    return superfluous(needs, rooms, before, [*kept], head_room=0.2, busy_share=0.5)


def test_the_emptiest_node_is_superfluous_where_the_others_have_room_to_spare() -> None:
    assert without(("m", 0.4, "a"), ("n", 0.3, "b"), ("o", 0.2, "c")) == "c"
    assert without(("m", 0.4, "a"), ("n", 0.2, "b"), ("o", 0.3, "c")) == "b"


def test_no_node_is_superfluous_where_the_others_would_be_nearly_full() -> None:
    assert without(("m", 0.5, "a"), ("n", 0.2, "b"), nodes="ab") == "b"
    assert without(("m", 0.7, "a"), ("n", 0.2, "b"), nodes="ab") == ""


def test_models_do_not_only_fit_as_a_sum() -> None:
    assert without(("m", 0.5, "a"), ("n", 0.5, "b"), ("o", 0.5, "c")) == ""


def test_no_node_is_superfluous_that_a_replica_needs() -> None:
    assert without(("m", 0.1, "ab"), nodes="ab") == ""
    assert without(("m", 0.1, "ab")) == "c"


def test_the_last_node_is_never_superfluous() -> None:
    assert without(nodes="a", kept="") == ""


def test_kept_nodes_are_never_superfluous() -> None:
    assert without(("m", 0.1, "b"), nodes="ab") == "b"
    assert without(("m", 0.1, "b"), nodes="ab", kept="ab") == ""


def test_a_node_with_a_pinned_model_is_not_superfluous() -> None:
    assert without(("m", 0.1, "b"), nodes="ab", pinned="m") == ""


def test_the_last_node_of_a_zone_is_not_superfluous() -> None:
    assert without(("m", 0.1, "a"), nodes="abc", zones="xxy") == "b"
    assert without(("m", 0.1, "a"), nodes="ab", zones="xy") == ""


def test_no_node_is_superfluous_whose_processors_are_needed() -> None:
    assert without(("m", 0.1, "a"), nodes="ab", busy=1.9) == "b"
    assert without(("m", 0.1, "a"), nodes="ab", busy=2.1) == ""


def crowd(*models: tuple[str, float, str], nodes: str = "ab", pinned: str = "") -> dict[str, int]:
    """Which models crowd some nodes of 4 processors, by models with their load and nodes."""
    needs = [
        ModelNeed(name, 1, busy, len(at), len(at), is_pinned=name in pinned)
        for name, busy, at in models
    ]
    rooms = [NodeRoom(name, GIB, 4.0) for name in nodes]
    return crowded(needs, rooms, {name: tuple(at) for name, _, at in models}, busy_share=0.5)


def test_models_crowd_a_node_that_they_keep_too_busy_together() -> None:
    found = crowd(("m", 1.0, "a"), ("n", 1.5, "a"), ("o", 1.0, "b"), ("p", 1.0, "b"))
    assert found == {"m": 1, "n": 1}
    assert crowd(*((name, 0.3, "a") for name in "0123456789"), nodes="a") == dict.fromkeys(
        "0123456789", 9
    )


def test_a_model_alone_does_not_crowd_its_node_for_a_further_one_would_not_relieve_it() -> None:
    assert crowd(("m", 3.0, "a"), ("n", 2.5, "b")) == {}
    assert crowd(("m", 3.0, "a"), ("n", 2.5, "b"), ("o", 0.1, "a")) == {}


def test_models_with_several_replicas_crowd_each_node_with_their_part() -> None:
    assert crowd(("m", 4.0, "ab"), ("n", 1.0, "b")) == {"m": 1, "n": 1}


def test_pinned_models_do_not_leave_a_node_that_they_keep_busy() -> None:
    assert crowd(("m", 2.0, "a"), ("n", 2.0, "a"), pinned="mn", nodes="a") == {}
    assert crowd(("m", 2.0, "a"), ("n", 2.0, "a"), pinned="m", nodes="a") == {"n": 1}
