"""OpenVINO's Python package: looked for without importing, imported when first needed.

Importing it takes half a second or so, in a thread while the server starts. It gives up the GIL
while it computes.
"""

import importlib
import importlib.util
import threading
from typing import Any, Final

from salver.errors import NotInstalled
from salver.instruments.installing import install_command

__all__ = ["load_library", "require_library"]

_PACKAGE: Final = "openvino"
_importing = threading.Lock()


def require_library() -> None:
    """See, without importing it, that OpenVINO is there.

    Raises:
        NotInstalled: the text says what to install.
    """
    if importlib.util.find_spec(_PACKAGE) is None:
        raise NotInstalled(
            "Serving an OpenVINO model needs OpenVINO, which is not installed here. "
            f"Install it with: {install_command('openvino')}"
        )


def load_library() -> Any:
    """OpenVINO's module; safe to call from any thread.

    Raises:
        NotInstalled: it is not there, or cannot be used.
    """
    require_library()
    with _importing:
        try:
            return importlib.import_module(_PACKAGE)
        except (ImportError, OSError) as error:
            raise NotInstalled(
                f"OpenVINO cannot be used: {error}. "
                f"Install a supported one with: {install_command('openvino')}"
            ) from error
