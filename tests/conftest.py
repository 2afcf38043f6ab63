import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("light", max_examples=25, deadline=None)
settings.register_profile("dev", max_examples=100, deadline=None)
settings.register_profile(
    "ci", max_examples=500, stateful_step_count=30, deadline=None, derandomize=True
)
settings.register_profile("stress", max_examples=20000, stateful_step_count=50, deadline=None)
settings.load_profile(os.environ.get("SALVER_HYPOTHESIS_PROFILE", "dev"))

ROOT = Path(__file__).resolve().parent.parent
GENERATORS = ROOT / "tests" / "models"
REFERENCE_MODELS = ROOT.parent / "shared" / "testdata"
NEEDS_NO_TENSORFLOW = {"broken", "trees", "estimators", "irs", "onnx_files", "pt2"}
_MAKERS = {
    *("tensorflow", "tensorflow-cpu", "keras"),
    *("lightgbm", "xgboost", "xgboost-cpu", "scikit-learn", "skops", "openvino"),
}
CANNOT = 77  # exit status of a generator that this machine lacks something for

# The program of tests/models that makes a model, by the name of the model.
GENERATOR_OF = {
    name: generator
    for generator, names in {
        "tf1": (
            "counter every_dtype half_plus_three half_plus_two half_plus_two_2_versions"
            " lost_variables matrix_half_plus_two truncated_pb two_tags"
        ),
        "tf2": "big classes failing half_plus_two_tf2 several slicer slow strings",
        "slow_loads": "load_loops load_waits",
        "trained": "convnet mlp regression",
        "tflite": (
            "lite lite_custom lite_dtypes lite_fixed lite_loop lite_metadata lite_net lite_plain"
            " lite_quantized lite_unknown_tensor"
        ),
        "keras_files": (
            "keras_branches keras_custom keras_cut keras_h5 keras_lambda keras_lambda_h5"
            " keras_trained keras_unbuilt keras_weights keras_words"
        ),
        "onnx_files": "onnx_half_plus_two onnx_several",
        "custom_op": "custom_op",
        "growing": "growing",
        "pt2": "exported",
        "xla": "compiled",
        "broken": "corrupt_pb empty_directory empty_pb legacy_bundle no_pb",
        "trees": (
            "lightgbm_binary lightgbm_regression lightgbm_multiclass lightgbm_ova lightgbm_ranking"
            " lightgbm_linear lightgbm_constant lightgbm_custom lightgbm_table lightgbm_forest"
            " xgboost_binary_ubj xgboost_binary_json xgboost_raw_ubj xgboost_raw_json"
            " xgboost_regression_ubj xgboost_regression_json xgboost_softmax_ubj"
            " xgboost_softmax_json xgboost_softprob_ubj xgboost_softprob_json xgboost_ranking_ubj"
            " xgboost_ranking_json xgboost_dart_ubj xgboost_dart_json xgboost_linear_ubj"
            " xgboost_linear_json xgboost_targets_ubj xgboost_targets_json xgboost_vectors_ubj"
            " xgboost_vectors_json xgboost_table_ubj xgboost_table_json xgboost_empty_ubj"
            " xgboost_empty_json"
        ),
        "irs": "openvino_net openvino_types openvino_onnx",
        "estimators": (
            "sklearn_columns sklearn_matrix sklearn_scaler sklearn_words sklearn_targets"
            " sklearn_forest sklearn_function sklearn_joblib sklearn_pickle sklearn_imputed"
        ),
    }.items()
    for name in names.split()
}


def pytest_configure(config: pytest.Config) -> None:
    """Pass over what asyncio of Python 3.10 says of every TLS connection that the peer closes."""
    if sys.version_info < (3, 11):
        config.addinivalue_line(
            "filterwarnings",
            "ignore:Exception ignored in. <function _SSLProtocolTransport"
            ":pytest.PytestUnraisableExceptionWarning",
        )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the stress tests out unless a marker expression is given, as scripts/stress does."""
    if config.option.markexpr:
        return
    stress = [item for item in items if item.get_closest_marker("stress")]
    config.hook.pytest_deselected(items=stress)
    items[:] = [item for item in items if item not in stress]


def _model_cache(config: pytest.Config, session_directory: Path) -> Path:
    """Where generated models are kept: between sessions where pytest has a cache.

    The directory's name changes with the generators and with TensorFlow's version.
    """
    digest = hashlib.sha256()
    for source in (*sorted(GENERATORS.iterdir()), ROOT / "tests" / "onnx_models.py"):
        if source.is_file():
            digest.update(source.read_bytes())
    installed = [
        f"{distribution.name}=={distribution.version}"
        for distribution in distributions()
        if distribution.name in _MAKERS
    ]
    digest.update(" ".join(sorted(installed)).encode())
    name = f"models-{digest.hexdigest()[:12]}"
    cache = getattr(config, "cache", None)
    if not cache:
        return session_directory / name
    kept = Path(cache.mkdir(name))
    for outdated in kept.parent.glob("models-*"):
        if outdated != kept:
            shutil.rmtree(outdated, ignore_errors=True)
    return kept


def _generate(generator: str, into: Path) -> None:
    """Run a generator in a child process and put what it makes in place whole."""
    partial = into.with_name(f"{into.name}.{os.getpid()}")
    child = subprocess.run(
        [sys.executable, GENERATORS / f"{generator}.py", partial],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if child.returncode == CANNOT:
        pytest.skip(f"{generator}: {child.stdout.strip().splitlines()[-1]}")
    assert child.returncode == 0, f"{generator} failed:\n{child.stdout}"
    partial.rename(into)


@pytest.fixture(scope="session")
def model_path(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """The base path of a generated model, `model_path("half_plus_two")`; made when first asked for.

    It is shared by all tests: copy what is to be changed.
    """
    session_directory = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        session_directory = session_directory.parent
    cache = _model_cache(pytestconfig, session_directory)
    cache.mkdir(parents=True, exist_ok=True)

    def find(name: str) -> Path:
        generator = GENERATOR_OF[name]
        if generator not in NEEDS_NO_TENSORFLOW and find_spec("tensorflow") is None:
            pytest.skip(f"{name} is made with TensorFlow, which is not installed")
        made = cache / generator
        with (cache / f"{generator}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made.exists():
                _generate(generator, made)
        return made / name

    return find


@pytest.fixture(scope="session")
def version_path(model_path: Callable[[str], Path]) -> Callable[[str], Path]:
    """The directory of the highest version of a generated model."""

    def find(name: str) -> Path:
        versions = [child for child in model_path(name).iterdir() if child.name.isdecimal()]
        return max(versions, key=lambda version: int(version.name))

    return find


@pytest.fixture(scope="session")
def reference_model() -> Callable[[str], Path]:
    """The base path of one of TensorFlow Serving's own test models; skips where there are none."""

    def find(name: str) -> Path:
        model = REFERENCE_MODELS / name
        if not model.is_dir():
            pytest.skip(f"{name} of TensorFlow Serving's test data is not beside this repository")
        return model

    return find
