import subprocess
import sys
from pathlib import Path

import pytest

from salver.backends.registry import PLATFORMS, BackendOptions, open_backend, prepare


def test_tensorflow_is_a_platform() -> None:
    assert "tensorflow" in PLATFORMS


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_platform_opens_by_its_name(platform: str) -> None:
    assert callable(open_backend(platform, BackendOptions()).load)


def test_an_unknown_platform_is_the_callers_fault() -> None:
    with pytest.raises(KeyError, match="caffe"):
        open_backend("caffe", BackendOptions())


def test_models_for_serving_are_wanted_unless_a_flag_says_otherwise() -> None:
    options = BackendOptions()
    assert (options.saved_model_tags, options.session_config, options.custom_op_libraries) == (
        ("serve",),
        b"",
        (),
    )
    assert (options.prefer_tflite_model, options.num_tflite_interpreters_per_pool) == (False, 1)


def test_a_backend_is_imported_when_it_is_opened_and_not_before() -> None:
    program = (
        "import sys\n"
        "from salver.backends.registry import BackendOptions, PLATFORMS, open_backend\n"
        "assert not set(PLATFORMS.values()) & set(sys.modules)\n"
        "open_backend('tensorflow', BackendOptions())\n"
        "assert PLATFORMS['tensorflow'] in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_preparing_opens_the_library_of_the_models_and_fails_quietly(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "model.tflite").touch()
    program = (
        "import sys; from salver.backends.registry import prepare; "
        "prepare('tensorflow', [sys.argv[1]]).join(); "
        "sys.modules['ai_edge_litert.interpreter'] = None; "
        "prepare('tensorflow', [sys.argv[1]]).join(); "
        "print('salver.backends.tensorflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_a_library_that_cannot_be_opened_is_left_to_the_first_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "model.tflite").touch()
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    prepare("tensorflow", [str(tmp_path)]).join()
