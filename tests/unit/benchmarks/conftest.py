"""The modules of `benchmarks/`, which are no package: they find one another by the path."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = str(Path(__file__).resolve().parents[3] / "benchmarks")


@pytest.fixture(scope="session")
def module_named() -> Iterator[Callable[[str], Any]]:
    """Import one of them."""
    sys.path.insert(0, BENCHMARKS)
    try:
        yield importlib.import_module
    finally:
        sys.path.remove(BENCHMARKS)
