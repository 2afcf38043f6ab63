from concurrent.futures import Future

from salver.workers.waiting import when_all_done


def test_calls_once_when_the_last_is_done_however_it_is_done() -> None:
    calls: list[int] = []
    futures: list[Future[None]] = [Future(), Future()]
    when_all_done(futures, lambda: calls.append(1))
    futures[1].set_exception(ValueError("failed"))
    assert calls == []
    futures[0].set_result(None)
    assert calls == [1]


def test_calls_at_once_where_there_is_nothing_to_wait_for() -> None:
    calls: list[int] = []
    when_all_done([], lambda: calls.append(1))
    assert calls == [1]
