import random

import pytest

from salver.vocabulary.servable import ServableId
from salver.workers.blame import Blame, BlameShare

G, A, B = ServableId("guilty", 1), ServableId("a", 1), ServableId("b", 1)


def deaths(blame: Blame, id: ServableId) -> float:
    share = blame.shares().get(id)
    return 0.0 if share is None else share.deaths


def test_a_death_with_one_suspect_is_that_ones() -> None:
    blame = Blame()
    blame.died(0.0, "SIGABRT", {G: 7})
    blame.died(1.0, "SIGSEGV", {G: 9})
    assert blame.shares() == {G: BlameShare(2.0, "SIGSEGV", 9)}
    assert blame.shares()[G].count == 2


def test_a_death_without_a_suspect_is_nobodys() -> None:
    blame = Blame()
    blame.died(0.0, "SIGKILL", {})
    assert blame.shares() == {}


def test_who_has_answered_thousands_is_hardly_the_cause() -> None:
    blame = Blame()
    for at_s in range(3):
        blame.died(at_s, "SIGABRT", {G: 0, A: 50_000})
    assert blame.shares()[G].is_at_least(3)
    assert deaths(blame, A) < 0.01


def test_who_is_present_by_chance_is_cleared_by_the_deaths_of_others_alone() -> None:
    blame = Blame()
    blame.died(0.0, "SIGABRT", {G: 0, A: 0})
    assert deaths(blame, G) == deaths(blame, A) == 0.5
    blame.died(1.0, "SIGABRT", {G: 0})
    assert deaths(blame, G) > 1.8
    assert deaths(blame, A) < 0.2


def test_of_two_that_always_run_together_only_one_is_found_guilty() -> None:
    blame = Blame()
    for at_s in range(6):
        blame.died(at_s, "SIGABRT", {G: 0, A: 0})
    shares = blame.shares()
    assert sorted(shares.values(), key=lambda share: share.deaths)[-1].deaths == 6
    assert len([share for share in shares.values() if share.is_at_least(3)]) == 1


def test_whose_guilt_is_settled_takes_the_blame_of_all_deaths_it_was_at() -> None:
    blame = Blame()
    for at_s in range(6):
        blame.died(at_s, "SIGABRT", {G: 0, A: 0})
    shares = blame.shares([G])
    assert shares[G].deaths == 6
    assert A not in shares


def test_deaths_that_lie_an_hour_apart_are_no_pattern() -> None:
    blame = Blame()
    for at_s in (0.0, 1800.0, 3700.0, 7400.0):
        blame.died(at_s, "SIGABRT", {G: 0})
    assert deaths(blame, G) == 1
    blame.died(8000.0, "SIGABRT", {A: 0})
    assert deaths(blame, G) == 1


def test_a_version_that_is_forgotten_is_charged_with_nothing() -> None:
    blame = Blame()
    blame.died(0.0, "SIGABRT", {G: 0})
    blame.died(1.0, "SIGABRT", {G: 0, A: 0})
    blame.forget(G)
    assert blame.shares() == {A: BlameShare(1.0, "SIGABRT")}


def test_of_a_version_that_has_proven_itself_the_last_death_still_counts() -> None:
    blame = Blame()
    for at_s in range(5):
        blame.died(at_s, "SIGABRT", {G: 0})
    blame.forget(G, keeping=1)
    assert deaths(blame, G) == 1


@pytest.mark.parametrize(
    ("share", "is_grave"),
    [
        (BlameShare(1.0, "", 0), True),
        (BlameShare(0.95, "", 999), True),
        (BlameShare(0.5, "", 0), False),
        (BlameShare(1.0, "", 1000), False),
        (BlameShare(1.4, "", 100_000), False),
        (BlameShare(1.5, "", 100_000), True),
    ],
)
def test_once_is_enough_of_who_has_hardly_answered_anything(
    share: BlameShare, is_grave: bool
) -> None:
    assert share.is_grave is is_grave


@pytest.mark.parametrize("seed", range(20))
def test_among_busy_models_the_guilty_is_found_and_no_other(seed: int) -> None:
    """Twenty models run all the time; one of them ends each process that it comes to."""
    chance = random.Random(seed)
    models = [ServableId(f"m{number}", 1) for number in range(20)]
    blame = Blame()
    for at_s in range(4):
        beside = chance.sample(models, chance.randrange(6))
        blame.died(at_s, "SIGABRT", {G: 0, **{id: chance.randrange(50, 10_000) for id in beside}})
    shares = blame.shares()
    assert shares[G].is_at_least(3)
    assert not any(share.is_at_least(1) for id, share in shares.items() if id != G)
