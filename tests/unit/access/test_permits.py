import time

import pytest

from salver.access.permits import Permits, covers_all_models
from salver.vocabulary.access import Role, Verb


def role(*models: str, verbs: frozenset[Verb] = frozenset(Verb)) -> Permits:
    return Permits(Role("r", models, verbs))


def matches(permits: Permits, model: str) -> bool:
    return permits.covers(Verb.PREDICT, model)


@pytest.mark.parametrize(
    ("pattern", "names", "others"),
    [
        ("fraud", ["fraud"], ["Fraud", "fraud2", "xfraud", "fraud\n", ""]),
        ("digits-*", ["digits-", "digits-a/b", "digits-\n"], ["digits", "xdigits-1"]),
        ("?", ["a", "\n", "ü"], ["", "ab"]),
        ("a*b*c", ["abc", "axbxc", "abcbc"], ["ab", "abcd"]),
        ("[ab]", ["[ab]"], ["a", "b"]),
        ("a.c", ["a.c"], ["abc"]),
        ("*", ["", "anything"], []),
        ("!x", ["!x"], ["y"]),
    ],
)
def test_a_pattern_is_of_the_whole_name_in_its_case(
    pattern: str, names: list[str], others: list[str]
) -> None:
    assert [matches(role(pattern), name) for name in names] == [True] * len(names)
    assert [matches(role(pattern), name) for name in others] == [False] * len(others)


def test_any_pattern_will_do() -> None:
    both = role("a*", "b*")
    assert [matches(both, name) for name in ("a1", "b1", "c1")] == [True, True, False]


def test_a_role_of_no_models_covers_none() -> None:
    assert not role().covers(Verb.PREDICT, "m")


@pytest.mark.parametrize("verb", Verb)
def test_a_verb_that_is_not_named_is_not_covered(verb: Verb) -> None:
    others = frozenset(Verb) - {verb}
    assert not role("*", verbs=others).covers(verb, "m")
    assert not role("*", verbs=others).covers(verb, None)


@pytest.mark.parametrize("verb", [Verb.PREDICT, Verb.ADMIN])
def test_what_concerns_no_model_or_none_that_can_be_read_takes_a_role_for_all(verb: Verb) -> None:
    assert not role("fraud").covers(verb, None)
    assert role("*").covers(verb, None)
    assert role("fraud", "**").covers(verb, None)


@pytest.mark.parametrize("verb", [Verb.HEALTH, Verb.METADATA, Verb.METRICS])
def test_what_concerns_the_server_takes_the_verb_alone(verb: Verb) -> None:
    assert role("fraud").covers(verb, None)


def test_a_role_of_all_models_is_one_whose_pattern_matches_any_name() -> None:
    found = [models for models in ("*", "***", "", "?", "*?", "a*") if covers_all(models)]
    assert found == ["*", "***"]
    assert covers_all("fraud", "*")
    assert not covers_all()


def covers_all(*models: str) -> bool:
    return covers_all_models(Role("r", models))


def test_a_long_name_is_matched_in_no_time() -> None:
    greedy = role("*a*a*a*a*a*a*a*a*b")
    begin_s = time.perf_counter()
    assert not matches(greedy, "a" * 60_000)
    assert time.perf_counter() - begin_s < 1
