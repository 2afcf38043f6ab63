"""How estimators are served."""

from dataclasses import dataclass

from salver.backends.options import option

__all__ = ["SklearnOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SklearnOptions:
    """What the flags, or a configuration, say of scikit-learn's estimators.

    Attributes:
        trusted_types: that may be made out of a `.skops` file, besides those that skops trusts.
        num_threads: for what computes in several: `n_jobs` of the estimator, and libraries.
        allow_pickle: whether files that run code are loaded; the server wants a trusted path too.
    """

    trusted_types: tuple[str, ...] = option(
        (), "Types that skops files may hold besides those that skops trusts, with commas between."
    )
    num_threads: int = option(1, "Threads that one run of an estimator may compute in.")
    allow_pickle: bool = option(default=False, setting="allow_pickle")

    def __post_init__(self) -> None:
        if self.num_threads < 1:
            raise ValueError("num_threads must be at least 1")
