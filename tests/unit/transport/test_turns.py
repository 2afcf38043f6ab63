import os
from collections.abc import Iterator

import pytest

from salver.transport.turns import Turns, make_board, open_board, take_off


@pytest.fixture
def board() -> Iterator["memoryview[int]"]:
    descriptor = make_board(4)
    yield open_board(descriptor)
    os.close(descriptor)


def pair(board: "memoryview[int]") -> tuple[Turns, Turns]:
    return Turns(board, 0, (0, 2)), Turns(board, 2, (0, 2))


def test_who_holds_as_many_as_the_other_may_accept(board: "memoryview[int]") -> None:
    one, other = pair(board)
    assert one.is_ours(0)
    assert other.is_ours(0)


def test_who_holds_more_than_the_other_lets_it_go_first(board: "memoryview[int]") -> None:
    one, other = pair(board)
    assert not one.is_ours(1)
    assert other.is_ours(0)
    assert other.is_ours(1)
    assert one.is_ours(1)


def test_of_many_a_sixteenth_more_is_as_many(board: "memoryview[int]") -> None:
    one, other = pair(board)
    other.is_ours(160)
    assert one.is_ours(170)
    assert not one.is_ours(171)


def test_who_is_alone_or_whose_other_has_ended_accepts_all(board: "memoryview[int]") -> None:
    alone = Turns(board, 0, (0, 2))
    assert alone.is_ours(5)
    Turns(board, 2, (0, 2))
    assert not alone.is_ours(5)
    take_off(board, 2)
    assert alone.is_ours(5)


def test_connections_of_another_kind_do_not_count(board: "memoryview[int]") -> None:
    one, _ = pair(board)
    Turns(board, 1, (1, 3))
    Turns(board, 3, (1, 3)).is_ours(0)
    take_off(board, 2)
    assert one.is_ours(9)


def test_what_one_writes_is_read_by_whoever_opened_the_board(board: "memoryview[int]") -> None:
    descriptor = make_board(2)
    one = Turns(open_board(descriptor), 0, (0, 1))
    other = Turns(open_board(descriptor), 1, (0, 1))
    assert other.is_ours(0)
    assert not one.is_ours(1)
    os.close(descriptor)
