import logging
from concurrent.futures import Future

import pytest

from salver.vocabulary.servable import ServableId
from salver.workers.catch_up import late_load

V1, V2 = ServableId("m", 1), ServableId("m", 2)


def ended() -> "Future[None]":
    future: Future[None] = Future()
    future.set_result(None)
    return future


def test_loads_that_have_ended_are_not_late() -> None:
    assert late_load({ended(): V1}, "W", limit_s=0, warn_s=60) is None
    assert late_load({}, "W", limit_s=0, warn_s=60) is None


def test_the_lowest_version_that_is_late_is_named_when_time_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loads: dict[Future[None], ServableId] = {
        Future(): V2,
        ended(): ServableId("a", 1),
        Future(): V1,
    }
    with caplog.at_level(logging.WARNING):
        assert late_load(loads, "Worker 7", limit_s=0.02, warn_s=0.01) == V1
    assert caplog.messages == [f"Worker 7 has been loading {V1}, {V2} for 0.01 s"]
