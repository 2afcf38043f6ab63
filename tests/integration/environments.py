"""Environments of their own, for packages that do not go with those of the tests."""

import subprocess
import venv
from pathlib import Path

import pytest

__all__ = ["environment_with"]

_CANNOT = ("No matching distribution found", "Failed to establish a new connection", "Timeout")


def environment_with(place: Path, *packages: str) -> Path:
    """The interpreter of an environment with these packages, made in `place`.

    Where they cannot be had the test is skipped.
    """
    venv.create(place, with_pip=True)
    python = place / "bin" / "python"
    pip = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", *packages],
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
    )
    if pip.returncode and any(words in pip.stderr for words in _CANNOT):
        pytest.skip(f"{', '.join(packages)} cannot be had here")
    assert pip.returncode == 0, pip.stderr
    return python
