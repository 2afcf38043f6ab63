import os
import threading
from pathlib import Path

import pytest

from salver.config import text_format
from salver.config.text_format import (
    parse_text,
    read_file,
    read_file_once,
    read_text_file,
)
from salver.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    OutOfRange,
)
from salver.instruments.files import NotRegular

_CONFIG = "tensorflow.serving.ModelServerConfig"


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "models.conf"
    path.write_text('model_config_list: { config: { name: "a", base_path: "/a" }, }')
    message = read_text_file(str(path), _CONFIG)
    assert [model.name for model in message.model_config_list.config] == ["a"]


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    path = str(tmp_path / "absent")
    with pytest.raises(NotFound) as caught:
        read_text_file(path, _CONFIG)
    assert caught.value.status == f"NOT_FOUND: {path}; No such file or directory"


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition) as caught:
        read_text_file(str(tmp_path), _CONFIG)
    assert caught.value.message == f"{tmp_path}; Is a directory"


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    with pytest.raises(InvalidArgument) as caught:
        read_text_file(str(path), _CONFIG)
    assert caught.value.message == f"{path}; Invalid argument"
    assert caught.value.hint == "The file is empty."


def test_a_file_of_comments_is_an_empty_message() -> None:
    assert parse_text(b"# nothing\n", _CONFIG, "x").WhichOneof("config") is None


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (
            b"improperly formatted file",
            '1:1: Message type "tensorflow.serving.ModelServerConfig" has no field named '
            '"improperly".',
        ),
        (
            b"model_config_list {\n  config {\n    pth: 'x'\n",
            '3:5: Message type "tensorflow.serving.ModelConfig" has no field named "pth".',
        ),
        (b"model_config_list {", "1:19: "),
        (b'model_config_list { config { name: "\xff" } }', "1:1: 'utf-8' codec can't decode"),
    ],
)
def test_a_file_that_does_not_parse_is_named_and_the_place_is_logged(
    text: bytes, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_text(text, _CONFIG, "/etc/models.conf")
    assert caught.value.message == "Invalid protobuf file: '/etc/models.conf'"
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert record.getMessage().startswith(
        f"Error parsing text-format tensorflow.serving.ModelServerConfig: {place}"
    )


def test_nesting_without_end_is_an_error_like_any_other() -> None:
    deep = b"graph_options{rewrite_options{custom_optimizers{parameter_map{key:'k' value{"
    deep += b"func{attr{key:'k' value{" * 5000
    with pytest.raises(InvalidArgument, match="Invalid protobuf file: 'x'"):
        parse_text(deep, "tensorflow.ConfigProto", "x")


def test_whoever_reads_a_text_may_rest_before_each_line() -> None:
    rests = list[int]()
    text = b"model_config_list {\n  config {\n  }\n}"
    message = parse_text(text, _CONFIG, "somewhere", lambda: rests.append(1))
    assert len(message.model_config_list.config) == 1
    assert len(rests) == 4


def fill_in(fifo: Path, content: bytes) -> threading.Thread:
    """Write to a pipe and close it, as a command in `<(…)` does."""
    writer = threading.Thread(target=fifo.write_bytes, args=(content,))
    writer.start()
    return writer


def test_at_start_up_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    content = b"# " + b"x" * 300_000 + b"\nmodel_config_list {}"  # more than a pipe holds
    writer = fill_in(fifo, content)
    assert read_file_once(str(fifo)) == content
    writer.join()


def test_a_pipe_that_nobody_writes_to_is_not_waited_for_without_end(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(DeadlineExceeded) as caught:
        read_file_once(str(fifo), timeout_s=0.01)
    assert caught.value.message == f"{fifo}; Nobody has written this pipe to its end in 0.01 s"


def test_a_pipe_that_somebody_keeps_open_is_not_waited_for_without_end(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    descriptor = os.open(fifo, os.O_RDWR)
    os.write(descriptor, b"model_config_list {}")
    with pytest.raises(DeadlineExceeded):
        read_file_once(str(fifo), timeout_s=0.01)
    os.close(descriptor)


def test_an_empty_pipe_is_an_empty_file(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = fill_in(fifo, b"")
    with pytest.raises(InvalidArgument) as caught:
        read_file_once(str(fifo))
    assert caught.value.hint == "The file is empty."
    writer.join()


def test_what_is_read_again_is_no_pipe(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(NotRegular) as caught:
        read_file(str(fifo))
    assert caught.value.status == f"FAILED_PRECONDITION: {fifo}; Is a pipe, not a regular file"


def test_a_device_is_never_read(tmp_path: Path) -> None:
    with pytest.raises(NotRegular, match=r"^/dev/zero; Is a device, not a regular file$"):
        read_file_once("/dev/zero")


@pytest.mark.parametrize("is_pipe", [False, True])
def test_a_file_without_end_is_read_to_a_bound(
    *, is_pipe: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_format, "_MOST_BYTES", 1000)
    path = tmp_path / "long"
    if is_pipe:
        os.mkfifo(path)
    writer = fill_in(path, bytes(1001))
    if not is_pipe:
        writer.join()
    with pytest.raises(OutOfRange, match=r"long; File too large: more than 1000 bytes$"):
        read_file_once(str(path))
    writer.join()
