"""Whatever reads files while the server runs refuses what is no file, and never waits for it."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from salver.about.assets import read_about, read_asset
from salver.backends.keras.files import must_be_whole
from salver.backends.tensorflow.checkpoint_index import check_index
from salver.backends.tensorflow.examination import examine
from salver.backends.tensorflow.saved_model import MetaGraph, read_meta_graphs
from salver.backends.tensorflow.saved_model_config import override_session
from salver.backends.tflite.model_file import read as read_tflite
from salver.config.batching import read_version_parameters
from salver.config.models import ModelConfig
from salver.config.options import ServerOptions
from salver.config.start_up import check_readable_again
from salver.errors import ServingError
from salver.protocols.labels import find_labels, read_labels
from salver.server.config_polling import ConfigPolling
from salver.warmup.replay import REQUESTS_FILE, Replay

WAIT_S = 10.0

Make = Callable[[Path], None]
Read = Callable[[Path], object]


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        before = Path.cwd()
        os.chdir(path.parent)  # a socket's path must be short
        try:
            made.bind(path.name)
        finally:
            os.chdir(before)


def make_linked_pipe(path: Path) -> None:
    pipe = path.with_name("pipe")
    os.mkfifo(pipe)
    path.symlink_to(pipe)


KINDS: dict[str, Make] = {
    "a pipe": os.mkfifo,
    "a link to a pipe": make_linked_pipe,
    "a socket": make_socket,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a directory": Path.mkdir,
}


class Core:
    """Is configured by nobody."""

    applied: tuple[ModelConfig, ...] | None = None
    unloaded: frozenset[str] = frozenset()

    def apply(
        self,
        models: tuple[ModelConfig, ...] | None,
        *,
        is_awaited: bool = True,
        is_anew: bool = False,
    ) -> None:
        raise AssertionError


def poll(path: Path) -> None:
    ConfigPolling(str(path), 3600, Core(), is_watching=False)._poll()


def look_at_graph(top: Path) -> None:
    examine(str(top), MetaGraph((), {}, {}, b"", graph_spans=((0, 0),)))


# What reads → where it looks below a version directory, and how it is asked. Where the file may be
# absent, something that is no file may count as absent.
READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "model configuration": ("models.conf", lambda top: poll(top / "models.conf")),
    "files of flags at SIGHUP": (
        "any.conf",
        lambda top: check_readable_again(ServerOptions(ssl_config_file=str(top / "any.conf"))),
    ),
    "batching parameters": (
        "batching_params.pbtxt",
        lambda top: read_version_parameters(str(top)),
    ),
    "labels of the flag": ("labels.txt", lambda top: read_labels(top / "labels.txt")),
    "labels of a version": (
        "1/assets/labels.txt",
        lambda top: find_labels({}, "m", 1, str(top)),
    ),
    "what a model says of itself": ("assets/salver.json", read_about),
    "an example of a model": ("assets/one.png", lambda top: read_asset(top, "one.png")),
    "warmup": (REQUESTS_FILE, lambda top: Replay()(str(top), lambda *_: None)),
    "session overrides": (
        "assets.extra/saved_model_config.pb",
        lambda top: override_session(b"", str(top)),
    ),
    "SavedModel": ("saved_model.pb", lambda top: read_meta_graphs(top)),
    "SavedModel as text": ("saved_model.pbtxt", lambda top: read_meta_graphs(top)),
    "the graph of a SavedModel": ("saved_model.pb", look_at_graph),
    "index of variables": (
        "variables.index",
        lambda top: check_index(top / "variables.index", lambda: None),
    ),
    "TFLite file": ("model.tflite", lambda top: read_tflite(top / "model.tflite")),
    "Keras file": ("model.keras", lambda top: must_be_whole(top / "model.keras")),
    "Keras file of old": ("model.h5", lambda top: must_be_whole(top / "model.h5")),
}


def outcome_of(call: Callable[[], object]) -> list[BaseException | None]:
    """What a call raises, or that it raises nothing; empty when it does not end."""
    outcomes: list[BaseException | None] = []

    def work() -> None:
        try:
            call()
        except (ServingError, OSError) as error:
            outcomes.append(error)
        else:
            outcomes.append(None)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(WAIT_S)
    return outcomes


@pytest.fixture
def released(tmp_path: Path) -> Iterator[Path]:
    """A directory whose pipes nobody waits for any more in the end."""
    yield tmp_path
    for where, _, names in os.walk(tmp_path):
        for path in (Path(where, name) for name in names):
            if path.is_fifo():
                os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file_is_not_waited_for(
    reader: str, kind: str, released: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name, read = READERS[reader]
    path = released / name
    path.parent.mkdir(parents=True, exist_ok=True)
    KINDS[kind](path)
    (outcome,) = outcome_of(lambda: read(released))
    told = "" if outcome is None else str(outcome)
    lines = [line for line in (told, *caplog.messages) if str(path) in line and ";" in line]
    for line in lines:
        assert "\n" not in line
        noun = kind.removeprefix("a link to ").removeprefix("a ")
        assert f"Is a {noun}" in line
    assert outcome is not None or lines or reader == "labels of a version"


def test_a_link_to_a_file_is_read_as_ever(tmp_path: Path) -> None:
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "labels.txt").write_text("cat\ndog\n")
    (tmp_path / "labels.txt").symlink_to("..data/labels.txt")
    assert read_labels(tmp_path / "labels.txt") == ("cat", "dog")
