import numpy as np

from salver.inference.logged import (
    NO_LOGS,
    Bodies,
    Examples,
    Messages,
    Tensors,
)


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
