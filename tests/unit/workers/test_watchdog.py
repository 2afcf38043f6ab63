from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from tests.fleet import WAIT_S, FakeWorker

from salver.workers.messages import Ping, Sync
from salver.workers.watchdog import KILL_AFTER, WARN_AFTER, Watchdog


@pytest.fixture
def worker() -> Iterator[FakeWorker]:
    with ExitStack() as stack:
        worker = FakeWorker().start()
        worker.member.start()
        stack.callback(worker.die)
        assert worker.member.said_hello.wait(WAIT_S)
        yield worker


def look(watchdog: Watchdog, worker: FakeWorker, times: int) -> None:
    for _ in range(times):
        watchdog.poll()
        worker.member.request(Sync()).result(WAIT_S)  # after what was asked before


def test_who_answers_is_asked_again_and_left_alone(worker: FakeWorker) -> None:
    look(Watchdog(lambda: [worker.member]), worker, 2 * KILL_AFTER)
    assert len(worker.said_of(Ping)) == 2 * KILL_AFTER
    assert not worker.member.ended.is_set()


def test_who_answers_nothing_for_long_is_told_of_and_killed(
    worker: FakeWorker, caplog: pytest.LogCaptureFixture
) -> None:
    worker.is_mute = True
    watchdog = Watchdog(lambda: [worker.member])
    look(watchdog, worker, WARN_AFTER)
    assert not caplog.records
    look(watchdog, worker, KILL_AFTER - WARN_AFTER)
    assert "Worker 0 (process 1000) has not answered for 10 s" in caplog.text
    assert not worker.member.ended.is_set()
    watchdog.poll()
    assert worker.member.ended.wait(WAIT_S)
    assert worker.member.cause == "killed, as it had not answered for 60 s"
    assert len(worker.said_of(Ping)) == 1


def test_a_late_answer_is_an_answer(worker: FakeWorker) -> None:
    worker.is_mute = True
    watchdog = Watchdog(lambda: [worker.member])
    look(watchdog, worker, KILL_AFTER)
    worker.is_mute = False
    worker.release()
    worker.member.request(Sync()).result(WAIT_S)
    look(watchdog, worker, KILL_AFTER)
    assert not worker.member.ended.is_set()


def test_who_has_not_greeted_or_has_ended_is_not_asked(worker: FakeWorker) -> None:
    new = FakeWorker(greets=False).start()
    new.member.start()
    worker.die()
    assert worker.member.ended.wait(WAIT_S)
    Watchdog(lambda: [new.member, worker.member]).poll()
    new.member.request(Sync()).result(WAIT_S)
    assert new.said_of(Ping) == worker.said_of(Ping) == []
    new.die()


def test_it_looks_by_itself_until_it_is_stopped(
    worker: FakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("salver.workers.watchdog.EVERY_S", 0.0)
    worker.is_mute = True
    watchdog = Watchdog(lambda: [worker.member])
    watchdog.start()
    assert worker.member.ended.wait(WAIT_S)
    watchdog.stop()
