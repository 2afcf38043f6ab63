import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from salver.about.assets import read_about, read_asset
from salver.about.document import About
from salver.errors import InvalidArgument, NotFound


@pytest.fixture
def version(tmp_path: Path) -> Path:
    (tmp_path / "1" / "assets" / "examples").mkdir(parents=True)
    (tmp_path / "1" / "assets" / "examples" / "one.txt").write_bytes(b"one")
    (tmp_path / "secret").write_bytes(b"root")
    return tmp_path / "1"


def within_a_second(call: Callable[[], object]) -> None:
    """A read that waits for ever fails the test in place of hanging it."""
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(5)
    assert not thread.is_alive()


def test_a_file_is_read_whole(version: Path) -> None:
    assert read_asset(version, "examples/one.txt") == b"one"


def test_a_version_without_a_document_says_nothing(version: Path) -> None:
    assert read_about(version) is None
    assert read_about(version / "missing") is None


def test_a_version_says_what_stands_in_its_document(version: Path) -> None:
    (version / "assets" / "salver.json").write_text('{"title": "Digits"}')
    assert read_about(version) == About(title="Digits")


def test_assets_that_are_linked_as_a_whole_are_the_models_own(version: Path) -> None:
    (version / "assets").rename(version.parent / "beside")
    (version / "assets").symlink_to(version.parent / "beside")
    assert read_asset(version, "examples/one.txt") == b"one"


@pytest.mark.parametrize("name", ["none", "examples/none", "examples/one.txt/x", "none/x"])
def test_what_is_not_there_is_not_found(version: Path, name: str) -> None:
    with pytest.raises((NotFound, InvalidArgument), match=f"assets/{name}"):
        read_asset(version, name)


def test_a_link_is_not_followed_wherever_it_leads(version: Path) -> None:
    (version / "assets" / "salver.json").symlink_to(version.parent / "secret")
    with pytest.raises(InvalidArgument, match=r"assets/salver\.json is no regular file"):
        read_about(version)
    (version / "assets" / "up").symlink_to(version.parent)
    with pytest.raises(InvalidArgument, match="assets/up/secret is no regular file"):
        read_asset(version, "up/secret")


def test_a_pipe_is_refused_at_once(version: Path) -> None:
    os.mkfifo(version / "assets" / "salver.json")

    def read() -> None:
        with pytest.raises(InvalidArgument, match="no regular file"):
            read_about(version)

    within_a_second(read)


def test_a_directory_or_device_is_refused(version: Path) -> None:
    with pytest.raises(InvalidArgument, match="no regular file"):
        read_asset(version, "examples")


def test_a_file_that_is_too_long_is_refused(version: Path) -> None:
    (version / "assets" / "long").write_bytes(b"x" * 1025)
    with pytest.raises(InvalidArgument, match="assets/long is longer than 0 MiB"):
        read_asset(version, "long", 1024)
    (version / "assets" / "salver.json").write_bytes(b" " * ((1 << 20) + 1))
    with pytest.raises(InvalidArgument, match="longer than 1 MiB"):
        read_about(version)


def test_nothing_stays_open(version: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    (version / "assets" / "link").symlink_to("examples")
    read_asset(version, "examples/one.txt")
    for name in ("examples", "none", "link/one.txt", "examples/none"):
        with pytest.raises((NotFound, InvalidArgument)):
            read_asset(version, name)
    assert len(os.listdir("/proc/self/fd")) == before
