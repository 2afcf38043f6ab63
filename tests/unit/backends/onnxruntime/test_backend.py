"""What the server is told of ONNX files, and how loads go wrong."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper
from tests.onnx_models import half_plus_two, model, save, value

from salver.backends.onnxruntime.backend import OnnxRuntimeBackend
from salver.backends.onnxruntime.model import OnnxModel
from salver.backends.onnxruntime.options import OnnxRuntimeOptions
from salver.backends.protocol import Listing, LoadStage
from salver.backends.selection import Selector
from salver.errors import FailedPrecondition, ServingError, Unavailable

Load = Callable[..., OnnxModel]
OPTIONS = OnnxRuntimeOptions()


def test_the_file_may_have_any_name_if_it_is_the_only_one(tmp_path: Path) -> None:
    backend = OnnxRuntimeBackend()
    save(half_plus_two(), tmp_path, "net.onnx")
    (tmp_path / "net.onnx.data").touch()
    match = backend.detect(Listing.of(tmp_path), OPTIONS)
    assert match is not None
    assert match.files == ["net.onnx"]
    assert match.stored_as == "model.onnx"
    assert list(backend.inspect(tmp_path, OPTIONS).signatures) == ["serving_default"]
    (tmp_path / "other.onnx").touch()
    assert backend.detect(Listing.of(tmp_path), OPTIONS) is None
    (tmp_path / "model.onnx").touch()
    match = backend.detect(Listing.of(tmp_path), OPTIONS)
    assert match is not None
    assert match.files == ["model.onnx"]


def test_files_of_another_backend_beside_it_are_named(tmp_path: Path) -> None:
    save(half_plus_two(), tmp_path)
    (tmp_path / "model.tflite").touch()
    with pytest.raises(FailedPrecondition, match=r"model\.tflite.*model\.onnx"):
        Selector()(tmp_path)
    assert Selector()(tmp_path, "onnxruntime").backend.name == "onnxruntime"


def test_a_look_opens_no_library(tmp_path: Path) -> None:
    save(half_plus_two(), tmp_path)
    program = (
        "import sys; from pathlib import Path; "
        "from salver.backends.onnxruntime.backend import OnnxRuntimeBackend as B; "
        f"print(*B().inspect(Path({str(tmp_path)!r}), B.options()).signatures); "
        "print('libonnxruntime' in Path('/proc/self/maps').read_text(), "
        "'onnxruntime' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["serving_default", "False", "False"]


def _too_new() -> Any:
    return model(
        [helper.make_node("Neg", ["x"], ["y"])],
        [value("x", ["n"])],
        [value("y", ["n"])],
        ir_version=99,
    )


def _unknown(kind: str = "NoSuchOperation") -> Any:
    return model([helper.make_node(kind, ["x"], ["y"])], [value("x", ["n"])], [value("y", ["n"])])


@pytest.mark.parametrize(
    ("make", "said"),
    [(_too_new, "IR version: 99"), (_unknown, "NoSuchOperation")],
    ids=["version", "operation"],
)
def test_what_onnx_runtime_does_not_know_is_said_in_its_words(
    make: Callable[[], Any], said: str, load: Load, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ServingError, match=said):
        load(make())
    assert capfd.readouterr().err == ""


def test_a_load_that_was_given_up_ends(load: Load) -> None:
    def check() -> None:
        raise Unavailable("The server is stopping")

    with pytest.raises(Unavailable, match="stopping"):
        load(half_plus_two(), LoadStage(check=check))


def test_a_load_behind_nobody_is_made_at_once(load: Load) -> None:
    loaded = load(half_plus_two(), LoadStage(is_serving=lambda: False))
    (y,) = loaded.program("serving_default").run([np.zeros(1, np.float32)])
    assert y.tolist() == [2]


_HOSTILE = """
import random, sys
from pathlib import Path
import numpy as np
from salver.backends.onnxruntime.backend import OnnxRuntimeBackend as Backend
from salver.backends.protocol import LoadStage
from salver.errors import ServingError
directory, content = Path(sys.argv[1]), Path(sys.argv[2]).read_bytes()
chance, backend = random.Random(int(sys.argv[3])), Backend()
for _ in range(int(sys.argv[4])):
    data = bytearray(content)
    for _ in range(chance.randrange(1, 5)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    if chance.random() < 0.2:
        del data[chance.randrange(len(data)):]
    (directory / "model.onnx").write_bytes(data)
    try:
        backend.load(directory, backend.options(max_nodes=1000), LoadStage()).close()
    except ServingError:
        pass
print("alive")
"""


@pytest.mark.parametrize("seed", range(3))
def test_files_with_errors_end_no_process(seed: int, tmp_path: Path) -> None:
    from tests.onnx_models import classifier, looping, sequence

    proto = (classifier, looping, sequence)[seed]()
    whole = save(proto, tmp_path / "whole")
    (tmp_path / "cut").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", _HOSTILE, str(tmp_path / "cut"), str(whole), str(seed), "150"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr
