import time
from queue import SimpleQueue

from salver.lifecycle.late_loads import LoadWatch
from salver.lifecycle.lateness import Late

WAIT_S = 10


def test_a_load_that_does_not_return_is_noticed_by_a_thread_that_ends_with_the_last() -> None:
    told: SimpleQueue[Late[str]] = SimpleQueue()
    watch: LoadWatch[str] = LoadWatch(
        0.05, clock=time.monotonic, is_wanted=lambda _key: True, on_late=told.put
    )
    watch.begin("a")
    thread = watch._thread
    assert thread is not None
    late = told.get(timeout=WAIT_S)
    assert (late.key, late.is_over) == ("a", True)
    thread.join(WAIT_S)
    assert watch._thread is None
    watch.begin("b")
    assert told.get(timeout=WAIT_S).key == "b"


def test_a_load_that_returns_ends_the_thread() -> None:
    watch: LoadWatch[str] = LoadWatch(
        0.0, clock=time.monotonic, is_wanted=lambda _key: True, on_late=lambda _late: None
    )
    watch.begin("a")
    watch.begin("b")
    thread = watch._thread
    assert thread is not None
    watch.end("a")
    assert thread.is_alive()
    watch.end("b")
    thread.join(WAIT_S)
    assert not thread.is_alive()


def test_whoever_moves_the_clock_looks_by_hand() -> None:
    now_s, told = 0.0, list[str]()
    watch: LoadWatch[str] = LoadWatch(
        100.0,
        clock=lambda: now_s,
        is_wanted=lambda _key: True,
        on_late=lambda late: told.append(late.key),
    )
    watch.begin("a")
    watch.check()
    assert told == []
    now_s = 60.0
    watch.check()
    assert told == ["a"]
    watch.end("a")
