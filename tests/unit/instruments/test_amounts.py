import pytest

from salver.instruments.amounts import Rate, amount


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (3.2e6, "3.2 MB"), (10**12, "1e+03 GB")],
)
def test_an_amount_has_the_unit_that_people_read(size: float, text: str) -> None:
    assert amount(size) == text


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_rate_is_of_the_last_seconds_and_says_how_long_the_rest_takes() -> None:
    clock = Clock()
    rate = Rate(clock)
    assert rate.description(0, 10_000_000) == "0 of 10 MB"
    rate.count(0)
    assert rate.description(0, 10_000_000) == "0 of 10 MB"
    for _ in range(4):
        clock.now_s += 1
        rate.count(round((clock.now_s - 100) * 1_000_000))
    assert rate.description(4_000_000, 10_000_000) == "4 of 10 MB, 1 MB/s, 6 s left"
    assert rate.description(4_000_000, 0) == "4 MB so far, 1 MB/s"
    assert rate.description(10_000_000, 10_000_000) == "10 of 10 MB, 1 MB/s"
    assert rate.description(4_000_000, 10**9).endswith("17 min left")
    assert rate.description(4_000_000, 10**11).endswith("28 h left")
    for _ in range(30):
        clock.now_s += 1
        rate.count(4_000_000)
    assert rate.description(4_000_000, 10_000_000) == "4 of 10 MB"


def test_what_begins_anew_has_no_negative_rate() -> None:
    clock = Clock()
    rate = Rate(clock)
    rate.count(1000)
    clock.now_s += 1
    rate.count(0)
    assert rate.bytes_per_second == 0
