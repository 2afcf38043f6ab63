"""How TFLite files are served."""

from dataclasses import dataclass

from salver.backends.options import option

__all__ = ["TFLiteOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TFLiteOptions:
    """What the flags, or a platform file, say of TFLite files.

    Attributes:
        is_preferred: serve a version's TFLite file where it has a SavedModel too.
        num_pools: how many requests to one model may run at once; at least one may.
        num_interpreters_per_pool: more than 1 makes models batch.
    """

    is_preferred: bool = option(default=False, setting="prefer_tflite_model")
    num_pools: int = option(1, setting=("num_tflite_pools", "num_tflite_interpreters"))
    num_interpreters_per_pool: int = option(1, setting="num_tflite_interpreters_per_pool")
