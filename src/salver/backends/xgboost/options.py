"""How XGBoost's models are served."""

from dataclasses import dataclass

from salver.backends.options import option

__all__ = ["XGBoostOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class XGBoostOptions:
    """What the flags, or a configuration, say of XGBoost's models.

    Attributes:
        num_threads: that one run computes in.
    """

    num_threads: int = option(
        1, "Threads that one run of an XGBoost model may compute in; runs go side by side anyway."
    )

    def __post_init__(self) -> None:
        if self.num_threads < 1:
            raise ValueError("num_threads must be at least 1")
