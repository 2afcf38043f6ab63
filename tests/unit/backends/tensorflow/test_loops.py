import os
from collections.abc import Callable
from pathlib import Path

import pytest

from salver.backends.tensorflow import loops
from salver.backends.tensorflow.loops import can_loop
from salver.errors import ServingError

NODE = b"\x0a\x04loop\x12\x0eStatelessWhile"


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


@pytest.mark.parametrize("cut", range(1, len(NODE)))
def test_a_node_across_two_reads_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    monkeypatch.setattr(loops, "_CHUNK_BYTES", 64)
    (tmp_path / "saved_model.pb").write_bytes(bytes(64 - cut) + NODE + bytes(200))
    assert can_loop(tmp_path)


def test_a_directory_without_a_model_has_no_loops(tmp_path: Path) -> None:
    assert not can_loop(tmp_path)


def test_a_file_that_cannot_be_read_gives_the_words_of_the_system(tmp_path: Path) -> None:
    if not os.path.exists("/proc/self/mem"):
        pytest.skip("needs a file that cannot be read")
    (tmp_path / "saved_model.pb").symlink_to("/proc/self/mem")
    with pytest.raises(ServingError, match="Input/output error"):
        can_loop(tmp_path)
