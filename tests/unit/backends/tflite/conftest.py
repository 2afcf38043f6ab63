from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from salver.backends.tflite.library import load_library
from salver.backends.tflite.model import TFLiteModel, load_model


@pytest.fixture(scope="session")
def litert() -> Any:
    """LiteRT's module; skips where it is not installed."""
    if find_spec("ai_edge_litert") is None:
        pytest.skip("LiteRT is not installed")
    return load_library()


@pytest.fixture
def load(litert: Any, version_path: Callable[[str], Path]) -> Iterator[Callable[..., TFLiteModel]]:
    """Load a generated model, which is closed after the test."""
    loaded: list[TFLiteModel] = []

    def load_one(name: str, *, pools: int = 2, per_pool: int = 1) -> TFLiteModel:
        path = version_path(name) / "model.tflite"
        model = load_model(litert, path, num_pools=pools, interpreters_per_pool=per_pool)
        loaded.append(model)
        return model

    yield load_one
    for model in loaded:
        model.close()
