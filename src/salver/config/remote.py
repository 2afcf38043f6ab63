"""`--remote_config_file`: how stores are reached, by prefixes of base paths."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from salver._pb import message_class
from salver.config.text_format import (
    Misplaced,
    ending_of,
    message_of_text,
    read_file,
    wrong_file,
)
from salver.errors import InvalidArgument
from salver.instruments.uris import canonical_uri

__all__ = ["RemoteStore", "read_remote_config", "store_for"]

_MESSAGE = "salver.RemoteConfig"


@dataclass(frozen=True, slots=True)
class RemoteStore:
    """How the stores below a prefix are reached. Empty fields leave it to the environment.

    Attributes:
        prefix: of URIs; whole names are compared, in the form of `canonical_uri`.
        endpoint: URL of the store.
        region: of the store.
        anonymous: whether requests go without credentials.
        credential_file: in the form of the cloud's own tools; an absolute path.
        profile: which of several credentials.
        proxy: URL; may hold a password, so it is never shown.
        ca_file: certificates to trust beside the system's; an absolute path.
    """

    prefix: str = ""
    endpoint: str = ""
    region: str = ""
    anonymous: bool = False
    credential_file: str = ""
    profile: str = ""
    proxy: str = field(default="", repr=False)
    ca_file: str = ""


def read_remote_config(path: str) -> tuple[RemoteStore, ...]:
    """Read the file: text protobuf, or YAML or JSON by its ending.

    Raises:
        InvalidArgument: it is no such file, or says what makes no sense.
        ServingError: it cannot be read.
    """
    content, ending = read_file(path), ending_of(path)
    try:
        message = _message(content, ending)
    except Misplaced as error:
        form = ending.lstrip(".").upper() or "text-format"
        raise wrong_file(error, path, _MESSAGE, form) from error
    root = os.path.dirname(os.path.abspath(path))
    stores = tuple(_store(entry, root, path) for entry in message.stores)
    prefixes = [canonical_uri(store.prefix) for store in stores]
    for store, prefix in zip(stores, prefixes, strict=True):
        if prefixes.count(prefix) > 1:
            raise InvalidArgument(f"{path}: there are two stores for the prefix {store.prefix}")
    return stores


def _message(content: bytes, ending: str) -> Any:
    if not ending:
        return message_of_text(content, _MESSAGE)
    from salver.config.structured import fill, read_document  # here: few servers have such a file

    message = message_class(_MESSAGE)()
    document = read_document(content, ending)
    if document is not None and document.value is not None:
        if isinstance(document.value, dict):
            _, schema = document.value.pop("schema", (None, None))
            if schema is not None and (schema.value != 1 or isinstance(schema.value, bool)):
                raise schema.wrong("schema must be 1")
        fill(message, document)
    return message


def _store(entry: Any, root: str, path: str) -> RemoteStore:
    fields = {name: getattr(entry, name) for name in RemoteStore.__slots__}
    for name in ("credential_file", "ca_file"):
        if fields[name]:
            fields[name] = os.path.join(root, os.path.expanduser(fields[name]))
    fields["prefix"] = fields["prefix"].rstrip("/")
    store = RemoteStore(**fields)
    if "://" not in store.prefix:
        raise InvalidArgument(f"{path}: a prefix is a URI, such as s3://models, not {store.prefix}")
    for name, url in (("endpoint", store.endpoint), ("proxy", store.proxy)):
        if url and not url.startswith(("http://", "https://")):
            shown = f": {url}" if name == "endpoint" else ""
            raise InvalidArgument(
                f"{path}: the {name} of {store.prefix} is no URL{shown}",
                hint=f"http://HOST:PORT is one, for the {name}.",
            )
    return store


def store_for(stores: Sequence[RemoteStore], uri: str) -> RemoteStore:
    """What is said of a URI by the longest prefix that it is below; nothing where none is."""
    if not stores:
        return RemoteStore()
    place = canonical_uri(uri)
    below = [each for each in stores if place.is_within(canonical_uri(each.prefix))]
    return max(below, key=lambda each: len(canonical_uri(each.prefix).parts), default=RemoteStore())
