"""Five kinds of models at once, whose versions swap, beside one whose processes die."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("minutes", [0.3, pytest.param(10.0, marks=pytest.mark.stress)])
def test_no_request_to_a_healthy_model_fails(
    minutes: float, model_path: Callable[[str], Path]
) -> None:
    models = model_path("half_plus_two").parents[1]
    done = subprocess.run(
        [
            *(sys.executable, ROOT / "benchmarks" / "soak_models.py"),
            *(f"--minutes={minutes}", f"--models={models}"),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60 * minutes + 180,
        check=False,
    )
    assert done.returncode == 0, done.stdout
