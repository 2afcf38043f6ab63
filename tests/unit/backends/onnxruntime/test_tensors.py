"""Values of ONNX Runtime are made, given away and released in pairs."""

from collections import Counter
from typing import Any

import numpy as np
import pytest

from salver.backends.onnxruntime.library import load_library
from salver.backends.onnxruntime.tensors import SHORT_BYTES, from_value, to_value
from salver.errors import ServingError


class Counted:
    """Functions of the library, those counted that make and release values."""

    def __init__(self, quick: Any) -> None:
        self.live: Counter[str] = Counter()
        self._quick = quick

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._quick, name)
        if name not in ("CreateTensorAsOrtValue", "CreateTensorWithDataAsOrtValue", "ReleaseValue"):
            return function

        def counted(*arguments: Any) -> Any:
            status = function(*arguments)
            if not status:
                self.live["values"] += -1 if name == "ReleaseValue" else 1
            return status

        return counted


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    library = load_library()
    counted = Counted(library.quick)
    monkeypatch.setattr(library, "quick", counted)
    return counted


@pytest.mark.parametrize("size", [0, 3, SHORT_BYTES])
@pytest.mark.parametrize("dtype", [np.float32, np.int8, object])
def test_a_value_is_released_once(size: int, dtype: Any, counted: Counted) -> None:
    library = load_library()
    array = np.full(size, b"text", object) if dtype is object else np.arange(size).astype(dtype)
    value, kept = to_value(library, array)
    assert counted.live["values"] == 1
    answer = from_value(library, value)
    assert answer.tolist() == array.tolist()
    view = answer[:1]
    del answer
    assert view.tolist() == array[:1].tolist()
    del view
    assert counted.live["values"] == 0
    del kept


def test_what_cannot_be_made_leaves_nothing(counted: Counted) -> None:
    library = load_library()
    for odd in (
        np.zeros(2, "datetime64[s]"),
        np.zeros(2, ">f4"),
        np.array(["text"], object),
        np.array([b"text", None], object),
    ):
        with pytest.raises((ServingError, TypeError)):
            to_value(library, odd)
    assert counted.live["values"] == 0
