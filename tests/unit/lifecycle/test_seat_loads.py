from concurrent.futures import Future

import pytest

from salver.errors import DataLoss, NotFound, ServingError
from salver.lifecycle.seat_loads import anew, is_queued, settle
from salver.threads import Pool

WAIT_S = 10


def test_a_closed_pool_takes_no_job() -> None:
    pool, done = Pool("test", 1), Future[None]()
    assert is_queued(pool, lambda: done.set_result(None))
    done.result(WAIT_S)
    assert pool.close(WAIT_S)
    assert not is_queued(pool, lambda: None)


def test_a_future_is_settled_once() -> None:
    well, badly = Future[None](), Future[None]()
    settle(well, None)
    settle(well, NotFound("too late"))
    assert well.result(0) is None
    settle(badly, DataLoss("cut"))
    settle(badly, None)
    with pytest.raises(DataLoss, match="cut"):
        badly.result(0)


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (NotFound("gone"), "It is tried again after a while"),
        (NotFound("gone", hint="look elsewhere"), "look elsewhere"),
    ],
)
def test_an_error_is_made_anew_for_each_request(error: ServingError, hint: str) -> None:
    again = anew(error)
    assert again is not error
    assert (again.code, again.message) == (error.code, error.message)
    assert again.hint is not None
    assert again.hint.startswith(hint)
