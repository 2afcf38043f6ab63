import os
from collections.abc import Callable
from pathlib import Path

import pytest

from salver.backends.tensorflow import nodes
from salver.backends.tensorflow.nodes import operations_in
from salver.errors import ServingError

NAMES = ("StatelessWhile", "Conv2D", "Conv3D")
NODE = b"\x0a\x04loop\x12\x0eStatelessWhile"


def test_the_operations_of_a_graph_are_found(version_path: Callable[[str], Path]) -> None:
    assert operations_in(version_path("convnet"), NAMES) == {"Conv2D"}
    assert operations_in(version_path("slow"), {"While", "Conv2D"}) == {"While"}
    assert not operations_in(version_path("half_plus_two"), NAMES)


@pytest.mark.parametrize("cut", range(1, len(NODE)))
def test_a_node_across_two_reads_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    monkeypatch.setattr(nodes, "_CHUNK_BYTES", 64)
    (tmp_path / "saved_model.pb").write_bytes(bytes(64 - cut) + NODE + bytes(200))
    assert operations_in(tmp_path, NAMES) == {"StatelessWhile"}


def test_several_operations_are_found_in_one_text(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pbtxt").write_text(
        'node { name: "a" op: "Conv2D" } node { name: "Conv3D" op: "StatelessWhile" }'
    )
    assert operations_in(tmp_path, NAMES) == {"Conv2D", "StatelessWhile"}


def test_a_directory_without_a_model_has_none(tmp_path: Path) -> None:
    assert not operations_in(tmp_path, NAMES)


def test_a_file_that_cannot_be_read_gives_the_words_of_the_system(tmp_path: Path) -> None:
    if not os.path.exists("/proc/self/mem"):
        pytest.skip("needs a file that cannot be read")
    (tmp_path / "saved_model.pb").symlink_to("/proc/self/mem")
    with pytest.raises(ServingError, match="Input/output error"):
        operations_in(tmp_path, NAMES)
