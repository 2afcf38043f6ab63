"""Columns of the table of limits: one for each process, also of two that share a slot."""

from collections.abc import Iterator

import pytest

from salver.access.limits import Limits
from salver.errors import LimitExceeded
from salver.vocabulary.access import Principal, Role
from salver.workers.limit_columns import LimitColumns, open_table

_ALICE = Principal("alice", "api_key", Role("scorer", max_concurrent_requests=2))


@pytest.fixture
def columns() -> Iterator[LimitColumns]:
    made = LimitColumns(2)
    yield made
    made.close()


def _start(columns: LimitColumns, name: str) -> Limits:
    column = columns.next()
    columns.opened(name, column)
    return Limits(open_table(column))


def test_a_worker_and_its_successor_count_apart_and_together(columns: LimitColumns) -> None:
    old = _start(columns, "old")
    release = old.enter(_ALICE)
    assert release is not None
    new = _start(columns, "new")
    assert new.enter(_ALICE) is not None
    with pytest.raises(LimitExceeded):
        new.enter(_ALICE)
    release()
    columns.closed("old")
    assert new.enter(_ALICE) is not None


def test_what_a_process_that_has_ended_was_answering_is_forgotten(columns: LimitColumns) -> None:
    dies, goes_on = _start(columns, "dies"), _start(columns, "goes on")
    for _ in range(2):
        assert dies.enter(_ALICE) is not None
    columns.closed("dies")
    for _ in range(2):
        assert goes_on.enter(_ALICE) is not None


def test_columns_are_used_again(columns: LimitColumns) -> None:
    for number in range(100):
        taken = columns.next()
        assert taken is not None
        columns.opened(number, taken)
        columns.closed(number)


def test_a_process_for_which_there_is_no_column_counts_by_itself(columns: LimitColumns) -> None:
    while (column := columns.next()) is not None:
        columns.opened(column.number, column)
    assert open_table(None) is None
    columns.closed("never opened")
    assert columns.next() is None


def test_a_column_in_which_nobody_has_counted_is_given_back(columns: LimitColumns) -> None:
    numbers = set()
    for _ in range(20):
        column = columns.next()
        assert column is not None
        numbers.add(column.number)
        columns.give_back(column)
    assert len(numbers) == 1
