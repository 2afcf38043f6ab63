from importlib import metadata

from salver.metrics.installed import installed_version


def test_the_first_that_is_installed_counts() -> None:
    assert installed_version(("no-such-thing", "numpy", "protobuf")) == metadata.version("numpy")


def test_nothing_installed_is_an_empty_version() -> None:
    assert installed_version(("no-such-thing",)) == ""
