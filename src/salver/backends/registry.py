"""Which module runs which platform, imported on first use."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Final, Protocol, cast

from salver.errors import ServingError

if TYPE_CHECKING:
    from salver.model import Model  # brings numpy, which `prepare` must not wait for

__all__ = ["DEFAULT_PLATFORM", "PLATFORMS", "Backend", "BackendOptions", "open_backend", "prepare"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendOptions:
    """What the flags say of how models are loaded.

    Attributes:
        saved_model_tags: the tag set to load.
        session_config: a serialized `tensorflow.ConfigProto`.
        custom_op_libraries: paths of shared objects that register operations.
    """

    saved_model_tags: Sequence[str] = ("serve",)
    session_config: bytes = b""
    custom_op_libraries: Sequence[str] = ()


class Backend(Protocol):
    """Loads the models of one platform. Thread-safe."""

    def load(self, directory: str) -> "Model":
        """Load one version.

        Raises:
            ServingError: whatever keeps it from being loaded.
        """
        ...


PLATFORMS: Final = {"tensorflow": "salver.backends.tensorflow.backend"}
"""Platform, as `model_platform` names it → a module with a function `open_backend`."""

DEFAULT_PLATFORM: Final = "tensorflow"
_LIBRARIES: Final = {"tensorflow": "salver.backends.tensorflow.library"}
"""Platform → a module with a function `load_library`, which is slow and imports little."""


def open_backend(platform: str, options: BackendOptions) -> Backend:
    """The backend of a platform in `PLATFORMS`; cheap: libraries are opened at the first load."""
    module = import_module(PLATFORMS[platform])
    return cast("Callable[[BackendOptions], Backend]", module.open_backend)(options)


def prepare(platform: str) -> threading.Thread:
    """Begin to open a platform's library in a thread, while the rest of the server is imported.

    Opening TensorFlow takes 0.13 s and importing the server 0.12 s: one after the other, the first
    prediction came at 1.7 of a bare process's time, side by side at 1.4. What goes wrong is said by
    the first load, which tries again.
    """
    thread = threading.Thread(target=_prepare, args=(platform,), name="salver-prepare", daemon=True)
    thread.start()
    return thread


def _prepare(platform: str) -> None:
    try:
        import_module(_LIBRARIES[platform]).load_library()
    except ServingError:
        return
