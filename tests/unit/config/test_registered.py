from pathlib import Path
from typing import Any

import pytest

from salver._pb import message_class
from salver.config.registered import no_factory, read_thread_pool_factory, unwrap
from salver.errors import InvalidArgument, NotFound, ServingError

_PREFIX = "type.googleapis.com/"


def _any(type_url: str, value: bytes = b"") -> Any:
    return message_class("google.protobuf.Any")(type_url=type_url, value=value)


def test_message_of_a_known_type_is_unwrapped() -> None:
    message = unwrap(_any(f"{_PREFIX}tensorflow.SessionMetadata", b"\x0a\x01m"))
    assert (message.DESCRIPTOR.full_name, message.name) == ("tensorflow.SessionMetadata", "m")


def test_any_server_may_stand_before_the_type() -> None:
    assert unwrap(_any("a/b/tensorflow.SessionMetadata")).name == ""


@pytest.mark.parametrize("type_url", ["", "tensorflow.SessionMetadata", _PREFIX])
def test_url_without_a_type_is_refused(type_url: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        unwrap(_any(type_url))
    assert caught.value.message == f"Supplied config's type_url could not be parsed: {type_url}"


def test_type_nobody_knows_is_internal() -> None:
    with pytest.raises(ServingError) as caught:
        unwrap(_any(f"{_PREFIX}my.Pools"))
    assert caught.value.status == (
        "INTERNAL: Unable to find compiled-in proto descriptor of type my.Pools"
    )


def test_value_of_another_type_is_malformed() -> None:
    with pytest.raises(InvalidArgument) as caught:
        unwrap(_any(f"{_PREFIX}tensorflow.SessionMetadata", b"\x0a"))
    assert caught.value.message == (
        f'Malformed content of Any: type_url: "{_PREFIX}tensorflow.SessionMetadata"\nvalue: "\\n"\n'
    )


def test_type_without_a_factory_is_shown_with_what_it_says() -> None:
    error = no_factory(message_class("tensorflow.SessionMetadata")(name="m"))
    assert error.message == (
        "Couldn't find factory for config proto message type tensorflow.SessionMetadata\n"
        'config=name: "m"\n'
    )


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (
            "",
            "INVALID_ARGUMENT: {path}; Invalid argument",
        ),
        (
            "# nothing",
            "INVALID_ARGUMENT: Supplied config's type_url could not be parsed: ",
        ),
        (
            'thread_pool_factory_config { type_url: "type.googleapis.com/my.Pools" }',
            "INTERNAL: Unable to find compiled-in proto descriptor of type my.Pools",
        ),
        (
            "thread_pool_factory_config { [type.googleapis.com/tensorflow.SessionMetadata] {} }",
            "INVALID_ARGUMENT: Couldn't find factory for config proto message type "
            "tensorflow.SessionMetadata\nconfig=",
        ),
        (
            "thread_pool_factory_config { [type.googleapis.com/my.Pools] {} }",
            "INVALID_ARGUMENT: Invalid protobuf file: '{path}'",
        ),
    ],
)
def test_every_thread_pool_factory_is_refused_as_in_the_stock_server(
    tmp_path: Path, text: str, status: str
) -> None:
    path = tmp_path / "pools"
    path.write_text(text)
    with pytest.raises(ServingError) as caught:
        read_thread_pool_factory(str(path))
    assert caught.value.status == status.format(path=path)


def test_missing_thread_pool_factory_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_thread_pool_factory(str(tmp_path / "absent"))
