"""The demo of examples/digits runs to its end."""

import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).resolve().parents[2] / "examples" / "digits" / "demo.py"


def test_the_demo_swaps_versions_and_ends_by_itself(tmp_path: Path) -> None:
    if not Path(sys.executable).with_name("salver").exists():
        pytest.skip("the package is not installed, so there is no `salver` command")
    ended = subprocess.run(
        [sys.executable, DEMO, "--once"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "version 2 took over" in ended.stdout
    assert "The server stopped with exit status 0." in ended.stdout
    assert (tmp_path / ".demo" / "models" / "digits" / "2" / "saved_model.pb").exists()
