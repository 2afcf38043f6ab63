import subprocess

import pytest
from tests.fleet import WAIT_S, FakeProcess, FakeWorker

from salver.config.model_options import LoadSettings
from salver.vocabulary.servable import ServableId
from salver.workers.messages import Drain, Goodbye, Reading, Sync
from salver.workers.versions import Source

READING = Reading(0, {})


def test_what_it_has_counted_is_handed_on_also_with_its_goodbye() -> None:
    worker = FakeWorker().start()
    worker.member.start()
    worker.channel.notify(READING)
    worker.channel.notify(Goodbye(Reading(1, {}), cut=2, has_ended=True))
    worker.member.notify(Drain(0.0))
    assert worker.member.ended.wait(WAIT_S)
    assert worker.heard == [READING, Reading(1, {})]
    assert worker.member.goodbye == Goodbye(Reading(1, {}), cut=2, has_ended=True)
    assert worker.member.cause == "exit status 0"


def test_one_that_ends_without_a_greeting_has_not_greeted() -> None:
    worker = FakeWorker(greets=False).start()
    worker.member.start()
    worker.die(3)
    assert worker.member.said_hello.wait(WAIT_S)
    assert not worker.member.has_greeted
    assert str(worker.member) == "Worker 0 (process 1000)"


def test_one_that_talks_no_more_and_does_not_end_is_killed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    worker = FakeWorker().start()
    worker.member.start()
    worker.member.request(Sync()).result(WAIT_S)
    waited: list[float | None] = []

    def wait(_process: FakeProcess, timeout: float | None = None) -> int:
        waited.append(timeout)
        if timeout is not None:
            raise subprocess.TimeoutExpired("worker", timeout)
        return -9

    monkeypatch.setattr(FakeProcess, "wait", wait)
    worker.channel.close(WAIT_S)
    assert worker.member.ended.wait(WAIT_S)
    assert waited == [5.0, None]
    assert "Worker 0 (process 1000) neither talks nor ends: it is killed" in caplog.text


def test_versions_it_was_loading_when_it_ended_are_named() -> None:
    def dies(worker: FakeWorker, _id: ServableId) -> None:
        worker.die(-6)

    worker = FakeWorker(on_load=dies).start()
    worker.member.start()
    loading = worker.member.load(ServableId("m", 1), Source(LoadSettings("tensorflow"), "/m/1"))
    assert "SIGABRT, while it was loading {name: m version: 1}" in str(loading.exception(WAIT_S))
    assert worker.member.died_loading == (ServableId("m", 1),)
