"""What the flags say of Keras files."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["KerasFlags", "KerasOptions", "keras_options"]


class KerasFlags(Protocol):
    """The flags about Keras files, as `ServerOptions` has them."""

    @property
    def keras_safe_mode(self) -> bool: ...
    @property
    def keras_custom_objects(self) -> str: ...
    @property
    def conversion_cache(self) -> str: ...
    @property
    def conversion_cache_max_bytes(self) -> int: ...
    @property
    def conversion_timeout_seconds(self) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class KerasOptions:
    """How Keras files are converted, and where the outcome is kept.

    Attributes:
        safe_mode: Keras refuses to run Python code that is in the file.
        custom_objects: modules to import before, by name or as paths of `.py` files.
        timeout_s: longest time for one conversion.
        cache: directory of what was converted; empty for the user's own.
        max_cache_bytes: most that is kept; 0 for any amount.
    """

    safe_mode: bool = True
    custom_objects: Sequence[str] = ()
    timeout_s: float = 600.0
    cache: str = ""
    max_cache_bytes: int = 0


def keras_options(flags: KerasFlags) -> KerasOptions:
    """What the flags mean."""
    return KerasOptions(
        safe_mode=flags.keras_safe_mode,
        custom_objects=tuple(name for name in flags.keras_custom_objects.split(",") if name),
        timeout_s=flags.conversion_timeout_seconds,
        cache=flags.conversion_cache,
        max_cache_bytes=flags.conversion_cache_max_bytes,
    )
