import threading

from salver.workers.periodic import Periodic

WAIT_S = 10.0


def test_it_calls_after_each_pause_until_it_is_stopped() -> None:
    pauses: list[float] = []
    calls: list[int] = []

    def call() -> None:
        calls.append(len(pauses))
        if len(calls) == 3:
            periodic.stop()

    def wait(_stopping: threading.Event, seconds: float) -> None:
        pauses.append(seconds)

    periodic = Periodic("test", call, lambda: float(len(pauses)), wait=wait)
    periodic.start()
    periodic.join(WAIT_S)
    assert pauses == [0.0, 1.0, 2.0]
    assert calls == [1, 2, 3]


def test_stopped_while_it_waits_it_calls_no_more() -> None:
    calls: list[int] = []
    periodic = Periodic("test", lambda: calls.append(1), lambda: WAIT_S)
    periodic.start()
    periodic.stop()
    periodic.join(WAIT_S)
    assert calls == []
