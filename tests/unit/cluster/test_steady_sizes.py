import random

from salver.cluster.steady_sizes import SteadySizes

MIB = 1 << 20


def said(sizes: SteadySizes, taken: int) -> int:
    measured = {"m": {"1": taken}}
    sizes.smooth(measured)
    return measured["m"]["1"]


def test_says_a_little_more_than_was_measured() -> None:
    assert said(SteadySizes(), 100 * MIB) == 110 * MIB


def test_what_varies_a_little_is_said_once() -> None:
    sizes, rng = SteadySizes(), random.Random(1)
    first = said(sizes, 100 * MIB)
    assert {said(sizes, rng.randint(80 * MIB, 109 * MIB)) for _ in range(100)} == {first}


def test_follows_what_becomes_more_or_far_less() -> None:
    sizes = SteadySizes()
    assert [said(sizes, each * MIB) for each in (100, 120, 60, 60)] == [
        each * MIB for each in (110, 132, 66, 66)
    ]


def test_forgets_what_is_not_there_any_more() -> None:
    sizes = SteadySizes()
    said(sizes, 100 * MIB)
    sizes.smooth({})
    assert said(sizes, 90 * MIB) == 99 * MIB
