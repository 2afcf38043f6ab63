from pathlib import Path

import pytest

from salver.backends.trees.probe import probe
from salver.errors import DataLoss


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path / "trial_of_test.py"


def test_what_a_trial_survives_is_loaded(module: Path) -> None:
    module.write_text("import sys; assert sys.stdin.buffer.read() == b'model'")
    probe("trial_of_test", b"model", "m.txt")


def test_what_ends_a_trial_is_an_error_that_says_how(module: Path) -> None:
    module.write_text("import os, sys; sys.stderr.write('too odd'); sys.stderr.flush(); os.abort()")
    with pytest.raises(DataLoss, match=r"^m.txt cannot be loaded: .* signal 6: too odd$"):
        probe("trial_of_test", b"model", "m.txt")
