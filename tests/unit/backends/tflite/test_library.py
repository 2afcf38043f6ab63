import subprocess
import sys
from typing import Any

import pytest

from salver.backends.tflite.library import load_library
from salver.errors import FailedPrecondition
from salver.instruments.installing import install_command


def test_the_library_brings_no_tensorflow(litert: Any) -> None:
    assert hasattr(litert, "Interpreter")
    program = (
        "import sys; from salver.backends.tflite.library import load_library; load_library(); "
        "print('tensorflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "False\n"


def _failing(error: Exception) -> Any:
    def import_module(_name: str) -> None:
        raise error

    return import_module


def test_without_litert_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = ModuleNotFoundError("No module named 'ai_edge_litert'", name="ai_edge_litert")
    monkeypatch.setattr("importlib.import_module", _failing(missing))
    with pytest.raises(FailedPrecondition) as raised:
        load_library()
    assert raised.value.message == (
        "Serving a TFLite model needs LiteRT, which is not installed here. "
        f"Install it with: {install_command('litert')}"
    )


@pytest.mark.parametrize(
    "error",
    [
        ModuleNotFoundError("No module named 'flat'", name="flat"),
        ImportError("cannot import"),
        OSError("libLiteRt.so: no such symbol"),
    ],
)
def test_a_litert_that_cannot_be_opened_is_said_to_be_so(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.import_module", _failing(error))
    with pytest.raises(FailedPrecondition) as raised:
        load_library()
    assert raised.value.message == (
        f"LiteRT cannot be used: {error}. Install a supported one with: {install_command('litert')}"
    )
