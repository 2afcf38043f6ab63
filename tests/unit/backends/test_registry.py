import logging
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.backends.packages import LINES, install

from salver.backends.registry import Backends
from salver.errors import FailedPrecondition

BUILT_IN = (
    *("tensorflow_savedmodel", "tflite", "keras", "onnxruntime", "lightgbm", "xgboost"),
    *("openvino", "sklearn", "pytorch", "python"),
)


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_backend_is_had_by_its_name_and_is_always_the_same(name: str) -> None:
    backends = Backends()
    assert name in backends
    assert backends[name].name == name
    assert backends[name] is backends[name]


def test_those_that_come_with_salver_are_first_and_in_their_order() -> None:
    backends = Backends()
    assert tuple(each.name for each in backends.built_in()) == BUILT_IN
    assert tuple(backends)[: len(BUILT_IN)] == BUILT_IN


def test_an_unknown_name_is_the_callers_fault() -> None:
    assert "caffe" not in Backends()
    with pytest.raises(KeyError, match="caffe"):
        Backends()["caffe"]


def test_one_is_imported_when_it_is_asked_for_and_its_library_not_even_then() -> None:
    program = (
        "import sys\n"
        "from salver.backends.registry import Backends\n"
        "assert not [name for name in sys.modules if name.startswith('salver.backends.tflite')]\n"
        "list(Backends().built_in())\n"
        "assert 'salver.backends.tflite.backend' in sys.modules\n"
        "print(*sorted({'numpy', 'ai_edge_litert', 'tensorflow', 'keras'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "\n"


def test_one_of_another_package_is_known_before_it_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = install(tmp_path, monkeypatch, "linear")
    backends = Backends()
    assert "linear" in backends
    assert tuple(backends) == (*BUILT_IN, "linear")
    assert module not in sys.modules
    assert backends["linear"].title == "linear model"
    assert [each.name for each in backends.installed()] == ["linear"]


def test_another_package_cannot_take_the_place_of_one_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = install(tmp_path, monkeypatch, "keras")
    assert Backends()["keras"].title == "Keras model"
    assert module not in sys.modules


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import nothing_of_that_name", "ModuleNotFoundError: No module named 'nothing"),
        ("linearBackend = 3", "TypeError: 'int' object is not callable"),
        (LINES.replace('name = "{name}"', 'name = "other"'), "it calls itself other"),
        ("raise KeyError('x')", "KeyError: 'x'"),
    ],
)
def test_one_that_cannot_be_used_says_so_and_is_left_out_of_the_search(
    text: str,
    why: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    install(tmp_path, monkeypatch, "linear", text)
    backends = Backends()
    for _ in range(2):
        with pytest.raises(FailedPrecondition) as caught:
            backends["linear"]
        assert caught.value.message.startswith(f"The backend linear cannot be used: {why}")
    with caplog.at_level(logging.WARNING):
        assert list(backends.installed()) == []
    assert "The backend linear cannot be used" in caplog.text


def test_all_are_stopped_also_those_that_are_made_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        install(tmp_path, monkeypatch, name)
    backends = Backends()
    first = backends["one"]
    backends.stop()
    for each in (first, backends["two"]):
        assert vars(each)["is_stopped"]
