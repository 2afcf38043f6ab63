import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from salver.backends.openvino.backend import OpenVINOBackend
from salver.backends.openvino.loading import inspect, load_model
from salver.backends.openvino.options import OpenVINOOptions
from salver.backends.protocol import Listing, LoadStage
from salver.errors import DataLoss, InvalidArgument, NotFound, ServingError
from salver.vocabulary.dtypes import DataType, numpy_dtype

pytest.importorskip("openvino")

ModelPath = Callable[[str], Path]
ROWS = np.random.default_rng(1).normal(size=(9, 16)).astype(np.float32)


def file_of(model_path: ModelPath, name: str = "openvino_net") -> Path:
    return model_path(name) / "1" / "model.xml"


def expected(model_path: ModelPath, rows: Any) -> Any:
    weights = np.load(model_path("openvino_net") / "weights.npz")
    scores = np.exp(np.maximum(rows @ weights["first"], 0) @ weights["second"])
    return scores / scores.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def model(model_path: ModelPath) -> Any:
    return load_model(file_of(model_path), OpenVINOOptions())


def test_it_computes_in_float32_by_default(model: Any, model_path: ModelPath) -> None:
    program = model.program("serving_default")
    for run in (program.run, program.run_in_caller, program.run_inline):
        np.testing.assert_allclose(run([ROWS])[0], expected(model_path, ROWS), atol=2e-6)
        assert run([ROWS[:0]])[0].shape == (0, 5)


def test_every_element_type_goes_through(model_path: ModelPath) -> None:
    loaded = load_model(file_of(model_path, "openvino_types"), OpenVINOOptions())
    assert loaded.signatures == inspect(file_of(model_path, "openvino_types")).signatures
    inputs = loaded.signatures["serving_default"].inputs
    feeds = [
        np.ones((2, 2) if name in "ab" else 3, numpy_dtype(spec.dtype))
        for name, spec in inputs.items()
    ]
    outputs = loaded.signatures["serving_default"].outputs
    results = loaded.program("serving_default").run(feeds)
    for name, result in zip(outputs, results, strict=True):
        np.testing.assert_array_equal(result.astype(np.float32), 1 + name.startswith("Result"))
    assert {spec.dtype for spec in outputs.values()} >= {DataType.BFLOAT16, DataType.BOOL}


def test_an_onnx_file_is_run_where_it_is_asked_for_by_name(model_path: ModelPath) -> None:
    directory = model_path("openvino_onnx") / "1"
    backend = OpenVINOBackend()
    assert backend.detect(Listing.of(directory), OpenVINOOptions()) is None
    assert backend.inspect(directory, OpenVINOOptions()) is None
    loaded = backend.load(directory, OpenVINOOptions(), LoadStage())
    (y,) = loaded.program("serving_default").run([np.ones((1, 2), np.float32)])
    np.testing.assert_array_equal(y, [[2, 2]])


def test_what_does_not_fit_is_refused_by_name(model: Any) -> None:
    program = model.program("serving_default")
    with pytest.raises(InvalidArgument, match=r"^Input x must have shape \[-1, 16\], not \[1, 5\]"):
        program.run([np.ones((1, 5), np.float32)])
    with pytest.raises(InvalidArgument, match=r"^Input x must be float32, not float64$"):
        program.run([np.ones((1, 16))])
    with pytest.raises(InvalidArgument):
        model.program("other")
    with pytest.raises(InvalidArgument):
        model.program("serving_default", ["z"])


def test_runs_side_by_side_are_answered_right(model: Any, model_path: ModelPath) -> None:
    program = model.program("serving_default")
    wanted = expected(model_path, ROWS)
    wrong: list[int] = []

    def ask(start: int) -> None:
        for at in range(start, start + 60):
            row = at % len(ROWS)
            if not np.allclose(program.run([ROWS[row : row + 1]])[0][0], wanted[row], atol=1e-5):
                wrong.append(row)

    threads = [threading.Thread(target=ask, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_an_answer_is_not_written_over_by_the_next(model: Any) -> None:
    program = model.program("serving_default")
    (first,) = program.run([ROWS[:1]])
    kept = first.copy()
    program.run([ROWS[1:2]])
    np.testing.assert_array_equal(first, kept)


def test_weights_that_were_cut_are_an_error_that_names_the_file(
    model_path: ModelPath, tmp_path: Path
) -> None:
    source = file_of(model_path)
    shutil.copy(source, tmp_path)
    (tmp_path / "model.bin").write_bytes(source.with_suffix(".bin").read_bytes()[:100])
    with pytest.raises(DataLoss, match=f"^{tmp_path / 'model.xml'} cannot be served"):
        load_model(tmp_path / "model.xml", OpenVINOOptions())


def test_an_onnx_file_that_is_none_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        load_model(tmp_path / "model.onnx", OpenVINOOptions())
    (tmp_path / "model.onnx").write_bytes(b"rubbish")
    with pytest.raises(ServingError):
        load_model(tmp_path / "model.onnx", OpenVINOOptions())


@pytest.mark.parametrize(
    "wrong", [{"precision": "f8"}, {"performance_hint": "SPEED"}, {"num_threads": -1}]
)
def test_options_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        OpenVINOOptions(**wrong)
