import pytest

from salver.cluster.truth import aspired, enough, labels_of, settle
from salver.vocabulary.servable import All, Latest, Specific, VersionPolicy


def test_more_than_half_is_enough() -> None:
    assert [enough(count) for count in range(1, 7)] == [1, 2, 2, 3, 3, 4]


@pytest.mark.parametrize(
    ("policy", "versions"),
    [(Latest(), (5,)), (Latest(2), (3, 5)), (All(), (1, 3, 5)), (Specific((1, 4)), (1,))],
)
def test_selects_versions_as_one_server_does(
    policy: VersionPolicy, versions: tuple[int, ...]
) -> None:
    assert aspired(policy, [5, 1, 3]) == versions


def test_serves_the_first_version_as_soon_as_anybody_has_it() -> None:
    assert settle(Latest(), (1,), (), {1: 1}, 3) == (1,)


def test_changes_over_when_most_have_the_next_one() -> None:
    assert settle(Latest(), (2,), (1,), {1: 3, 2: 1}, 3) == (1,)
    assert settle(Latest(), (2,), (1,), {1: 3, 2: 2}, 3) == (2,)


def test_keeps_a_version_while_few_have_it_for_new_replicas_have_nothing_yet() -> None:
    assert settle(Latest(), (1,), (1,), {1: 1}, 5) == (1,)


def test_serves_nothing_where_nobody_has_anything() -> None:
    assert settle(Latest(), (2,), (1,), {}, 2) == ()


def test_goes_back_only_when_most_have_the_earlier_one() -> None:
    assert settle(Specific((1,)), (1,), (2,), {2: 2, 1: 1}, 2) == (2,)
    assert settle(Specific((1,)), (1,), (2,), {2: 2, 1: 2}, 2) == (1,)


def test_makes_up_for_versions_that_are_not_ready_with_those_that_were_served() -> None:
    assert settle(Latest(2), (2, 3), (1, 2), {1: 2, 2: 2}, 2) == (1, 2)
    assert settle(Latest(2), (2, 3), (1, 2), {1: 2, 2: 2, 3: 2}, 2) == (2, 3)


def test_serves_meanwhile_what_a_controller_that_starts_finds() -> None:
    assert settle(Latest(), (5,), (), {1: 2}, 2) == (1,)


def test_nodes_that_find_versions_by_themselves_change_over_when_most_have() -> None:
    assert settle(Latest(), (), (3,), {3: 1, 4: 1}, 2) == (3,)
    assert settle(Latest(), (), (3,), {4: 2}, 2) == (4,)


def test_a_label_stays_until_its_version_is_served() -> None:
    assert labels_of({"stable": 2}, {"stable": 1}, (1,)) == {"stable": 1}
    assert labels_of({"stable": 2}, {"stable": 1}, (1, 2)) == {"stable": 2}
    assert labels_of({"stable": 2}, {"stable": 1}, (3,)) == {}
    assert labels_of({}, {"stable": 1}, (1,)) == {}
