"""LiteRT's interpreter, from the installed `ai-edge-litert` wheel.

Importing it takes 10 ms. It is not TensorFlow, brings none of it, and needs none.
"""

import importlib
import threading
from typing import Any

from salver.errors import FailedPrecondition
from salver.installing import install_command

__all__ = ["load_library"]

_opening = threading.Lock()


def load_library() -> Any:
    """LiteRT's module of interpreters; safe to call from any thread.

    Raises:
        FailedPrecondition: it is not installed, or cannot be used; the text says what to install.
    """
    with _opening:
        try:
            return importlib.import_module("ai_edge_litert.interpreter")
        except ModuleNotFoundError as error:
            if error.name != "ai_edge_litert":
                raise _unusable(error) from error
            raise FailedPrecondition(
                "Serving a TFLite model needs LiteRT, which is not installed here. "
                f"Install it with: {install_command('litert')}"
            ) from error
        except (ImportError, OSError) as error:
            raise _unusable(error) from error


def _unusable(error: Exception) -> FailedPrecondition:
    return FailedPrecondition(
        f"LiteRT cannot be used: {error}. Install a supported one with: {install_command('litert')}"
    )
