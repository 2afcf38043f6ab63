"""LiteRT's interpreter, from the installed `ai-edge-litert` wheel.

Importing it takes 10 ms. It is not TensorFlow, brings none of it, and needs none.
"""

import importlib
import importlib.util
import threading
from typing import Any, Final

from salver.errors import NotInstalled
from salver.installing import install_command

__all__ = ["load_library", "require_library"]

_PACKAGE: Final = "ai_edge_litert"
_opening = threading.Lock()


def load_library() -> Any:
    """LiteRT's module of interpreters; safe to call from any thread.

    Raises:
        NotInstalled: or it cannot be used; the text says what to install.
    """
    with _opening:
        try:
            return importlib.import_module(f"{_PACKAGE}.interpreter")
        except ModuleNotFoundError as error:
            if error.name != _PACKAGE:
                raise _unusable(error) from error
            raise _missing() from error
        except (ImportError, OSError) as error:
            raise _unusable(error) from error


def require_library() -> None:
    """See, without importing it, that LiteRT is there.

    Raises:
        NotInstalled: the text says what to install.
    """
    if importlib.util.find_spec(_PACKAGE) is None:
        raise _missing()


def _missing() -> NotInstalled:
    return NotInstalled(
        "Serving a TFLite model needs LiteRT, which is not installed here. "
        f"Install it with: {install_command('litert')}"
    )


def _unusable(error: Exception) -> NotInstalled:
    return NotInstalled(
        f"LiteRT cannot be used: {error}. Install a supported one with: {install_command('litert')}"
    )
