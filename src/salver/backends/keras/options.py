"""How Keras files are converted, and how what they become is run."""

from dataclasses import dataclass

from salver.backends.options import option
from salver.backends.tensorflow.options import TensorFlowOptions

__all__ = ["KerasOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KerasOptions(TensorFlowOptions):
    """What the flags say of Keras files, beside what they say of SavedModels.

    Attributes:
        safe_mode: Keras refuses to run Python code that is in the file.
        custom_objects: modules to import before, by name or as paths of `.py` files.
        timeout_s: longest time for one conversion.
        cache: directory of what was converted; empty for the user's own.
        max_cache_bytes: most that is kept; 0 for any amount.
    """

    safe_mode: bool = option(default=True, setting="keras_safe_mode")
    custom_objects: tuple[str, ...] = option((), setting="keras_custom_objects")
    timeout_s: float = option(600.0, setting="conversion_timeout_seconds")
    cache: str = option("", setting="conversion_cache")
    max_cache_bytes: int = option(0, setting="conversion_cache_max_bytes")
