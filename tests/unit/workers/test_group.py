import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from tests.fleet import WAIT_S, FakeWorker

from salver.config.model_options import LoadSettings
from salver.errors import Cancelled, DeadlineExceeded, InvalidArgument, NotFound, Unavailable
from salver.lifecycle.loader import Deadly
from salver.vocabulary.servable import ServableId
from salver.workers import group
from salver.workers.catch_up import CannotCatchUp
from salver.workers.channel import ChannelEnded
from salver.workers.group import WorkerGroup
from salver.workers.messages import (
    Close,
    EndIsolation,
    Isolate,
    Load,
    Open,
    Publish,
    SetLabels,
    SetLogs,
    SetNames,
    SetPhase,
    SetStates,
    Sync,
    Withdraw,
)

ID = ServableId("m", 1)
OTHER = ServableId("m", 2)


class Bench:
    """A group, and its workers."""

    def __init__(self, stack: ExitStack, **limits: float) -> None:
        self.tried: list[ServableId] = []
        self.trial_error: Exception | None = None
        self.group = WorkerGroup(self._try_alone, **limits)
        self._stack = stack

    def _try_alone(self, _settings: LoadSettings, id: ServableId, _path: str) -> None:
        self.tried.append(id)
        if self.trial_error is not None:
            raise self.trial_error

    def worker(
        self, on_load: Callable[[FakeWorker, ServableId], None] = lambda _worker, _id: None
    ) -> FakeWorker:
        """A worker that has greeted, and is not admitted yet."""
        worker = FakeWorker(
            len(self.group.members), on_load=on_load, on_end=self.group.remove
        ).start()
        worker.member.start()
        self._stack.callback(worker.die)
        return worker

    def admitted(
        self, on_load: Callable[[FakeWorker, ServableId], None] = lambda _worker, _id: None
    ) -> FakeWorker:
        worker = self.worker(on_load)
        self.group.admit(worker.member)
        return worker

    def load(self, id: ServableId = ID) -> None:
        self.group.load(LoadSettings("tensorflow"), id, f"/models/{id.version}")

    def said(self, worker: FakeWorker, kind: type) -> list[object]:
        worker.member.request(Sync()).result(WAIT_S)
        return worker.said_of(kind)


@pytest.fixture
def bench() -> Iterator[Bench]:
    with ExitStack() as stack:
        yield Bench(stack)


def dies(worker: FakeWorker, _id: ServableId) -> None:
    worker.die(-11)
    threading.Event().wait(WAIT_S)


def refuses(_worker: FakeWorker, id: ServableId) -> None:
    raise InvalidArgument(f"cannot load {id.version}")


def test_a_version_is_loaded_published_and_unloaded_at_all_workers(bench: Bench) -> None:
    workers = [bench.admitted(), bench.admitted()]
    bench.load()
    bench.group.publish(ID)
    drained = threading.Event()
    bench.group.withdraw(ID, drained.set)
    assert drained.wait(WAIT_S)
    bench.group.unload(ID)
    for worker in workers:
        told = [m for m in worker.said if isinstance(m, (Load, Publish, Withdraw, Close))]
        assert told == [
            Load(LoadSettings("tensorflow"), ID, "/models/1"),
            Publish(ID),
            Withdraw(ID),
            Close(ID),
        ]


def test_a_load_waits_for_the_first_worker(bench: Bench) -> None:
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(bench.load)
        worker = bench.admitted()
        loading.result(WAIT_S)
    assert bench.said(worker, Load)


def test_a_worker_that_comes_during_a_load_gets_the_version_too(bench: Bench) -> None:
    has_begun, may_end = threading.Event(), threading.Event()

    def slowly(_worker: FakeWorker, _id: ServableId) -> None:
        has_begun.set()
        may_end.wait(WAIT_S)

    bench.admitted(slowly)
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(bench.load)
        assert has_begun.wait(WAIT_S)
        late = bench.admitted()
        may_end.set()
        loading.result(WAIT_S)
    assert bench.said(late, Load) == [Load(LoadSettings("tensorflow"), ID, "/models/1")]


def test_what_one_worker_cannot_load_the_others_give_back(bench: Bench) -> None:
    good, _ = bench.admitted(), bench.admitted(refuses)
    with pytest.raises(InvalidArgument, match="cannot load 1"):
        bench.load()
    assert bench.said(good, Close) == [Close(ID)]
    assert bench.said(bench.admitted(), Load) == []


def test_where_there_is_something_to_lose_one_worker_loads_first(bench: Bench) -> None:
    bench.admitted(refuses)
    second = bench.admitted()
    bench.group.is_careful = True
    with pytest.raises(InvalidArgument):
        bench.load()
    assert bench.said(second, Load) == []


def test_careful_or_not_all_have_it_in_the_end(bench: Bench) -> None:
    workers = [bench.admitted(), bench.admitted()]
    bench.group.is_careful = True
    bench.load()
    assert [len(bench.said(worker, Load)) for worker in workers] == [1, 1]


def test_a_version_that_a_worker_died_of_is_tried_alone_and_refused_for_good(
    bench: Bench,
) -> None:
    bench.admitted(dies)
    survivor = bench.admitted()
    bench.group.is_careful = True
    bench.trial_error = Deadly("it dies")
    with pytest.raises(Deadly, match="it dies"):
        bench.load()
    assert bench.tried == [ID]
    assert bench.group.members == (survivor.member,)
    assert bench.said(survivor, Load) == []


def test_a_version_that_is_fine_alone_is_loaded_by_those_who_are_left(bench: Bench) -> None:
    bench.admitted(dies)
    survivor = bench.admitted()
    bench.load()
    assert bench.tried == [ID]
    assert survivor.member.loaded == {ID}
    assert bench.group.is_careful


def test_a_version_that_kills_one_worker_after_the_other_is_refused_though_it_is_fine_alone(
    bench: Bench,
) -> None:
    for _ in range(4):
        bench.admitted(dies)
    bench.group.is_careful = True
    with pytest.raises(Deadly, match=r"Workers die while they load .*SIGSEGV"):
        bench.load()
    assert len(bench.group.members) == 1


def test_a_new_worker_catches_up_before_it_is_told_to_accept(bench: Bench) -> None:
    bench.admitted()
    bench.load()
    bench.load(OTHER)
    bench.group.publish(ID)
    bench.group.broadcast(lambda: SetLabels({"m": {"stable": 1}}, {}))
    bench.group.broadcast(lambda: SetNames(("m",), None))
    bench.group.broadcast(lambda: SetStates("m", (), None))
    bench.group.broadcast(lambda: SetPhase(is_started=True))
    bench.group.open()
    late = bench.admitted()
    bench.said(late, Sync)
    assert [type(message) for message in late.said] == [
        *(Load, Load, SetLogs, Publish, SetLabels, SetNames, SetStates, SetPhase, Open, Sync)
    ]
    assert late.said_of(Publish) == [Publish(ID)]


def test_what_was_withdrawn_or_unloaded_meanwhile_is_not_caught_up_with(bench: Bench) -> None:
    worker = bench.admitted()
    bench.load()
    bench.group.publish(ID)
    worker.held.add(ID)
    drained = threading.Event()
    bench.group.withdraw(ID, drained.set)
    assert bench.said(bench.admitted(), Load) == []
    assert not drained.is_set()
    worker.release()
    assert drained.wait(WAIT_S)


def test_a_version_that_goes_while_a_worker_loads_it_is_given_back(bench: Bench) -> None:
    bench.admitted()
    bench.load()

    def while_it_goes(_worker: FakeWorker, id: ServableId) -> None:
        bench.group.unload(id)

    late = bench.admitted(while_it_goes)
    assert bench.said(late, Close) == [Close(ID)]
    assert late.member in bench.group.members


def test_a_withdrawal_does_not_wait_for_a_worker_that_dies(bench: Bench) -> None:
    worker = bench.admitted()
    bench.load()
    bench.group.publish(ID)
    worker.held.add(ID)
    drained = threading.Event()
    bench.group.withdraw(ID, drained.set)
    worker.die()
    assert drained.wait(WAIT_S)


def test_without_workers_a_withdrawal_is_over_at_once(bench: Bench) -> None:
    worker = bench.admitted()
    bench.load()
    worker.die()
    assert worker.member.ended.wait(WAIT_S)
    drained = threading.Event()
    bench.group.withdraw(ID, drained.set)
    assert drained.is_set()


def test_a_worker_that_cannot_load_what_the_others_have_does_not_come_in(bench: Bench) -> None:
    bench.admitted()
    bench.load()
    late = bench.worker(refuses)
    with pytest.raises(CannotCatchUp) as caught:
        bench.group.admit(late.member)
    assert (caught.value.id, caught.value.is_death) == (ID, False)
    assert not bench.group.lose(ID)


def test_a_worker_that_dies_as_it_catches_up_tells_of_what(bench: Bench) -> None:
    bench.admitted()
    bench.load()
    with pytest.raises(CannotCatchUp) as caught:
        bench.group.admit(bench.worker(dies).member)
    assert (caught.value.id, caught.value.is_death) == (ID, True)


def test_a_worker_that_has_died_before_is_not_admitted(bench: Bench) -> None:
    worker = bench.worker()
    worker.die()
    assert worker.member.ended.wait(WAIT_S)
    with pytest.raises(CannotCatchUp) as caught:
        bench.group.admit(worker.member)
    assert caught.value.id is None
    assert bench.group.members == ()


def test_a_version_that_no_worker_has_any_more_can_be_given_up(bench: Bench) -> None:
    worker = bench.admitted()
    assert not bench.group.lose(ID)
    bench.load()
    worker.die()
    assert worker.member.ended.wait(WAIT_S)
    assert bench.group.lose(ID)
    assert not bench.group.lose(ID)
    assert bench.said(bench.admitted(), Load) == []


def test_labels_that_moved_are_told_to_those_who_come_later(bench: Bench) -> None:
    first = bench.admitted()
    bench.group.remember(lambda: SetLabels({"m": {"stable": 9}}, {}))
    assert bench.said(bench.admitted(), SetLabels) == []
    bench.group.broadcast(lambda: SetLabels({"m": {"stable": 1}}, {"m": {"stable": 2}}))
    bench.group.remember(lambda: SetLabels({"m": {"stable": 2}}, {}))
    assert len(bench.said(first, SetLabels)) == 1
    assert bench.said(bench.admitted(), SetLabels) == [SetLabels({"m": {"stable": 2}}, {})]


def test_logs_that_some_worker_cannot_write_are_refused(bench: Bench) -> None:
    bench.admitted()
    bad = bench.admitted()
    bench.group.set_logs({"m": b"1"})
    bad.log_error = NotFound("no such collector")
    with pytest.raises(NotFound, match="no such collector"):
        bench.group.set_logs({"m": b"2"})
    assert bench.said(bench.admitted(), SetLogs) == [SetLogs({"m": b"1"})]


def test_a_new_worker_that_cannot_log_serves_all_the_same(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    worker = bench.worker()
    worker.log_error = NotFound("no such collector")
    bench.group.admit(worker.member)
    bench.said(worker, Sync)
    assert "A worker cannot log requests: no such collector" in caplog.text


def test_who_ends_with_the_server_while_it_loads_has_not_died_of_that(bench: Bench) -> None:
    def ends_with_all(worker: FakeWorker, id: ServableId) -> None:
        bench.group.stop()
        dies(worker, id)

    bench.admitted(ends_with_all)
    with pytest.raises(Unavailable, match="The server is stopping"):
        bench.load()
    assert bench.tried == []


def test_after_stop_nothing_is_loaded_and_nobody_comes_in(bench: Bench) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(bench.load)
        bench.group.stop()
        with pytest.raises(Unavailable, match="The server is stopping"):
            waiting.result(WAIT_S)
    with pytest.raises(Unavailable):
        bench.group.admit(bench.worker().member)


def test_sync_waits_for_all(bench: Bench) -> None:
    workers = [bench.admitted(), bench.admitted()]
    bench.group.broadcast(lambda: SetNames(("m",), None))
    bench.group.sync()
    for worker in workers:
        assert [m for m in worker.said if m == SetNames(("m",), None)]


def test_a_new_worker_that_cannot_accept_is_sent_away(bench: Bench) -> None:
    bench.group.open()
    assert bench.group.is_open
    worker = bench.worker()
    worker.open_error = InvalidArgument("no socket")
    with pytest.raises(CannotCatchUp) as caught:
        bench.group.admit(worker.member)
    assert (caught.value.error.message, caught.value.is_death) == ("no socket", False)
    assert bench.group.members == ()


def test_a_worker_that_is_held_up_does_not_hold_up_the_others_for_ever(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(group, "_ANSWER_S", 0.01)
    mute, other = bench.admitted(), bench.admitted()
    mute.is_mute = True
    bench.load()
    bench.group.publish(ID)
    assert bench.said(other, Publish) == [Publish(ID)]
    assert "Worker 0 (process 1000) did not publish a version within 0.01 s" in caplog.text


def test_a_worker_whose_disk_hangs_does_not_hold_up_a_configuration_for_ever(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(group, "_ANSWER_S", 0.01)
    mute, other = bench.admitted(), bench.admitted()
    mute.is_mute = True
    bench.group.set_logs({"m": b"how"})
    assert bench.said(other, SetLogs)[-1] == SetLogs({"m": b"how"})
    assert "did not log requests as configured within 0.01 s" in caplog.text


# -- loads that do not return ----------------------------------------------------------------------


class Stuck:
    """A load that does not return before it is let go."""

    def __init__(self) -> None:
        self.has_begun = threading.Event()
        self.may_end = threading.Event()
        self.times = 0

    def __call__(self, _worker: FakeWorker, _id: ServableId) -> None:
        self.times += 1
        self.has_begun.set()
        if self.times == 1:
            self.may_end.wait(WAIT_S)


def test_a_load_can_be_given_up_and_what_it_brings_is_unloaded(bench: Bench) -> None:
    stuck = Stuck()
    quick, slow = bench.admitted(), bench.admitted(stuck)
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(bench.load)
        assert stuck.has_begun.wait(WAIT_S)
        while ID in quick.member.loading:
            threading.Event().wait(0.001)
        assert bench.group.abandon(ID) == [slow.member]
        assert bench.group.abandon(ID) == [slow.member]
        with pytest.raises(Cancelled):
            loading.result(WAIT_S)
    assert bench.said(quick, Close) == [Close(ID)]
    assert bench.said(slow, Close) == []
    stuck.may_end.set()
    while not bench.said(slow, Close):
        threading.Event().wait(0.001)
    assert bench.group.abandon(ID) == []
    assert not slow.member.loaded
    assert not quick.member.loaded


def test_a_load_that_was_given_up_and_fails_in_the_end_is_nothing_to_unload(bench: Bench) -> None:
    has_begun, may_end = threading.Event(), threading.Event()

    def fail_at_last(worker: FakeWorker, id: ServableId) -> None:
        has_begun.set()
        may_end.wait(WAIT_S)
        refuses(worker, id)

    worker = bench.admitted(fail_at_last)
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(bench.load)
        assert has_begun.wait(WAIT_S)
        bench.group.abandon(ID)
        with pytest.raises(Cancelled):
            loading.result(WAIT_S)
    may_end.set()
    while ID in worker.member.loading:
        threading.Event().wait(0.001)
    assert bench.said(worker, Close) == []


def test_a_version_is_loaded_anew_only_where_it_is_not_being_loaded_yet(bench: Bench) -> None:
    stuck = Stuck()
    worker = bench.admitted(stuck)
    with ThreadPoolExecutor(2) as pool:
        loading = pool.submit(bench.load)
        assert stuck.has_begun.wait(WAIT_S)
        bench.group.abandon(ID)
        with pytest.raises(Cancelled):
            loading.result(WAIT_S)
        again = pool.submit(bench.load)
        bench.load(OTHER)
        assert not again.done()
        assert stuck.times == 2  # that of `OTHER` is the second
        stuck.may_end.set()
        again.result(WAIT_S)
    assert worker.member.loaded == {ID, OTHER}
    told = bench.said(worker, Load) + bench.said(worker, Close)
    assert told == [
        *(Load(LoadSettings("tensorflow"), id, f"/models/{id.version}") for id in (ID, OTHER, ID)),
        Close(ID),
    ]


def test_a_version_that_waits_for_a_worker_can_be_given_up(bench: Bench) -> None:
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(bench.load)
        while ID not in bench.group._loading:
            threading.Event().wait(0.001)
        assert bench.group.abandon(ID) == []
        with pytest.raises(Cancelled):
            loading.result(WAIT_S)


def test_a_new_worker_whose_load_takes_too_long_does_not_come_in(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with ExitStack() as stack:
        bench = Bench(stack, load_timeout_s=0.03, warn_s=0.01)
        bench.admitted()
        bench.load()
        late = Stuck()
        newcomer = bench.worker(late)
        with pytest.raises(CannotCatchUp) as caught:
            bench.group.admit(newcomer.member)
        late.may_end.set()
    assert caught.value.id == ID
    assert not caught.value.is_death
    assert isinstance(caught.value.error, DeadlineExceeded)
    assert f"{newcomer.member} has been loading {ID} for 0.01 s" in caplog.text


def test_loads_that_a_new_worker_does_at_once_have_the_time_of_all_of_them() -> None:
    with ExitStack() as stack:
        bench = Bench(stack, load_timeout_s=0.3)
        bench.admitted()
        for version in (1, 2, 3):
            bench.load(ServableId("m", version))
        late = Stuck()
        newcomer = bench.worker(late)
        with pytest.raises(CannotCatchUp) as caught:
            bench.group.admit(newcomer.member)
        late.may_end.set()
    assert "has not returned for 1 s" in str(caught.value.error)


def test_a_new_worker_may_take_long_where_no_limit_is(caplog: pytest.LogCaptureFixture) -> None:
    with ExitStack() as stack:
        bench = Bench(stack, warn_s=0.01)
        bench.admitted()
        bench.load()
        late = Stuck()
        newcomer = bench.worker(late)
        with ThreadPoolExecutor(1) as pool:
            admitting = pool.submit(bench.group.admit, newcomer.member)
            while "has been loading" not in caplog.text:
                threading.Event().wait(0.001)
            late.may_end.set()
            admitting.result(WAIT_S)
        assert newcomer.member in bench.group.members


REASON = Isolate(ID, "it is isolated")


def isolated(bench: Bench) -> FakeWorker:
    """A worker of a group whose one version is isolated."""
    worker = bench.admitted()
    bench.load()
    bench.group.publish(ID)
    assert bench.group.isolate(REASON)
    return worker


def test_a_version_that_is_isolated_answers_and_is_not_loaded_by_new_workers(bench: Bench) -> None:
    worker = isolated(bench)
    assert bench.group.is_isolated(ID)
    assert bench.said(worker, Isolate) == [REASON]
    late = bench.admitted()
    assert bench.said(late, Load) == bench.said(late, Publish) == []
    assert bench.said(late, Isolate) == [REASON]
    source = bench.group.source_of(ID)
    assert source is not None
    assert bench.group.answering([source.mark]) == {ID}


def test_only_what_answers_can_be_isolated(bench: Bench) -> None:
    bench.admitted()
    assert not bench.group.isolate(REASON)
    bench.load()
    assert not bench.group.isolate(REASON)
    bench.group.publish(ID)
    assert bench.group.isolate(REASON)
    assert not bench.group.isolate(REASON)


def test_workers_are_told_what_becomes_of_what_is_isolated_and_of_nothing_else(
    bench: Bench,
) -> None:
    worker = isolated(bench)
    news = Isolate(ID, "it is quarantined")
    bench.group.update_isolated(news)
    bench.group.update_isolated(Isolate(ServableId("other", 1), "what?"))
    assert bench.said(worker, Isolate) == [REASON, news]
    bench.group.forget_isolated(ID)
    bench.group.forget_isolated(ID)
    bench.group.update_isolated(news)
    assert bench.said(worker, EndIsolation) == [EndIsolation(ID, is_published=False)]
    assert len(worker.said_of(Isolate)) == 2


def test_who_does_not_have_a_version_loads_it_before_its_isolation_ends(bench: Bench) -> None:
    workers = [isolated(bench), bench.admitted()]
    bench.group.end_isolation(ID)
    bench.group.end_isolation(ID)
    assert not bench.group.is_isolated(ID)
    for worker in workers:
        assert len(bench.said(worker, Load)) == 1
        assert worker.said_of(EndIsolation) == [EndIsolation(ID, is_published=True)]


def test_a_version_that_a_worker_cannot_load_stays_isolated(bench: Bench) -> None:
    isolated(bench)
    bench.admitted(refuses)
    with pytest.raises(InvalidArgument, match="cannot load 1"):
        bench.group.end_isolation(ID)
    assert bench.group.is_isolated(ID)


def test_a_version_that_a_worker_dies_of_stays_isolated(bench: Bench) -> None:
    isolated(bench)
    bench.admitted(dies)
    with pytest.raises(ChannelEnded):
        bench.group.end_isolation(ID)
    assert bench.group.is_isolated(ID)


def test_a_version_that_is_isolated_can_be_withdrawn_and_comes_back_loaded_anew(
    bench: Bench,
) -> None:
    worker = isolated(bench)
    drained = threading.Event()
    bench.group.withdraw(ID, drained.set)
    assert drained.wait(WAIT_S)
    bench.group.unload(ID)
    assert not bench.group.is_isolated(ID)
    bench.load()
    bench.group.publish(ID)
    assert bench.said(worker, EndIsolation) == [EndIsolation(ID, is_published=True)]


def test_others_are_models_of_other_names_that_answer(bench: Bench) -> None:
    isolated(bench)
    bench.load(ServableId(ID.name, 77))
    bench.group.publish(ServableId(ID.name, 77))
    bench.load(ServableId("other", 1))
    assert not bench.group.serves_others(ID)
    bench.group.publish(ServableId("other", 1))
    assert bench.group.serves_others(ID)
