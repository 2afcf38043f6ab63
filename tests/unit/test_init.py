import subprocess
import sys

import pytest

import salver


def test_everything_it_says_is_there() -> None:
    for name in salver.__all__:
        assert getattr(salver, name) is not None
        assert name in dir(salver)


def test_what_is_not_there_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="module 'salver' has no attribute 'nothing'"):
        salver.nothing  # noqa: B018 - asking is the test


def test_importing_it_brings_nothing() -> None:
    program = (
        "import sys; before = set(sys.modules); import salver;"
        "print(sorted(name for name in set(sys.modules) - before if name.startswith('salver')))"
    )
    child = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert child.stdout == "['salver']\n"


def test_a_client_by_rest_needs_neither_grpc_nor_tensorflow() -> None:
    program = (
        "import sys; sys.modules['grpc'] = sys.modules['tensorflow'] = None;"
        "import salver; salver.Client('http://h:1'); print('made')"
    )
    child = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert child.stdout == "made\n"
