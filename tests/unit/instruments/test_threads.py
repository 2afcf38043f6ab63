import os
import sys
import threading
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from salver.errors import ResourceExhausted
from salver.instruments import threads
from salver.instruments.threads import Breather, Pool, in_background, take_short_slices

WAIT_S = 10


def test_jobs_of_one_thread_run_in_order_under_its_name() -> None:
    pool, ran = Pool("test-pool", 0), list[tuple[int, str]]()

    def job(number: int) -> None:
        ran.append((number, threading.current_thread().name))

    for number in range(3):
        pool.submit(partial(job, number))
    assert pool.close()
    assert ran == [(n, "test-pool-0") for n in range(3)]


def test_as_many_jobs_run_at_once_as_there_are_threads() -> None:
    pool, together = Pool("test-pool", 3), threading.Barrier(3)
    for _ in range(3):
        pool.submit(partial(together.wait, WAIT_S))
    assert pool.close()
    assert not together.broken


def test_an_idle_thread_is_used_before_another_is_started() -> None:
    pool, names, done = Pool("test-pool", 4), set[str](), threading.Event()

    def job() -> None:
        names.add(threading.current_thread().name)
        done.set()

    for _ in range(5):
        done.clear()
        pool.submit(job)
        assert done.wait(WAIT_S)
        while pool._idle == 0:
            pass
    pool.close()
    assert names == {"test-pool-0"}


def test_a_job_that_has_not_begun_can_be_taken_back() -> None:
    pool, go, ran = Pool("test-pool", 1), threading.Event(), list[str]()
    began = threading.Event()

    def first() -> None:
        began.set()
        go.wait(WAIT_S)

    def second() -> None:
        ran.append("second")

    pool.submit(first)
    pool.submit(second)
    assert began.wait(WAIT_S)
    assert pool.withdraw(second)
    assert not pool.withdraw(second)
    assert not pool.withdraw(first)
    go.set()
    assert pool.close()
    assert ran == []


def test_more_threads_start_at_once_when_there_is_work_for_them() -> None:
    pool, together = Pool("test-pool", 1), threading.Barrier(2)
    pool.submit(partial(together.wait, WAIT_S))
    pool.submit(partial(together.wait, WAIT_S))
    pool.resize(2)
    assert pool.close()
    assert not together.broken


def test_threads_too_many_leave_when_the_pool_shrinks() -> None:
    pool, together = Pool("test-pool", 3), threading.Barrier(4)
    for _ in range(3):
        pool.submit(partial(together.wait, WAIT_S))
    together.wait(WAIT_S)
    pool.resize(0)
    running = threading.Event()
    pool.submit(running.set)
    assert running.wait(WAIT_S)
    for thread in pool._threads:
        if pool._working == 1:
            break
        thread.join(0.01)
    assert pool.close()


def test_a_job_that_raises_is_logged_and_the_next_one_runs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pool, ran = Pool("test-pool", 1), threading.Event()
    pool.submit(partial(int, "no number"))
    pool.submit(ran.set)
    assert pool.close()
    assert ran.is_set()
    assert "A job of test-pool failed" in caplog.text


def refuse_to_start(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_job_is_refused_when_the_system_gives_no_thread_and_the_next_one_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool, ran = Pool("test-pool", 2), list[str]()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse_to_start)
        with pytest.raises(ResourceExhausted) as raised:
            pool.submit(partial(ran.append, "first"))
    assert raised.value.message == "Could not start thread test-pool-0: can't start new thread"
    pool.submit(partial(ran.append, "second"))
    assert pool.close(WAIT_S)
    assert ran == ["second"]


def test_job_waits_for_the_threads_there_are_when_the_system_gives_no_more(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pool, go, ran = Pool("test-pool", 2), threading.Event(), list[str]()
    pool.submit(partial(go.wait, WAIT_S))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse_to_start)
        pool.submit(partial(ran.append, "waited"))
        pool.resize(3)
    go.set()
    assert pool.close(WAIT_S)
    assert ran == ["waited"]
    assert [record.getMessage() for record in caplog.records] == [
        "Could not start thread test-pool-1: can't start new thread",
        "Could not start thread test-pool-2: can't start new thread",
    ]


def test_closing_gives_up_waiting_when_its_time_is_over() -> None:
    pool, go = Pool("test-pool", 1), threading.Event()
    pool.submit(partial(go.wait, WAIT_S))
    assert not pool.close(timeout_s=0)
    go.set()
    assert pool.close(timeout_s=WAIT_S)


def test_a_closed_pool_takes_no_jobs() -> None:
    pool = Pool("test-pool", 1)
    pool.close()
    with pytest.raises(RuntimeError, match="test-pool is closed"):
        pool.submit(threading.Event().set)


def test_what_runs_in_the_background_has_a_thread_of_its_own_with_that_name() -> None:
    def name() -> tuple[str, bool]:
        thread = threading.current_thread()
        return thread.name, thread is threading.main_thread()

    assert in_background("test-behind", name) == ("test-behind", False)


def test_what_fails_in_the_background_fails_for_the_caller() -> None:
    def fail() -> None:
        raise ResourceExhausted("none left")

    with pytest.raises(ResourceExhausted, match="none left"):
        in_background("test-behind", fail)


@pytest.mark.skipif(sys.platform != "linux", reason="a single thread has no priority there")
def test_what_runs_in_the_background_comes_after_the_caller() -> None:
    def place() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    mine = place()
    assert in_background("test-behind", place) == max(mine, 10)
    assert place() == mine


def test_where_single_threads_have_no_priority_the_background_is_a_thread_as_any_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = list[int]()
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(os, "setpriority", lambda *_: asked.append(1))
    assert in_background("test-behind", lambda: 3) == 3
    assert not asked


def test_a_refused_priority_keeps_nothing_from_running(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "setpriority", refuse)
    assert in_background("test-behind", lambda: 3) == 3


def test_without_a_thread_the_caller_does_it_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert in_background("test-behind", threading.current_thread) is threading.current_thread()


def test_a_thread_that_has_computed_for_long_rests_and_begins_anew() -> None:
    now_s, rests = [0.0], list[float]()
    breathe = Breather(clock=lambda: now_s[0], sleep=rests.append)
    for _ in range(3):
        now_s[0] += 60e-6
        breathe()
    assert len(rests) == 1
    now_s[0] += 60e-6
    breathe()
    assert len(rests) == 2
    assert all(rest_s > 0 for rest_s in rests)


def slice_ns() -> int | None:
    """What this thread may run at once by the kernel's own account; None where it does not say."""
    try:
        lines = Path("/proc/thread-self/sched").read_text().splitlines()
    except OSError:
        return None
    values = [line.rpartition(":")[2] for line in lines if line.startswith("se.slice ")]
    return int(values[0]) if values else None


def test_short_slices_are_this_threads_alone() -> None:
    seen: list[tuple[bool, int | None]] = []
    children: list[int | None] = []

    def work() -> None:
        seen.append((take_short_slices(), slice_ns()))
        child = threading.Thread(target=lambda: children.append(slice_ns()))
        child.start()
        child.join()

    usual: list[int | None] = []
    # The thread that runs the tests may have asked already, where one of them ran a server.
    for target in (lambda: usual.append(slice_ns()), work):
        thread = threading.Thread(target=target)
        thread.start()
        thread.join()
    (usual_ns,) = usual
    ((is_taken, short_ns),) = seen
    if not is_taken or short_ns is None or short_ns == usual_ns:
        pytest.skip("this kernel gives no slices of their own to threads, or does not show them")
    assert short_ns == 700_000
    assert children == [usual_ns]


@pytest.mark.parametrize(
    "what", ["platform", "machine", "before others", "not as others", "not to be known"]
)
def test_slices_are_left_alone_where_they_are_not_known(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def call(*_: object) -> int:
        raise AssertionError("the system was asked")

    def refuse(_: int) -> int:
        raise OSError

    monkeypatch.setattr(threads, "_system_call", call)
    if what == "platform":
        monkeypatch.setattr(sys, "platform", "darwin")
    elif what == "machine":
        monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine="vax"))
    elif what == "before others":
        monkeypatch.setattr(os, "getpriority", lambda *_: -1)
    elif what == "not as others":
        monkeypatch.setattr(os, "sched_getscheduler", lambda _: 3, raising=False)
    else:
        monkeypatch.setattr(os, "sched_getscheduler", refuse, raising=False)
    assert not take_short_slices()


def test_a_job_that_does_not_return_can_be_made_up_for() -> None:
    pool, gate, done = Pool("test", 1), threading.Event(), threading.Semaphore(0)
    pool.submit(gate.wait)
    for _ in range(3):
        pool.submit(done.release)
    assert not done.acquire(timeout=0.01)
    pool.lend()
    for _ in range(3):
        assert done.acquire(timeout=WAIT_S)
    pool.resize(1)  # counts without what was lent
    pool.submit(done.release)
    assert done.acquire(timeout=WAIT_S)
    gate.set()
    pool.take_back()
    assert pool.close(WAIT_S)
