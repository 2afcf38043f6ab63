import logging
from collections.abc import Iterator

import pytest

from salver.errors import InvalidArgument
from salver.instruments.log_level import LEVELS, level_name, level_of, log_level, set_log_level


@pytest.fixture(autouse=True)
def _levels() -> Iterator[None]:
    ours, root = logging.getLogger("salver"), logging.getLogger()
    before = ours.level, root.level
    yield
    ours.setLevel(before[0])
    root.setLevel(before[1])


@pytest.mark.parametrize("name", LEVELS)
def test_a_level_is_set_and_read_by_its_name(name: str) -> None:
    set_log_level(level_of(name.upper()))
    assert level_name(log_level()) == name


def test_others_are_logged_from_warnings_up_at_most() -> None:
    set_log_level(logging.DEBUG)
    assert logging.getLogger("asyncio").getEffectiveLevel() == logging.WARNING
    set_log_level(logging.ERROR)
    assert logging.getLogger("asyncio").getEffectiveLevel() == logging.ERROR


def test_a_change_stands_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    set_log_level(logging.INFO)
    caplog.clear()
    set_log_level(logging.CRITICAL)
    set_log_level(logging.CRITICAL)
    assert [r.getMessage() for r in caplog.records] == [
        "The log level changes from info to critical"
    ]


@pytest.mark.parametrize("name", ["", "loud", 10, None, ["info"]])
def test_what_is_no_level_is_refused(name: object) -> None:
    with pytest.raises(InvalidArgument, match="level must be one of debug, info, notice"):
        level_of(name)


def test_a_level_between_two_has_the_name_of_the_quieter() -> None:
    assert level_name(logging.INFO + 1) == "notice"
    assert level_name(logging.CRITICAL + 1) == "critical"
