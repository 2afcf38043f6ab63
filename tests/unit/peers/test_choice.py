import random
from collections import Counter

import pytest

from salver.errors import Overloaded
from salver.peers.choice import Asked, Choice, is_about_equal

NODES = ("a", "b", "c")


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def made(clock: Clock, *, most: int = 1000) -> Choice:
    rolled = random.Random(7)
    return Choice(most_outstanding=most, monotonic=clock, pick=rolled.randrange, jitter=lambda: 1.0)


def asked(choice: Choice, nodes: tuple[str, ...] = NODES, tried: tuple[str, ...] = ()) -> Asked:
    found = choice.choose(nodes, tried)
    assert found is not None
    return found


def test_of_two_peers_the_one_with_fewer_requests_is_asked() -> None:
    choice = made(Clock())
    one = asked(choice, ("a", "b"))
    assert one.peer.name == "a"  # of equals the first
    assert asked(choice, ("a", "b")).peer.name == "b"
    one.answered()
    assert asked(choice, ("a", "b")).peer.name == "a"


def test_two_choices_share_out_requests_better_than_one() -> None:
    choice = made(Clock())
    nodes = tuple(f"n{number}" for number in range(20))
    counts = Counter(asked(choice, nodes).peer.name for _ in range(2000))
    assert len(counts) == 20
    assert max(counts.values()) <= 104  # 100 each; by one choice it is about 125


@pytest.mark.parametrize(
    ("near", "far", "expected"),
    [(0, 0, True), (2, 0, True), (3, 0, False), (10, 8, True), (11, 8, False), (50, 40, True),
     (51, 40, False), (1, 9, True)],
)  # fmt: skip
def test_a_peer_may_have_a_little_more_to_do_than_others(
    near: int, far: int, expected: bool
) -> None:
    assert is_about_equal(near, far) == expected


def test_peers_of_the_own_zone_are_asked_until_they_have_clearly_more_to_do() -> None:
    choice = made(Clock())
    choice.keep(NODES, ("b", "c"))
    counts = Counter(asked(choice).peer.name for _ in range(60))
    assert counts["a"] in range(14, 19)  # the others have a quarter more each
    assert abs(counts["b"] - counts["c"]) <= 2


def test_requests_that_are_answered_at_once_stay_in_the_own_zone() -> None:
    choice = made(Clock())
    choice.keep(NODES, ("c",))
    for _ in range(50):
        one = asked(choice)
        assert one.peer.name == "c"
        one.answered()


def test_where_no_peer_of_the_own_zone_can_be_asked_others_are() -> None:
    choice = made(Clock())
    choice.keep(NODES, ("b",))
    asked(choice).failed()
    assert asked(choice).peer.name in ("a", "c")
    assert asked(choice, ("a", "c")).peer.name in ("a", "c")
    choice.keep(NODES)
    assert {asked(choice, ("a", "c")).peer.name for _ in range(20)} == {"a", "c"}


def test_a_slow_peer_gets_few_requests() -> None:
    choice = made(Clock())
    counts: Counter[str] = Counter()
    for _ in range(300):
        one = asked(choice)
        counts[one.peer.name] += 1
        if one.peer.name != "b":  # which never answers
            one.answered()
    assert counts["b"] <= 2


def test_a_peer_that_was_tried_is_not_tried_again_for_the_same_request() -> None:
    choice = made(Clock())
    assert asked(choice, tried=("a", "b")).peer.name == "c"
    assert choice.choose(NODES, NODES) is None
    assert choice.choose(()) is None


def test_a_peer_that_fails_is_put_aside_for_twice_as_long_each_time() -> None:
    clock = Clock()
    choice = made(clock)
    for pause_s in (0.1, 0.2, 0.4, 0.8):
        asked(choice, ("a",)).failed()
        clock.now_s += pause_s - 0.01
        assert asked(choice, ("a", "b")).peer.name == "b"
        clock.now_s += 0.01
        asked(choice, ("a", "b"), ("b",)).given_up()
    for _ in range(40):
        asked(choice, ("a",)).failed()
        clock.now_s += 10.0
    assert choice.states()[0].aside_until_s <= clock.now_s


def test_one_request_finds_out_whether_a_peer_is_back() -> None:
    clock = Clock()
    choice = made(clock)
    asked(choice, ("a",)).failed()
    clock.now_s += 1.0
    trial = asked(choice, ("a",))
    assert choice.choose(("a",)) is None
    assert asked(choice, ("a", "b")).peer.name == "b"
    trial.answered()
    assert asked(choice, ("a",)).peer.name == "a"
    assert asked(choice, ("a",)).peer.name == "a"


def test_where_all_are_aside_one_request_at_a_time_tries_at_once() -> None:
    choice = made(Clock())
    asked(choice, ("a",)).failed()
    trial = asked(choice, ("a",))
    assert choice.choose(("a",)) is None
    trial.given_up()
    assert choice.choose(("a",)) is not None


def test_a_request_that_takes_long_to_find_out_keeps_others_from_it_for_a_second() -> None:
    clock = Clock()
    choice = made(clock)
    asked(choice, ("a",)).failed()
    slow = asked(choice, ("a",))
    clock.now_s += 0.99
    assert choice.choose(("a",)) is None
    clock.now_s += 0.01
    next = asked(choice, ("a",))
    assert choice.choose(("a",)) is None  # one a second
    slow.given_up()  # of the one that others wait for nothing is known by that
    assert choice.choose(("a",)) is None
    next.answered()
    assert asked(choice, ("a",)).peer.name == "a"
    assert asked(choice, ("a",)).peer.name == "a"


def test_a_peer_that_dies_with_many_requests_has_failed_once() -> None:
    clock = Clock()
    choice = made(clock)
    many = [asked(choice, ("a",)) for _ in range(100)]
    clock.now_s += 1.0
    for one in many:
        one.failed()
    assert choice.states()[0].failures == 1
    assert choice.states()[0].outstanding == 0


def test_a_request_that_is_late_speaks_against_a_peer_that_answers_nothing_else() -> None:
    clock = Clock()
    choice = made(clock)
    late, other, later = (asked(choice, ("a",)) for _ in range(3))
    clock.now_s += 1.0
    other.answered()
    late.expired()
    assert choice.states()[0].failures == 0
    clock.now_s += 1.0
    last = asked(choice, ("a",))
    clock.now_s += 1.0
    last.expired()
    later.given_up()
    assert choice.states()[0].failures == 1


def test_a_client_that_leaves_speaks_against_a_peer_that_answers_nothing_else() -> None:
    clock = Clock()
    choice = made(clock)
    early, late, other, last = (asked(choice, ("a",)) for _ in range(4))
    clock.now_s += 0.9
    early.left()
    clock.now_s += 0.1
    other.answered()
    late.left()
    assert choice.states()[0].failures == 0
    clock.now_s += 1.0
    begun = asked(choice, ("a",))
    clock.now_s += 1.0
    begun.left()
    last.left()
    assert choice.states()[0].failures == 1
    assert choice.states()[0].outstanding == 0


def test_requests_of_little_time_put_no_peer_aside_that_had_no_time_to_answer() -> None:
    clock = Clock()
    choice = made(clock)
    for _ in range(2000):  # a client that waits for 1 ms, where an answer takes longer
        one = asked(choice, ("a",))
        clock.now_s += 0.001
        one.expired()
    assert choice.states()[0].failures == 0
    one = asked(choice, ("a",))
    clock.now_s += 1.0
    one.expired()
    assert choice.states()[0].failures == 1


def test_no_more_requests_than_the_limit_wait_for_a_peer() -> None:
    choice = made(Clock(), most=2)
    waiting = [asked(choice) for _ in range(6)]
    with pytest.raises(Overloaded, match="requests wait for the server"):
        choice.choose(NODES)
    waiting[0].answered()
    assert asked(choice).peer.name == waiting[0].peer.name


def test_peers_that_are_no_more_in_the_map_are_forgotten_when_nothing_waits_for_them() -> None:
    choice = made(Clock())
    waiting = asked(choice, ("a",))
    asked(choice, ("b",)).answered()
    choice.keep(("c",))
    assert [peer.name for peer in choice.states()] == ["a"]
    waiting.given_up()
    choice.keep(("c",))
    assert choice.states() == []
