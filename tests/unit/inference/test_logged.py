from dataclasses import dataclass

import numpy as np
import pytest
from tests.kept_logs import KeptLogger, KeptLogs

from salver.inference.logged import (
    NO_LOGS,
    Bodies,
    CallLogger,
    Examples,
    LoggedCall,
    Messages,
    Tensors,
    log_of_bodies,
    log_of_messages,
)
from salver.requests import ServableRequest

ASKED = ServableRequest("m", label="stable")


@dataclass
class Response:
    body: bytes

    def whole(self) -> bytes:
        return self.body


def test_messages_are_handed_over_as_they_are() -> None:
    kept = KeptLogger()
    log = log_of_messages(KeptLogs({"m": kept}), "predict", ASKED, 3, "s", b"request")
    assert log is not None
    log([], b"answer")
    assert kept.calls == [LoggedCall("predict", ASKED, 3, "s", Messages(b"request", b"answer"))]


def test_arrays_or_bodies_are_handed_over_as_the_logger_wants() -> None:
    outputs = [np.zeros(2)]
    tensors = Tensors({}, {"y": outputs[0]})
    for wants_bodies, content in ((False, tensors), (True, Bodies(b"{}", b"[]"))):
        kept = KeptLogger(wants_bodies)
        log = log_of_bodies(
            KeptLogs({"m": kept}),
            "predict",
            ASKED,
            3,
            "",
            b"{}",
            lambda given: Tensors({}, {"y": given[0]}),
        )
        assert log is not None
        log(outputs, Response(b"[]"))
        assert kept.calls == [LoggedCall("predict", ASKED, 3, "", content)]


@pytest.mark.parametrize(
    "loggers", [{}, {"other": KeptLogger()}, {"m": KeptLogger(is_chosen=False)}]
)
def test_a_call_that_is_not_sampled_costs_nothing_more(loggers: dict[str, CallLogger]) -> None:
    logs = KeptLogs(loggers)
    assert log_of_messages(logs, "predict", ASKED, 3, "", b"") is None
    assert log_of_bodies(logs, "predict", ASKED, 3, "", b"", lambda _: Tensors({}, {})) is None


def test_nobody_logs_where_nothing_is_configured() -> None:
    assert not NO_LOGS.loggers


def test_the_size_of_messages_and_bodies_is_theirs() -> None:
    assert Messages(b"123", b"45").n_bytes == 5
    assert Bodies(b"1", b"").n_bytes == 1


def test_a_part_of_a_batch_counts_as_the_batch_it_keeps() -> None:
    batch = np.zeros((100, 10), np.float32)
    assert Tensors({"x": np.zeros(2, np.int64)}, {"y": batch[3:4]}).n_bytes == 16 + 4000


def test_strings_count_with_what_they_hold() -> None:
    strings = np.empty(2, object)
    strings[:] = [b"x" * 100, b"y" * 50]
    assert Tensors({"x": strings}, {}).n_bytes == strings.nbytes + 150
    assert Examples([b"x" * 10] * 1000, {}).n_bytes == 10_000
    assert Examples([], {}).n_bytes == 0
