from collections.abc import Iterator

import pytest
from tests.shelf import Gate, Shelf

from salver.scheduling.run_pool import RunPool


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    """A server without models. After the test nothing holds a version any more."""
    pool = RunPool(1)
    shelf = Shelf(pool)
    yield shelf
    pool.close()
    assert shelf.in_flight() == 0


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A closed gate, opened when the test ends."""
    gate = Gate()
    yield gate
    gate.let_go.set()
