from collections.abc import Callable
from pathlib import Path

import pytest

from salver.backends.keras.options import KerasOptions


@pytest.fixture(scope="session")
def conversions(model_path: Callable[[str], Path]) -> Path:
    """A cache of conversions that is kept as long as the generated files are."""
    return model_path("keras_trained").parent / "conversions"


@pytest.fixture(scope="session")
def options(conversions: Path) -> Callable[..., KerasOptions]:
    """Options with that cache."""

    def make(**more: object) -> KerasOptions:
        return KerasOptions(cache=str(conversions), **more)  # type: ignore[arg-type]

    return make
