import pytest

from salver.cluster.reports import ModelReport
from salver.cluster.scaling import Demand, Scaling, wanted_replicas

_SCALING = Scaling()


def decide(demand: Demand, now_s: float, most: int = 10) -> int:
    return wanted_replicas(demand, 1, most, 4.0, _SCALING, now_s)


def test_counts_what_came_between_two_reports() -> None:
    demand = Demand()
    first, second = ModelReport(requests=1_000_000), ModelReport(requests=1_000_100, busy_s=0.0)
    assert not demand.count("n", None, first, 0.0)  # since when, nobody knows
    assert demand.count("n", first, second, 1.0)
    demand.advance(1.0, 1e-9)
    assert demand.rate == pytest.approx(100)
    assert demand.busy == pytest.approx(0.1)  # a millisecond each, for want of better
    assert demand.last_s == 1.0


def test_a_counter_that_begins_again_is_no_request() -> None:
    demand = Demand()
    assert not demand.count("n", ModelReport(requests=50), ModelReport(requests=3), 1.0)


def test_averages_over_a_window() -> None:
    demand = Demand()
    demand.count("n", ModelReport(), ModelReport(requests=100, busy_s=1.0), 1.0)
    demand.advance(1.0, 10.0)
    assert 9 < demand.rate < 10
    demand.advance(100.0, 10.0)
    assert demand.rate < 0.01


def test_what_waits_at_a_dead_node_waits_no_more() -> None:
    demand = Demand()
    demand.count("n", None, ModelReport(queued=5), 0.0)
    assert demand.queued == {"n": 5}
    demand.forget("n")
    assert demand.queued == {}


def test_adds_replicas_only_when_the_pressure_lasts() -> None:
    demand = Demand(busy=5.0)  # of 2 that one replica should bear
    assert [decide(demand, now_s) for now_s in (0.0, 1.0, 2.9)] == [1, 1, 1]
    assert decide(demand, 3.0) == 2  # twice as many at most
    assert [decide(demand, now_s) for now_s in (4.0, 5.0, 7.0)] == [2, 2, 3]


def test_adds_replicas_for_requests_that_wait() -> None:
    demand = Demand(queued={"n": 20})
    decide(demand, 0.0)
    assert decide(demand, 3.0) == 2


def test_a_pause_in_the_pressure_begins_anew() -> None:
    demand = Demand(busy=5.0)
    decide(demand, 0.0)
    demand.busy = 1.0
    decide(demand, 2.0)
    demand.busy = 5.0
    assert decide(demand, 4.0) == 1


def test_takes_replicas_back_one_by_one_after_a_minute_of_little() -> None:
    demand = Demand(replicas=3, busy=0.5)
    assert decide(demand, 0.0) == 3
    assert decide(demand, 59.0) == 3
    assert decide(demand, 60.0) == 2
    assert decide(demand, 61.0) == 2
    assert decide(demand, 121.0) == 1


def test_between_much_and_little_nothing_changes() -> None:
    demand = Demand(replicas=3, busy=4.0)
    assert {decide(demand, float(now_s)) for now_s in range(0, 1000, 10)} == {3}


def test_stays_within_its_bounds() -> None:
    demand = Demand(busy=1000.0)
    assert {decide(demand, float(now_s), most=2) for now_s in range(50)} == {1, 2}
    assert wanted_replicas(Demand(), 3, 5, 4.0, _SCALING, 0.0) == 3
