"""What `--version` says."""

import salver
from salver.metrics.installed import TENSORFLOW, installed_version

__all__ = ["model_server_version", "print_version", "tensorflow_version"]


def model_server_version() -> str:
    """Our version, marked as ours, so that nobody takes it for the reference's."""
    return f"{salver.__version__}+salver"


def tensorflow_version(distributions: tuple[str, ...] = TENSORFLOW) -> str:
    """The version of the installed TensorFlow wheel, found without importing it."""
    return installed_version(distributions) or "not installed"


def print_version() -> None:
    """What `salver --version` prints."""
    print(f"salver {salver.__version__}")
    print(f"TensorFlow Library: {tensorflow_version()}")
