"""What `--version` says."""

import salver

__all__ = ["model_server_version", "tensorflow_version"]

# Every distribution that brings the `tensorflow` package, the plain one first.
_DISTRIBUTIONS = (
    "tensorflow",
    "tensorflow-cpu",
    "tensorflow-macos",
    "tensorflow-intel",
    "tensorflow-rocm",
    "tensorflow-aarch64",
    "tf-nightly",
    "tf-nightly-cpu",
)


def model_server_version() -> str:
    """Our version, marked as ours, so that nobody takes it for the reference's."""
    return f"{salver.__version__}+salver"


def tensorflow_version(distributions: tuple[str, ...] = _DISTRIBUTIONS) -> str:
    """The version of the installed TensorFlow wheel, found without importing it."""
    from importlib import metadata  # here: 11 ms that a start need not wait for

    found = (
        distribution.version
        for name in distributions
        for distribution in metadata.distributions(name=name)
    )
    return next(found, "not installed")
