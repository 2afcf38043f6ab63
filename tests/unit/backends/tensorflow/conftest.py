from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from salver.backends.tensorflow.library import Library, load_library
from salver.backends.tensorflow.session import SavedModel, load_saved_model


@pytest.fixture(scope="session")
def library() -> Library:
    """TensorFlow's C API; skips where it is not installed."""
    if find_spec("tensorflow") is None:
        pytest.skip("TensorFlow is not installed")
    return load_library()


@pytest.fixture(scope="session")
def load(library: Library, version_path: Callable[[str], Path]) -> Callable[[str], SavedModel]:
    """Load a generated model. It is the caller's to close."""

    def loaded(name: str) -> SavedModel:
        return load_saved_model(
            library, str(version_path(name)), tags=("serve",), session_config=b""
        )

    return loaded
