import errno
import os
from pathlib import Path

import pytest

from salver.config.text_format import file_error, parse_text, read_text_file
from salver.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ServingError,
    Unknown,
)

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


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.EACCES, PermissionDenied), (errno.EIO, Unknown)]
)
def test_a_file_error_has_the_code_its_errno_means(number: int, kind: type[ServingError]) -> None:
    error = file_error("/x", OSError(number, "whatever"))
    assert type(error) is kind
    assert error.message == f"/x; {os.strerror(number)}"


def test_a_file_error_without_errno_keeps_its_text() -> None:
    assert file_error("/x", OSError("odd")).message == "/x; odd"


def test_whoever_reads_a_text_may_rest_before_each_line() -> None:
    rests = list[int]()
    text = b"model_config_list {\n  config {\n  }\n}"
    message = parse_text(text, _CONFIG, "somewhere", lambda: rests.append(1))
    assert len(message.model_config_list.config) == 1
    assert len(rests) == 4
