"""Settings wrapped in an `Any`, by whose type TensorFlow Serving finds what is made from them.

Source: TensorFlow Serving `util/class_registration.h` and `util/class_registration_util.cc`.
"""

from typing import Any, Final

from google.protobuf import text_encoding, text_format
from google.protobuf.message import DecodeError

from salver._pb import POOL, message_class
from salver.config.text_format import read_text_file
from salver.errors import Internal, InvalidArgument

__all__ = ["no_factory", "read_thread_pool_factory", "unwrap"]

_THREAD_POOLS: Final = "tensorflow.serving.ThreadPoolFactoryConfig"


def unwrap(wrapped: Any) -> Any:
    """The message in a `google.protobuf.Any`.

    Raises:
        InvalidArgument: the Any names no type, or does not hold one of that type.
        Internal: nobody knows the type.
    """
    prefix, slash, name = wrapped.type_url.rpartition("/")
    if not slash or not name:
        raise InvalidArgument(
            f"Supplied config's type_url could not be parsed: {wrapped.type_url}",
            hint="Write the settings as: [type.googleapis.com/package.Message] { … }"
            if not prefix
            else "",
        )
    try:
        message = message_class(name)()
    except KeyError:
        raise Internal(f"Unable to find compiled-in proto descriptor of type {name}") from None
    try:
        message.ParseFromString(wrapped.value)
    except DecodeError:
        value = text_encoding.CEscape(wrapped.value, as_utf8=False)
        raise InvalidArgument(
            f'Malformed content of Any: type_url: "{wrapped.type_url}"\nvalue: "{value}"\n'
        ) from None
    return message


def no_factory(message: Any) -> InvalidArgument:
    """The error for settings of a known type from which nothing is made."""
    return InvalidArgument(
        f"Couldn't find factory for config proto message type {message.DESCRIPTOR.full_name}\n"
        f"config={_text(message)}"
    )


def read_thread_pool_factory(path: str) -> None:
    """Read `--thread_pool_factory_config_file`.

    A server may register factories of thread pools in its own binary; the stock one registers none,
    and so refuses every file. That is reproduced.

    Raises:
        InvalidArgument: the file is wrong, or asks for a factory.
        Internal: it is of a type nobody knows.
        ServingError: it cannot be read.
    """
    message = unwrap(read_text_file(path, _THREAD_POOLS).thread_pool_factory_config)
    error = no_factory(message)
    error.hint = (
        "No thread pool factory is built in. --tensorflow_session_config_file sets threads."
    )
    raise error


def _text(message: Any) -> str:
    return text_format.MessageToString(message, descriptor_pool=POOL)
