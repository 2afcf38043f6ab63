import pytest
from tests.fleet import FakeWorker

from salver.servable import ServableId
from salver.workers.blame import Charge
from salver.workers.cases import Case
from salver.workers.versions import Source


@pytest.fixture
def case() -> Case:
    return Case(ServableId("m", 1), Source("tensorflow", "/m/1"), Charge(1.0, "SIGABRT"))


def test_a_reason_names_the_version_the_deaths_and_their_cause(case: Case) -> None:
    assert case.reason == "Version 1 of model m is isolated: 1 worker death (SIGABRT)"
    case.charge, case.is_quarantined = Charge(2.6, "SIGSEGV"), True
    assert case.reason == "Version 1 of model m is quarantined: 3 worker deaths (SIGSEGV)"


def test_pauses_double_up_to_an_hour(case: Case) -> None:
    assert [case.pause(5.0) for _ in range(4)] == [10.0, 20.0, 40.0, 80.0]
    assert case.retry_at_s == 85.0
    assert [case.pause(0.0) for _ in range(60)][-1] == 3600.0


@pytest.mark.parametrize(
    ("deaths", "runs", "age_s", "is_proven"),
    [
        (1.0, 100, 10.0, True),
        (1.0, 99, 10.0, False),
        (1.0, 100, 9.9, False),
        (2.0, 100, 20.0, False),
        (2.0, 200, 20.0, True),
        (2.0, 0, 600.0, True),
    ],
)
def test_proof_is_many_answers_and_time_for_each_death(
    case: Case, deaths: float, runs: int, age_s: float, is_proven: bool
) -> None:
    case.charge, case.runs, case.since_s = Charge(deaths, "SIGABRT"), runs, 7.0
    assert case.is_proven(7.0 + age_s) is is_proven


def test_a_trial_is_ten_answers_and_five_seconds(case: Case) -> None:
    case.is_quarantined = True
    case.runs = 10
    assert not case.is_proven(4.9)
    assert case.is_proven(5.0)
    case.runs = 9
    assert not case.is_proven(5.0)
    assert not case.is_in_vain(599.0)
    assert case.is_in_vain(600.0)


def test_a_version_on_trial_gets_one_request_at_a_time(case: Case) -> None:
    case.open(FakeWorker().member, 3.0)
    case.running = 1
    fullness = [case.is_full]
    case.is_quarantined = True
    fullness.append(case.is_full)
    case.open(FakeWorker().member, 4.0)
    fullness.append(case.is_full)
    assert fullness == [False, True, False]
