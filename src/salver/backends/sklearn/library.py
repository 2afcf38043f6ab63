"""scikit-learn and what comes with it: looked for without importing, imported when first needed."""

import importlib
import importlib.util
import threading
from typing import Any, Final

from salver.errors import NotInstalled
from salver.instruments.installing import install_command

__all__ = ["load_library", "require_library"]

_NEEDED: Final = {"sklearn": "scikit-learn", "skops": "skops"}
_importing = threading.Lock()


def require_library() -> None:
    """See, without importing them, that scikit-learn and skops are there.

    Raises:
        NotInstalled: the text says what to install.
    """
    missing = [name for of, name in _NEEDED.items() if importlib.util.find_spec(of) is None]
    if missing:
        raise NotInstalled(
            f"Serving an estimator of scikit-learn needs {' and '.join(missing)}, not installed "
            f"here. Install it with: {install_command('sklearn')}"
        )


def load_library(name: str = "sklearn") -> Any:
    """Import a module of the extra; safe to call from any thread.

    Raises:
        NotInstalled: it is not there, or cannot be used.
    """
    with _importing:
        try:
            return importlib.import_module(name)
        except ImportError as error:
            raise NotInstalled(
                f"{name} cannot be imported: {error}. "
                f"Install a supported one with: {install_command('sklearn')}"
            ) from error
