import signal

import pytest

from salver.servable import ServableId
from salver.workers.causes import cause_of_end


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (3, "exit status 3"),
        (-signal.SIGSEGV, "SIGSEGV"),
        (-signal.SIGKILL, "SIGKILL (out of memory?)"),
        (-64 - 50, "signal 114"),
    ],
)
def test_a_cause_is_a_status_or_the_name_of_a_signal(code: int, text: str) -> None:
    assert cause_of_end(code) == text


def test_what_was_being_loaded_is_named() -> None:
    loading = [ServableId("m", version) for version in (2, 1)]
    assert cause_of_end(-signal.SIGABRT, loading) == (
        "SIGABRT, while it was loading {name: m version: 1}, {name: m version: 2}"
    )


def test_of_many_only_some_are_named() -> None:
    text = cause_of_end(1, [ServableId("m", version) for version in range(9)])
    assert text.endswith("{name: m version: 3} and 5 more")
