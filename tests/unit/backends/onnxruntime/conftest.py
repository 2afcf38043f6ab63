from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from salver.backends.onnxruntime.backend import OnnxRuntimeBackend
from salver.backends.onnxruntime.model import OnnxModel
from salver.backends.onnxruntime.options import OnnxRuntimeOptions
from salver.backends.protocol import LoadStage

if find_spec("onnx") is None or find_spec("onnxruntime") is None:
    collect_ignore_glob = ["test_*.py"]  # their models are made with the one, and run by the other

Load = Callable[..., OnnxModel]


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    """Loads a ModelProto with options, and closes it after the test."""
    from tests.onnx_models import save

    with ExitStack() as stack:
        count = 0

        def load(proto: Any, stage: LoadStage | None = None, **options: Any) -> OnnxModel:
            nonlocal count
            count += 1
            directory = tmp_path / f"model-{count}"
            save(proto, directory)
            loaded = OnnxRuntimeBackend().load(
                directory, OnnxRuntimeOptions(**options), stage or LoadStage()
            )
            return stack.enter_context(closing(loaded))

        yield load
