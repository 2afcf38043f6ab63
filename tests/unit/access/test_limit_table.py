"""The table of limits: rows that are found again, taken over, and shared by processes."""

import os
import subprocess
import sys
import time

import pytest

from salver.access.limit_table import KEPT_S, LOOK_AGAIN_S, LimitTable
from salver.access.limits import Limits
from salver.errors import LimitExceeded
from salver.instruments.machine import make_shared_memory
from salver.vocabulary.access import Principal, Role


def test_a_row_is_found_again() -> None:
    table = LimitTable()
    row, is_new = table.find("alice", 1.0), table.was_taken
    again, is_new_again = table.find("alice", 2.0), table.was_taken
    assert again == row
    assert (is_new, is_new_again) == (True, False)
    assert table.find("bob", 2.0) != row


@pytest.mark.parametrize("name", ["", "ä", "\ud800", "\0", "x" * 100_000])
def test_any_name_has_a_row(name: str) -> None:
    assert LimitTable().find(name, 1.0) is not None


def test_a_row_is_taken_from_who_was_not_seen_for_long() -> None:
    table = LimitTable(num_rows=1)
    row = table.find("alice", 100.0)
    assert row is not None
    table.times[row.full_at] = 150.0
    assert table.find("bob", 100.0 + KEPT_S) is None
    assert table.find("bob", 101.0 + KEPT_S) == row
    assert table.times[row.full_at] == 0.0
    assert table.find("alice", 102.0 + KEPT_S) is None


def test_a_row_is_not_taken_from_who_is_being_answered() -> None:
    table = LimitTable(num_rows=1)
    row = table.find("alice", 100.0)
    assert row is not None
    table.counts[row.own] = 1
    assert table.find("bob", 1e6) is None


def test_a_row_is_kept_for_much_longer_than_a_process_uses_it_unseen() -> None:
    assert KEPT_S > 3 * LOOK_AGAIN_S


def test_a_principal_that_lost_its_row_gets_another() -> None:
    now_s = [1000.0]
    table = LimitTable(num_rows=16)
    limits = Limits(table, clock=lambda: now_s[0])
    alice = Principal("alice", "jwt", Role("r", max_concurrent_requests=1))
    release = limits.enter(alice)
    assert release is not None
    row = table.find("jwt\0alice", now_s[0])
    assert row is not None
    table.counts[row.full_at - 2] = 77  # another process has taken it in the same moment
    now_s[0] += 0.01
    again = limits.enter(alice)
    assert again is not None
    release()
    again()
    assert limits.enter(alice) is not None


def test_more_principals_than_rows_are_limited_each_all_the_same() -> None:
    limits = Limits(LimitTable(num_rows=16), clock=lambda: 1.0)
    role = Role("r", requests_per_second=1, max_concurrent_requests=1)
    for number in range(100):
        each = Principal(str(number), "jwt", role)
        assert limits.enter(each) is not None
        with pytest.raises(LimitExceeded):
            limits.enter(each)


def test_what_is_remembered_of_principals_is_bounded() -> None:
    limits = Limits(clock=lambda: 1.0)
    role = Role("r", requests_per_second=1, max_concurrent_requests=1)
    held = limits.enter(Principal("first", "jwt", role))
    assert held is not None
    for number in range(11_000):
        release = limits.enter(Principal(str(number), "jwt", role))
        assert release is not None
        release()
    assert max(len(limits._kept), len(limits._accounts)) <= 10_000
    with pytest.raises(LimitExceeded):
        limits.enter(Principal("first", "jwt", role))


_HAMMER = """
import sys, time
from salver.access.limits import Limits
from salver.access.limit_table import LimitTable
from salver.errors import LimitExceeded
from salver.vocabulary.access import Principal, Role
descriptor, column = int(sys.argv[1]), int(sys.argv[2])
limits = Limits(LimitTable(descriptor, num_columns=3, column=column))
alice = Principal("alice", "jwt", Role("r", requests_per_second=500, burst=50))
admitted = 0
print("ready", flush=True)
until_s = float(sys.stdin.readline())
while time.monotonic() < until_s:
    try:
        limits.enter(alice)
    except LimitExceeded:
        continue
    admitted += 1
print(admitted)
"""


def test_processes_that_hammer_at_once_get_the_rate_together() -> None:
    descriptor = make_shared_memory("test-limits")
    os.truncate(descriptor, LimitTable.size_of(3))
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _HAMMER, str(descriptor), str(column)],
            pass_fds=(descriptor,),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for column in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    begun_s = time.monotonic()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(f"{begun_s + 1.0}\n")
        process.stdin.flush()
    admitted = sum(int(process.communicate()[0]) for process in processes)
    os.close(descriptor)
    # With a table each they would be admitted three times as often. A process that is stopped
    # between reading and writing gives back what the others have taken meanwhile.
    assert 50 <= admitted <= (50 + 500 * (time.monotonic() - begun_s)) * 1.3
