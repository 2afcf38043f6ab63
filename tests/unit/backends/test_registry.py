import subprocess
import sys

import pytest

from salver.backends.registry import PLATFORMS, BackendOptions, open_backend


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


def test_a_backend_is_imported_when_it_is_opened_and_not_before() -> None:
    program = (
        "import sys\n"
        "from salver.backends.registry import BackendOptions, PLATFORMS, open_backend\n"
        "assert not set(PLATFORMS.values()) & set(sys.modules)\n"
        "open_backend('tensorflow', BackendOptions())\n"
        "assert PLATFORMS['tensorflow'] in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
