from collections.abc import Callable
from pathlib import Path

import pytest

from salver.backends.tensorflow.loops import can_loop


def test_models_with_loops_are_told_from_those_without(version_path: Callable[[str], Path]) -> None:
    assert can_loop(version_path("slow"))
    assert not can_loop(version_path("half_plus_two"))
    assert not can_loop(version_path("convnet"))


@pytest.mark.parametrize("operation", ["While", "StatelessWhile", "For", "Enter", "RefEnter"])
def test_every_kind_of_loop_is_seen_in_both_forms(tmp_path: Path, operation: str) -> None:
    text = tmp_path / "saved_model.pbtxt"
    text.write_text(f'node {{ name: "l" op: "{operation}" }}')
    assert can_loop(tmp_path)
    text.write_text('node { name: "While" op: "Add" }')
    assert not can_loop(tmp_path)
    binary = tmp_path / "saved_model.pb"
    binary.write_bytes(b"\x12" + bytes((len(operation),)) + operation.encode())
    assert can_loop(tmp_path)
    binary.write_bytes(b"\x0a" + bytes((len(operation),)) + operation.encode())
    assert not can_loop(tmp_path)


def test_a_directory_without_a_model_has_no_loops(tmp_path: Path) -> None:
    assert not can_loop(tmp_path)
