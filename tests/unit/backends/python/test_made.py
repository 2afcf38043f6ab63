from concurrent.futures import Future

import pytest

from salver.backends.python.made import Made


def _raise() -> int:
    raise ValueError("raised on purpose")


def test_what_is_made_is_there_at_once() -> None:
    called: list[Future[int]] = []
    made = Made(lambda: 7)
    made.add_done_callback(called.append)
    assert (made.done(), made.result(), made.exception()) == (True, 7, None)
    assert called == [made]


def test_what_was_raised_is_raised_for_whoever_asks() -> None:
    made = Made(_raise)
    assert isinstance(made.exception(), ValueError)
    for _ in range(2):
        with pytest.raises(ValueError, match="on purpose"):
            made.result()


def test_nothing_is_left_to_be_cancelled() -> None:
    made = Made(lambda: None)
    assert not made.cancel()
    assert (made.cancelled(), made.running()) == (False, False)
    assert repr(made) == "<Made returned>"
    assert repr(Made(_raise)) == "<Made raised>"
