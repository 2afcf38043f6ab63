"""One suite over all backends: those of Salver, and the one of the example."""

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from salver.backends.options import fill, flags_of
from salver.backends.protocol import Backend, Capabilities, Listing, LoadStage
from salver.backends.registry import Backends
from salver.backends.selection import Selected, Selector
from salver.errors import ServingError
from salver.vocabulary.dtypes import numpy_dtype
from salver.vocabulary.model import Model
from salver.vocabulary.signature import TensorSpec

_EXAMPLE = Path(__file__).parents[2] / "examples" / "backend_plugin"


@dataclass(frozen=True, slots=True)
class Case:
    """A version that a backend serves.

    Attributes:
        name: of the backend.
        needs: the package without which it loads nothing.
        find: the directory.
        broken: a file that is not what its name says.
        settings: of a server.
        head: how its files begin, where they are known by that.
    """

    name: str
    needs: str
    find: Callable[[Callable[[str], Path]], Path]
    broken: str
    settings: Callable[[Path], Mapping[str, object]] = lambda _directory: {}
    head: bytes = b""


_PYTHON = """
class Model:
    inputs = {"x": ("float32", [-1]), "by": ("float32", [], 2.0)}
    outputs = {"y": ("float32", [-1]), "text": ("string", [])}

    def predict(self, inputs):
        return {"y": inputs["x"] * inputs["by"], "text": "done"}
"""


@cache
def _python() -> Path:
    directory = Path(_directories().name, "python", "1")
    directory.mkdir(parents=True)
    (directory / "model.py").write_text(_PYTHON)
    return directory


@cache
def _directories() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory()  # removed when the process ends


CASES = [
    Case("tensorflow_savedmodel", "tensorflow", lambda of: _version(of("mlp")), "saved_model.pb"),
    Case("tflite", "ai_edge_litert", lambda of: _version(of("lite_metadata")), "model.tflite"),
    Case(
        "keras",
        "keras",
        lambda of: _version(of("keras_trained")),
        "model.keras",
        lambda directory: {"conversion_cache": str(directory.parents[1] / "conversions")},
    ),
    Case("onnxruntime", "onnxruntime", lambda of: _version(of("onnx_several")), "model.onnx"),
    Case(
        "lightgbm",
        "lightgbm",
        lambda of: _version(of("lightgbm_table")),
        "model.txt",
        head=b"tree\n",
    ),
    Case("xgboost", "xgboost", lambda of: _version(of("xgboost_table_ubj")), "model.ubj"),
    Case("openvino", "openvino", lambda of: _version(of("openvino_net")), "model.xml"),
    Case("sklearn", "skops", lambda of: _version(of("sklearn_columns")), "model.skops"),
    Case("pytorch", "torch", lambda of: _version(of("exported")), "model.pt2"),
    Case("python", "numpy", lambda _of: _python(), "model.py"),
    Case("linear", "numpy", lambda _of: _EXAMPLE / "models" / "line" / "1", "linear.json"),
]


def _version(base: Path) -> Path:
    return next(child for child in sorted(base.iterdir()) if child.name.isdecimal())


def _linear() -> Backend:
    spec = importlib.util.spec_from_file_location("salver_linear", _EXAMPLE / "salver_linear.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    made: Backend = module.LinearBackend()
    return made


def _backends() -> Backends:
    known = Backends()
    made: dict[str, Callable[[], Backend]] = {
        case.name: partial(known.__getitem__, case.name) for case in CASES
    }
    return Backends({**made, "linear": _linear})


# PyTorch has 3 GB: where it is not installed, its case is run by scripts/stress alone.
STRESS = () if importlib.util.find_spec("torch") else (pytest.mark.stress,)
PARAMS = [pytest.param(case, marks=STRESS if case.needs == "torch" else ()) for case in CASES]


@pytest.fixture(params=PARAMS, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


@pytest.fixture
def selected(case: Case, model_path: Callable[[str], Path]) -> Selected:
    directory = case.find(model_path)
    return Selector(_backends(), case.settings(directory))(directory)


@pytest.fixture
def model(case: Case, selected: Selected) -> Iterator[Model]:
    if importlib.util.find_spec(case.needs) is None:
        pytest.skip(f"{case.needs} is not installed")
    loaded = selected.load(LoadStage())
    yield loaded
    loaded.close()


def test_it_says_all_of_itself(case: Case) -> None:
    backend = _backends()[case.name]
    assert backend.name == case.name
    assert backend.title
    assert isinstance(backend.capabilities, Capabilities)
    assert is_dataclass(backend.options)
    assert fill(backend.options, {}) == backend.options()
    for flag in flags_of(backend.name, backend.options):
        assert flag.help.endswith("."), flag.name
    for each in fields(backend.options):
        assert each.metadata, each.name  # made by `option`


def test_it_knows_its_own_files_and_no_others(
    case: Case, selected: Selected, tmp_path: Path
) -> None:
    assert selected.backend.name == case.name
    assert selected.match is not None
    assert not selected.match.problem
    (tmp_path / "README").touch()
    for path in (tmp_path, tmp_path / "README", tmp_path / "absent"):
        assert selected.backend.detect(Listing.of(path), selected.options) is None
    for name in selected.match.files:
        assert Listing.of(selected.path / name).files.keys() == {name}


def test_no_other_backend_takes_its_version_for_its_own(case: Case, selected: Selected) -> None:
    backends = _backends()
    for name in {each.name for each in CASES} - {case.name}:
        backend = backends[name]
        listing = Listing.of(selected.path)
        assert backend.detect(listing, backend.options()) is None


def test_a_look_tells_what_the_loaded_model_says(selected: Selected, model: Model) -> None:
    info = selected.inspect()
    if info is not None:
        assert info.signatures == model.signatures
        assert info.definitions == model.definitions
    variants = selected.backend.describe(selected.path, selected.options)
    assert model.signatures.items() <= variants[0].info.signatures.items()


def test_a_model_runs_in_each_way_and_for_some_of_its_outputs(model: Model) -> None:
    for name, signature in model.signatures.items():
        if name.startswith("__"):
            continue
        feeds = [_zeros(spec) for spec in signature.inputs.values()]
        program = model.program(name)
        expected = program.run(feeds)
        assert len(expected) == len(signature.outputs)
        for output, spec in zip(expected, signature.outputs.values(), strict=True):
            assert output.dtype == numpy_dtype(spec.dtype)
            assert spec.shape is None or output.ndim == len(spec.shape)
        for run in (program.run_in_caller, program.run_inline):
            for output, wanted in zip(run(feeds), expected, strict=True):
                np.testing.assert_array_equal(output, wanted)
        last = list(signature.outputs)[-1]
        (alone,) = model.program(name, [last]).run(feeds)
        np.testing.assert_array_equal(alone, expected[-1])


def test_what_does_not_fit_is_an_error_with_a_code(case: Case, model: Model) -> None:
    signature = model.signatures["serving_default"]
    feeds = [np.zeros((1, 7, 5, 3), numpy_dtype(of.dtype)) for of in signature.inputs.values()]
    if case.name == "tflite":  # whose model takes any shape, of at most so many axes
        feeds = [np.zeros((1,) * 9, feed.dtype) for feed in feeds]
    with pytest.raises(ServingError):
        model.program("serving_default").run(feeds)


@pytest.mark.parametrize("content", [b"", b"\xff\x00rubbish", b"{}"])
def test_a_file_that_is_something_else_is_an_error_with_a_code(
    content: bytes, case: Case, tmp_path: Path
) -> None:
    if importlib.util.find_spec(case.needs) is None:
        pytest.skip(f"{case.needs} is not installed")
    (tmp_path / case.broken).write_bytes(case.head + content)
    found = Selector(_backends(), {"conversion_cache": str(tmp_path / "cache")})(tmp_path)
    assert found.backend.name == case.name
    with pytest.raises(ServingError):
        found.load()


def test_a_file_that_has_gone_is_an_error_with_a_code(case: Case, tmp_path: Path) -> None:
    if importlib.util.find_spec(case.needs) is None:
        pytest.skip(f"{case.needs} is not installed")
    backend = _backends()[case.name]
    with pytest.raises(ServingError):
        backend.load(tmp_path, backend.options(), LoadStage())


def test_it_may_be_stopped_at_any_time(case: Case) -> None:
    backend = _backends()[case.name]
    backend.stop()
    backend.stop()


def test_importing_it_brings_no_library_and_no_numpy() -> None:
    program = (
        "import sys; from salver.backends.registry import Backends; "
        "list(Backends().built_in()); "
        "heavy = 'numpy tensorflow keras ai_edge_litert onnxruntime lightgbm xgboost'; "
        "print(*{*heavy.split(), 'sklearn', 'openvino', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "\n"


def _zeros(spec: TensorSpec) -> Any:
    shape = [max(1, size) for size in spec.shape or ()]
    dtype = numpy_dtype(spec.dtype)
    return np.full(shape, b"", object) if dtype.hasobject else np.zeros(shape, dtype)
