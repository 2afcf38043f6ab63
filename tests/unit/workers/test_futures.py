import threading
from concurrent.futures import Future

import pytest

from salver.errors import NotFound
from salver.instruments.threads import Pool
from salver.workers.futures import in_pool, in_thread, when_all_done

WAIT_S = 10.0


def refuse() -> None:
    raise NotFound("gone")


def test_a_call_in_a_thread_is_a_future_of_its_result() -> None:
    name = in_thread("test-7", lambda: threading.current_thread().name)
    assert name.result(WAIT_S) == "test-7"


def test_what_a_call_raises_is_what_its_future_fails_with() -> None:
    pool = Pool("test", 1)
    for future in (in_thread("test", refuse), in_pool(pool, refuse)):
        error = future.exception(WAIT_S)
        assert isinstance(error, NotFound)
        assert error.__traceback__ is None  # whose frames would keep what the call held
    assert pool.close(WAIT_S)
    with pytest.raises(RuntimeError):
        in_pool(pool, refuse)


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
