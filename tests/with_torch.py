"""For tests that need PyTorch, which has 3 GB.

Where it is installed they run with all others. Else scripts/stress runs them alone, in an
environment of its own.
"""

from importlib.util import find_spec
from typing import Any

import pytest

__all__ = ["marks_with_torch"]


def marks_with_torch() -> list[Any]:
    """For `pytestmark`."""
    warnings = pytest.mark.filterwarnings("default")  # PyTorch deprecates parts of itself
    if find_spec("torch") is not None:
        return [warnings]
    return [
        pytest.mark.stress,
        pytest.mark.skip(reason="PyTorch is not installed: scripts/stress makes a place for it"),
    ]
