import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tests.integration.serving import eventually

from salver.peers.files import PeerFiles
from salver.peers.map import Peer, PeerMap, Placed, text

MAP = PeerMap(1, {"n1": Peer("n1", "h:1")}, {"m": Placed(("n1",))})
SECRET = b"a-secret-of-16-bytes"


class Read:
    """What the files have said."""

    def __init__(self) -> None:
        self.maps: list[PeerMap] = []
        self.tokens: list[Sequence[bytes]] = []

    def files(self, directory: Path, **more: object) -> PeerFiles:
        wait: Callable[..., bool] = lambda event, _s: event.wait(0.01)  # noqa: E731
        return PeerFiles(
            str(directory / "map.json"),
            str(directory / "token"),
            put_map=self.maps.append,
            put_tokens=self.tokens.append,
            wait=wait,
            monotonic=lambda: 0.0,
        )


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "map.json").write_text(text(MAP))
    (tmp_path / "token").write_bytes(SECRET)
    return tmp_path


def test_files_are_read_when_they_are_made_and_when_they_change(directory: Path) -> None:
    read = Read()
    files = read.files(directory)
    assert read.maps == [MAP]
    assert read.tokens == [(SECRET,)]
    files.start()
    try:
        (directory / "new").write_text(text(PeerMap(2)))
        (directory / "new").replace(directory / "map.json")
        eventually("the map is read again", lambda: read.maps[1:] == [PeerMap(2)])
        (directory / "token").write_bytes(SECRET + b"2")
        eventually("the secret is", lambda: read.tokens[1:] == [(SECRET + b"2",)])
    finally:
        assert files.close(10.0)


def test_garbage_keeps_what_was_there_and_is_told_once(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    read = Read()
    files = read.files(directory)
    files.start()
    try:
        (directory / "map.json").write_text('{"schema": 1, "generation"')
        eventually("it is told", lambda: "what it said before stays" in caplog.text)
        polled = threading.Event()
        files.poke()
        polled.wait(0.1)
        assert read.maps == [MAP]
        assert caplog.text.count("it is no JSON") == 1
        (directory / "map.json").write_text(text(PeerMap(3)))
        eventually("it is right again", lambda: read.maps[1:] == [PeerMap(3)])
        eventually("that is told", lambda: "is right again" in caplog.text)
    finally:
        assert files.close(10.0)


def test_files_that_are_not_there_yet_are_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    read = Read()
    files = read.files(tmp_path)
    assert (read.maps, read.tokens) == ([], [])
    assert "it says nothing" in caplog.text
    files.start()
    try:
        (tmp_path / "map.json").write_text(text(MAP))
        (tmp_path / "token").write_bytes(SECRET)
        eventually("they are read", lambda: read.maps and read.tokens)
    finally:
        assert files.close(10.0)


def test_a_file_that_has_not_changed_is_put_once(directory: Path) -> None:
    read = Read()
    files = read.files(directory)
    files.start()
    (directory / "map.json").write_text(text(MAP))  # the same bytes
    (directory / "token").write_bytes(SECRET + b"3")
    eventually("a round is over", lambda: len(read.tokens) == 2)
    assert files.close(10.0)
    assert read.maps == [MAP]
