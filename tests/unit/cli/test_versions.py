from importlib import metadata

import pytest

from salver import __version__
from salver.cli.versions import model_server_version, tensorflow_version


def test_our_version_is_marked_as_ours() -> None:
    assert model_server_version() == f"{__version__}+salver"


def test_the_first_installed_wheel_counts() -> None:
    numpy = metadata.version("numpy")
    assert tensorflow_version(("no-such-distribution", "numpy", "protobuf")) == numpy


def test_a_missing_wheel_is_said_to_be_missing() -> None:
    assert tensorflow_version(("no-such-distribution",)) == "not installed"
    assert tensorflow_version()


def test_the_version_is_that_of_the_package() -> None:
    for name in ("tensorflow", "tensorflow-cpu"):
        for distribution in metadata.distributions(name=name):
            assert tensorflow_version() == distribution.version
            return
    pytest.skip("tensorflow is not installed")
