"""`make cluster-demo ONCE=1`, but for the environment, which is this one."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.integration.clusters import needs_ray
from tests.integration.documents import ROOT

NEEDED = ("lightgbm", "matplotlib", "onnx", "onnxruntime", "rich", "skops")


@pytest.mark.stress
@needs_ray
@pytest.mark.skipif(
    any(find_spec(name) is None for name in NEEDED), reason=f"one of {NEEDED} is not installed"
)
def test_no_request_fails_though_a_node_is_killed_and_one_is_added(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "MPLBACKEND": "Agg"}
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "cluster" / "demo.py"), "--once"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 failed; " in done.stdout
    assert (tmp_path / ".cluster-demo" / "cluster.png").stat().st_size > 1000
