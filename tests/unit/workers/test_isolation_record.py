import pytest
from tests.fleet import FakeWorker

from salver.config.model_options import LoadSettings
from salver.vocabulary.servable import ServableId
from salver.workers.blame import BlameShare
from salver.workers.isolation_record import IsolationRecord
from salver.workers.versions import Source


@pytest.fixture
def record() -> IsolationRecord:
    return IsolationRecord(
        ServableId("m", 1), Source(LoadSettings("tensorflow"), "/m/1"), BlameShare(1.0, "SIGABRT")
    )


def test_a_reason_names_the_version_the_deaths_and_their_cause(record: IsolationRecord) -> None:
    assert record.reason == "Version 1 of model m is isolated: 1 worker death (SIGABRT)"
    record.share, record.is_quarantined = BlameShare(2.6, "SIGSEGV"), True
    assert record.reason == "Version 1 of model m is quarantined: 3 worker deaths (SIGSEGV)"


def test_pauses_double_up_to_an_hour(record: IsolationRecord) -> None:
    assert [record.pause(5.0) for _ in range(4)] == [10.0, 20.0, 40.0, 80.0]
    assert record.retry_at_s == 85.0
    assert [record.pause(0.0) for _ in range(60)][-1] == 3600.0


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
    record: IsolationRecord, deaths: float, runs: int, age_s: float, is_proven: bool
) -> None:
    record.share, record.runs, record.since_s = BlameShare(deaths, "SIGABRT"), runs, 7.0
    assert record.is_proven(7.0 + age_s) is is_proven


def test_a_trial_is_ten_answers_and_five_seconds(record: IsolationRecord) -> None:
    record.is_quarantined = True
    record.runs = 10
    assert not record.is_proven(4.9)
    assert record.is_proven(5.0)
    record.runs = 9
    assert not record.is_proven(5.0)
    assert not record.is_in_vain(599.0)
    assert record.is_in_vain(600.0)


def test_a_version_on_trial_gets_one_request_at_a_time(record: IsolationRecord) -> None:
    record.open(FakeWorker().member, 3.0)
    record.running = 1
    fullness = [record.is_full]
    record.is_quarantined = True
    fullness.append(record.is_full)
    record.open(FakeWorker().member, 4.0)
    fullness.append(record.is_full)
    assert fullness == [False, True, False]
