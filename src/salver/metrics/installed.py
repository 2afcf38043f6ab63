"""Which version of TensorFlow is installed, found without importing it."""

from collections.abc import Iterable
from typing import Final

__all__ = ["TENSORFLOW", "installed_version"]

TENSORFLOW: Final = (
    "tensorflow",
    "tensorflow-cpu",
    "tensorflow-macos",
    "tensorflow-intel",
    "tensorflow-rocm",
    "tensorflow-aarch64",
    "tf-nightly",
    "tf-nightly-cpu",
)
"""Every distribution that brings the `tensorflow` package, the plain one first."""


def installed_version(distributions: Iterable[str] = TENSORFLOW) -> str:
    """The version of the first of these that is installed; empty for none."""
    from importlib import metadata  # here: 11 ms that a start need not wait for

    found = (
        distribution.version
        for name in distributions
        for distribution in metadata.distributions(name=name)
    )
    return next(found, "")
