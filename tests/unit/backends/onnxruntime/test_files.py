"""Weights in other files: those beside the model, and no others."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from tests.onnx_models import classifier, layers, save, weights

from salver.backends.onnxruntime.backend import OnnxRuntimeBackend
from salver.backends.onnxruntime.files import examine
from salver.backends.onnxruntime.options import OnnxRuntimeOptions
from salver.backends.protocol import LoadStage
from salver.errors import Code, ServingError

MOST = 1000


def external(directory: Path, location: str = "weights.bin", proto: Any = None) -> Path:
    """A model with its weights in another file."""
    proto = proto or layers(64, 2)
    directory.mkdir(parents=True, exist_ok=True)
    onnx.save(
        proto,
        str(directory / "model.onnx"),
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    if location != "weights.bin":
        proto = onnx.load(str(directory / "model.onnx"), load_external_data=False)
        for tensor in proto.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = location
        (directory / "model.onnx").write_bytes(proto.SerializeToString())
    return directory / "model.onnx"


def test_a_model_with_its_weights_in_other_files_is_as_large_as_all(tmp_path: Path) -> None:
    path = external(tmp_path)
    found = examine(path, max_nodes=MOST)
    assert found.size == path.stat().st_size + (tmp_path / "weights.bin").stat().st_size
    info = OnnxRuntimeBackend().inspect(tmp_path, OnnxRuntimeOptions())
    assert info.footprint_bytes == found.size


@pytest.mark.parametrize("location", ["weights.bin", "./weights.bin", "parts/weights.bin"])
def test_it_is_loaded_and_runs(location: str, tmp_path: Path) -> None:
    external(tmp_path / "1", location)
    if location.startswith("parts"):
        (tmp_path / "1" / "parts").mkdir()
        (tmp_path / "1" / "weights.bin").rename(tmp_path / "1" / location)
    save(layers(64, 2), tmp_path / "2")
    answers = []
    for version in ("1", "2"):
        backend = OnnxRuntimeBackend()
        loaded = backend.load(tmp_path / version, OnnxRuntimeOptions(), LoadStage())
        x = np.ones((3, 64), np.float32)
        answers.append(loaded.program("serving_default").run([x])[0])
        loaded.close()
    np.testing.assert_allclose(answers[0], answers[1])


@pytest.mark.parametrize("labels", [("a", "b", "c")])
def test_a_map_is_made_a_matrix_where_weights_are_elsewhere_too(
    labels: tuple[str, ...], tmp_path: Path
) -> None:
    proto = classifier(labels=labels)
    proto.graph.node.insert(0, onnx.helper.make_node("Mul", ["x", "scale"], ["scaled"]))
    proto.graph.node[1].input[0] = "scaled"
    proto.graph.initializer.append(weights("scale", np.full(4, 2, np.float32)))
    external(tmp_path, proto=proto)
    loaded = OnnxRuntimeBackend().load(tmp_path, OnnxRuntimeOptions(), LoadStage())
    program = loaded.program("serving_default", ["probabilities"])
    (scores,) = program.run([np.ones((2, 4), np.float32)])
    loaded.close()
    assert scores.shape == (2, 3)


@pytest.mark.parametrize(
    "location",
    [
        "/etc/hostname",
        "../secret.bin",
        "parts/../../secret.bin",
        "link.bin",
        "folder/secret.bin",
        "*/_ORT_MEM_ADDR_/*",
        "",
        "a\0b",
    ],
)
def test_weights_elsewhere_are_refused_by_name(location: str, tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(1 << 16))
    version = tmp_path / "1"
    path = external(version, location)
    (version / "link.bin").symlink_to(tmp_path / "secret.bin")
    (version / "folder").symlink_to(tmp_path)
    (version / "parts").mkdir()
    hidden = version / "*" / "_ORT_MEM_ADDR_" / "*"
    hidden.parent.mkdir(parents=True)
    hidden.write_bytes(bytes(1 << 16))
    backend = OnnxRuntimeBackend()
    for refused in (
        lambda: examine(path, max_nodes=MOST),
        lambda: backend.load(version, OnnxRuntimeOptions(), LoadStage()),
    ):
        with pytest.raises(ServingError, match=r"has weights \(w\d\) outside its dir") as raised:
            refused()
        assert raised.value.code is Code.FAILED_PRECONDITION


def test_links_within_the_directory_are_followed(tmp_path: Path) -> None:
    path = external(tmp_path / "1", "link.bin")
    (tmp_path / "1" / "link.bin").symlink_to("weights.bin")
    assert examine(path, max_nodes=MOST).size > 64 * 64 * 4
    (tmp_path / "2").symlink_to("1")  # a version may be a link itself
    assert examine(tmp_path / "2" / "model.onnx", max_nodes=MOST).size > 64 * 64 * 4


def test_what_is_not_there_or_no_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = external(tmp_path, "absent.bin")
    with pytest.raises(ServingError, match=r"absent\.bin not found") as raised:
        examine(path, max_nodes=MOST)
    assert raised.value.code is Code.NOT_FOUND
    os.mkfifo(tmp_path / "absent.bin")
    with pytest.raises(ServingError, match="a pipe") as raised:
        examine(path, max_nodes=MOST)
    (tmp_path / "absent.bin").unlink()
    (tmp_path / "absent.bin").symlink_to("absent.bin")
    with pytest.raises(ServingError):
        examine(path, max_nodes=MOST)


def test_a_piece_behind_the_end_of_its_file_is_an_error_of_the_load(tmp_path: Path) -> None:
    external(tmp_path)
    (tmp_path / "weights.bin").write_bytes(b"short")
    with pytest.raises(ServingError):
        OnnxRuntimeBackend().load(tmp_path, OnnxRuntimeOptions(), LoadStage())
