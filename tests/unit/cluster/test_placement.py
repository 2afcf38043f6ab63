from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from salver.cluster.placement import Assignment, ModelNeed, NodeRoom, place

MIB = 1 << 20


def nodes(*sizes: int, zones: str = "") -> list[NodeRoom]:
    return [
        NodeRoom(f"n{number}", size, 1.0, zones[number] if zones else "")
        for number, size in enumerate(sizes)
    ]


def used(models: list[ModelNeed], assignment: Assignment) -> Counter[str]:
    count: Counter[str] = Counter()
    for model in models:
        for node in assignment[model.name]:
            count[node] += model.bytes
    return count


def moves(before: Assignment, after: Assignment) -> int:
    return sum(len({*names} - {*before.get(model, ())}) for model, names in after.items())


def many(count: int, size: int = 1, replicas: int = 1) -> list[ModelNeed]:
    return [ModelNeed(f"m{number}", size, 0.0, replicas, replicas) for number in range(count)]


def test_gives_each_model_its_replicas_at_different_nodes() -> None:
    assignment = place(many(50, 1, 3), nodes(100, 100, 100, 100), {})
    assert all(len({*names}) == 3 for names in assignment.values())


def test_puts_replicas_into_different_zones() -> None:
    rooms = nodes(1000, 1000, 1000, 1000, 1000, 1000, zones="aabbcc")
    zone = {node.name: node.zone for node in rooms}
    for names in place(many(60, 1, 3), rooms, {}).values():
        assert {zone[name] for name in names} == {"a", "b", "c"}


def test_moves_replicas_out_of_a_zone_that_they_share_when_another_one_appears() -> None:
    models = many(10, 1, 2)
    before = place(models, nodes(1000, 1000, zones="aa"), {})
    rooms = nodes(1000, 1000, 1000, zones="aab")
    after = place(models, rooms, before)
    assert all("n2" in names for names in after.values())
    assert moves(before, after) == 10


def test_moves_what_a_dead_node_had_and_nothing_else() -> None:
    models = many(300, 1, 2)
    rooms = nodes(*[1000] * 10)
    before = place(models, rooms, {})
    after = place(models, rooms[1:], before)
    had = sum("n0" in names for names in before.values())
    assert had <= moves(before, after) <= had + 3


def test_moves_about_its_share_to_a_node_that_comes() -> None:
    models = many(300, 1, 1)
    before = place(models, nodes(*[1000] * 9), {})
    after = place(models, nodes(*[1000] * 10), before)
    share = 300 / 10
    assert 0.7 * share <= used(models, after)["n9"] <= 1.3 * share
    assert moves(before, after) <= 1.3 * share


def test_gives_nodes_shares_by_their_memory() -> None:
    models = many(400)
    count = used(models, place(models, nodes(3000, 1000), {}))
    assert 2.2 < count["n0"] / count["n1"] < 4.0


def test_spreads_the_rate_by_processors() -> None:
    rooms = [NodeRoom("big", 1000, 12.0), NodeRoom("small", 1000, 4.0)]
    models = [ModelNeed(f"m{number}", 1, 1.0) for number in range(200)]
    assignment = place(models, rooms, {})
    count = Counter(name for names in assignment.values() for name in names)
    assert count["small"] <= 50 * 1.5
    assert count["big"] <= 150 * 1.5


def test_moves_models_for_their_rate_from_nodes_alone_that_have_much_to_do() -> None:
    rooms = [NodeRoom(name, 1000, 8.0) for name in ("n0", "n1", "n2")]
    before = {f"m{number}": (f"n{number % 3}",) for number in range(12)}

    def moved(rate: float) -> int:
        rates = {name: rate if node == ("n1",) else 0.0 for name, node in before.items()}
        return moves(
            before, place([ModelNeed(name, 1, each) for name, each in rates.items()], rooms, before)
        )

    assert moved(0.9) == 0  # it is busy for less than half of its time
    assert moved(2.0) > 0


def test_spreads_models_that_take_no_memory() -> None:
    count = Counter(
        name for names in place(many(1000, 0), nodes(*[10] * 4), {}).values() for name in names
    )
    assert all(180 <= count[f"n{number}"] <= 320 for number in range(4))


def test_names_no_node_for_a_model_that_is_larger_than_every_node() -> None:
    models = [ModelNeed("huge", 101), ModelNeed("small", 1)]
    assignment = place(models, nodes(100, 100), {})
    assert assignment["huge"] == ()
    assert len(assignment["small"]) == 1


def test_surplus_replicas_make_room_for_a_model_that_has_none() -> None:
    models = [ModelNeed("many", 60, 0.0, 2, 1), ModelNeed("one", 60)]
    before = {"many": ("n0", "n1")}
    assignment = place(models, nodes(100, 100), before)
    assert len(assignment["many"]) == 1
    assert len(assignment["one"]) == 1


def test_replicas_that_must_be_make_no_room() -> None:
    models = [ModelNeed("many", 60, 0.0, 2, 2), ModelNeed("one", 60)]
    before = {"many": ("n0", "n1")}
    assert place(models, nodes(100, 100), before) == {**before, "one": ()}


def test_models_move_together_where_only_that_makes_room() -> None:
    models = [ModelNeed("a", 50), ModelNeed("b", 50), ModelNeed("large", 100)]
    before = {"a": ("n0",), "b": ("n1",)}
    assignment = place(models, nodes(100, 100), before)
    assert assignment["a"] == assignment["b"]
    assert assignment["large"] != assignment["a"]
    assert all(assignment.values())


def test_has_models_leave_a_node_that_they_fit_no_more() -> None:
    before = {f"m{number}": ("n0",) for number in range(4)}
    models = many(4, 30)
    assignment = place(models, nodes(100, 100), before)
    assert used(models, assignment)["n0"] <= 100
    assert moves(before, assignment) <= 2


def test_leaves_pinned_models_where_they_are() -> None:
    models = [ModelNeed(f"m{number}", 1, 0.0, 1, 1, is_pinned=True) for number in range(20)]
    before = {model.name: ("n0",) for model in models}
    assert place(models, nodes(100, 100), before) == before


def test_moves_no_more_for_balance_than_is_permitted() -> None:
    models = many(100)
    before = {model.name: ("n0",) for model in models}
    assert moves(before, place(models, nodes(1000, 1000), before, most_moves=7)) == 7


def test_knows_no_nodes_and_no_models() -> None:
    assert place([], nodes(1), {}) == {}
    assert place(many(1), [], {"m0": ("gone",)}) == {"m0": ()}


def test_takes_back_surplus_replicas() -> None:
    before = {"m0": ("n0", "n1", "n2")}
    assignment = place(many(1, 1, 1), nodes(10, 10, 10), before)
    assert len(assignment["m0"]) == 1


_sizes = st.integers(0, 60)
_models = st.lists(
    st.tuples(_sizes, st.integers(0, 5), st.integers(0, 3), st.integers(0, 3), st.booleans()),
    max_size=14,
).map(
    lambda rows: [
        ModelNeed(f"m{number}", size, float(rate), max(a, b), min(a, b), pinned)
        for number, (size, rate, a, b, pinned) in enumerate(rows)
    ]
)
_rooms = st.lists(
    st.tuples(st.integers(0, 150), st.integers(1, 4), st.sampled_from(["", "a", "b"])),
    max_size=6,
).map(
    lambda rows: [
        NodeRoom(f"n{number}", size, float(cores), zone)
        for number, (size, cores, zone) in enumerate(rows)
    ]
)
_names = st.sampled_from([f"n{number}" for number in range(7)])
_before = st.dictionaries(
    st.sampled_from([f"m{number}" for number in range(16)]),
    st.lists(_names, max_size=4).map(tuple),
)


@given(_models, _rooms, _before)
def test_never_exceeds_memory_and_leaves_no_model_out_that_fits(
    models: list[ModelNeed], rooms: list[NodeRoom], before: Assignment
) -> None:
    assignment = place(models, rooms, before)
    assert assignment.keys() == {model.name for model in models}
    count = used(models, assignment)
    free = {node.name: node.memory_bytes - count[node.name] for node in rooms}
    assert all(left >= 0 for left in free.values())
    for model in models:
        names = assignment[model.name]
        assert len({*names}) == len(names) <= model.replicas
        if len(names) < model.replicas:
            assert all(free[node] < model.bytes for node in free if node not in names)


@given(_models, _rooms, _before)
def test_leaves_alone_what_it_placed_but_for_what_it_finds_room_for_at_last(
    models: list[ModelNeed], rooms: list[NodeRoom], before: Assignment
) -> None:
    after = place(models, rooms, before)
    for _ in range(3):
        before, after = after, place(models, rooms, after)
    assert after == before


@given(_models, _rooms, _before)
def test_does_not_depend_on_the_order_of_its_arguments(
    models: list[ModelNeed], rooms: list[NodeRoom], before: Assignment
) -> None:
    after = place(models, rooms, before)
    turned = dict(reversed(list(before.items())))
    assert place(models[::-1], rooms[::-1], turned) == after


@given(_models, _rooms, _before)
def test_moves_for_balance_no_more_than_permitted(
    models: list[ModelNeed], rooms: list[NodeRoom], before: Assignment
) -> None:
    forced = place(models, rooms, before, most_moves=0)
    after = place(models, rooms, forced, most_moves=2)
    added = sum(len(names) - len(forced[model]) for model, names in after.items())
    assert moves(forced, after) <= 2 + added
