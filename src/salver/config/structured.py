"""Messages of ours as YAML or JSON: the proto3 JSON mapping, with names in snake_case too.

A plain scalar is read by the type of its field, so that what looks like a number may be the value
of an option; any other text has to look like text.
"""

import difflib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from salver._pb import POOL
from salver.config.documents import Node, read_json, read_yaml
from salver.config.text_format import Misplaced

__all__ = [
    "Path",
    "Places",
    "fill",
    "is_map",
    "is_message",
    "is_repeated",
    "is_wrapper",
    "plain",
    "read_document",
    "write",
]

_MOST_BYTES: Final = 1 << 24

Path = tuple[str | int, ...]
"""Names of fields and indices, from the message itself: `("model_config_list", "config", 0)`."""

Places = dict[Path, tuple[int, int]]
"""Where each value begins: line and column, from 1."""

_RANGES: Final = {
    FieldDescriptor.CPPTYPE_INT32: (-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, (1 << 32) - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, (1 << 64) - 1),
}
_TEXT: Final = FieldDescriptor.CPPTYPE_STRING
_SIMPLE: Final = (*_RANGES, _TEXT, FieldDescriptor.CPPTYPE_BOOL)
_DIGITS: Final = re.compile(r"-?[0-9]{1,20}")


def read_document(
    content: bytes, ending: str, breathe: Callable[[], object] = lambda: None
) -> Node | None:
    """The document in a file; None where there is nothing but comments.

    Args:
        content: of the file.
        ending: of its name; one of `ENDINGS`.
        breathe: called for each value.

    Raises:
        Misplaced: it is not such a document.
    """
    if len(content) > _MOST_BYTES:
        raise Misplaced(1, 1, f"the file is larger than {_MOST_BYTES} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8-sig")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise Misplaced(line, column, "the text is not UTF-8") from None
    return read_json(text, breathe) if ending == ".json" else read_yaml(text, breathe)


def fill(message: Any, node: Node, places: Places | None = None) -> None:
    """Set the fields of an empty message as a document says.

    Args:
        message: of our descriptor pool.
        node: the document.
        places: is given the place of each value.

    Raises:
        Misplaced: the document is none of such a message.
    """
    _Filling({} if places is None else places).fill(message, node, ())


@dataclass(slots=True)
class _Filling:
    places: Places = field(default_factory=dict)

    def fill(self, message: Any, node: Node, path: Path) -> None:
        self.places[path] = (node.line, node.column)
        descriptor = message.DESCRIPTOR
        if not isinstance(node.value, dict):
            raise node.wrong(f"a mapping is missing, of the fields of {descriptor.name}")
        for key, (key_node, value) in node.value.items():
            found = _field(descriptor, key)
            if found is None:
                raise key_node.wrong(_unknown(descriptor, key))
            where = (*path, found.name)
            if where in self.places:
                raise key_node.wrong(f"{found.name} is there twice")
            self.places[where] = (value.line, value.column)
            if value.value is not None:  # null is as if it were not there
                _check_choice(message, found, key_node)
                self._set(message, found, value, where)

    def _set(self, message: Any, found: FieldDescriptor, node: Node, path: Path) -> None:
        if is_map(found):
            self._set_map(getattr(message, found.name), found, node, path)
        elif is_repeated(found):
            self._set_list(getattr(message, found.name), found, node, path)
        elif is_message(found):
            part = getattr(message, found.name)
            part.SetInParent()
            self.fill(part, node, path)
        elif found.cpp_type in _SIMPLE:
            setattr(message, found.name, _scalar(found, node))
        else:
            _set_by_library(message, found, node)

    def _set_map(self, target: Any, found: FieldDescriptor, node: Node, path: Path) -> None:
        if not isinstance(node.value, dict):
            raise node.wrong(f"{found.name} must be a mapping")
        assert found.message_type is not None
        of_value = found.message_type.fields_by_name["value"]
        for key, (_, value) in node.value.items():
            where, name = (*path, key), _text_of(key, value)
            if is_message(of_value):
                self.fill(target[name], value, where)
            else:
                self.places[where] = (value.line, value.column)
                target[name] = _scalar(of_value, value, found.name)

    def _set_list(self, target: Any, found: FieldDescriptor, node: Node, path: Path) -> None:
        if not isinstance(node.value, list):
            raise node.wrong(f"{found.name} must be a list")
        if not is_message(found):
            target.extend(_scalar(found, item) for item in node.value)
            return
        for index, item in enumerate(node.value):
            self.fill(target.add(), item, (*path, index))


def is_repeated(found: FieldDescriptor) -> bool:
    """Whether a field is a list or a map; protobuf 5 and 7 have no other way in common."""
    return isinstance(found.default_value, list)


def is_map(found: FieldDescriptor) -> bool:
    """Whether a field is a map."""
    return found.message_type is not None and found.message_type.GetOptions().map_entry


def is_message(found: FieldDescriptor) -> bool:
    """Whether a field holds messages without a form of their own in JSON."""
    kind = found.message_type
    return kind is not None and not kind.full_name.startswith("google.protobuf.")


def is_wrapper(found: FieldDescriptor) -> bool:
    """Whether a field holds a scalar that may be missing: a message of `wrappers.proto`."""
    kind = found.message_type
    return kind is not None and kind.file.name == "google/protobuf/wrappers.proto"


def _field(descriptor: Any, key: str) -> FieldDescriptor | None:
    found: FieldDescriptor | None = descriptor.fields_by_name.get(key)
    if found is None:
        found = descriptor.fields_by_camelcase_name.get(key)
    return found


def _unknown(descriptor: Any, key: str) -> str:
    near = difflib.get_close_matches(key, descriptor.fields_by_name, n=1)
    return f'{descriptor.name} has no field "{key}"' + (
        f": did you mean {near[0]}?" if near else ""
    )


def _check_choice(message: Any, found: FieldDescriptor, key: Node) -> None:
    choice = found.containing_oneof
    other = None if choice is None else message.WhichOneof(choice.name)
    if other is not None:
        raise key.wrong(f"{found.name} and {other} exclude each other")


def _scalar(found: FieldDescriptor, node: Node, of_map: str = "") -> str | int | bool:
    """The value of a field that is text, a whole number, or true or false.

    Args:
        found: the field.
        node: its value.
        of_map: the map it is of; whose texts may be written as numbers are, without quotes.
    """
    value, name = node.value, of_map or found.name
    if found.cpp_type == _TEXT:
        if isinstance(value, str) or (of_map and isinstance(value, (int, float))):
            return _text_of(node.text, node)
        quoted = f': write "{node.text}"' if isinstance(value, (bool, int, float)) else ""
        raise node.wrong(f"{name} must be text{quoted}")
    if found.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        if not isinstance(value, bool):
            raise node.wrong(f"{name} must be true or false")
        return value
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)  # as JSON writes what is longer than its own numbers
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise node.wrong(f"{name} must be a whole number")
    least, most = _RANGES[found.cpp_type]
    if not least <= value <= most:
        raise node.wrong(f"{name} must be from {least} to {most}")
    return value


def _text_of(text: str, node: Node) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise node.wrong("half of a surrogate pair is no text") from None
    return text


def _set_by_library(message: Any, found: FieldDescriptor, node: Node) -> None:
    """Set what is seldom used: enums, reals, `google.protobuf.Any`."""
    part = type(message)()
    try:
        json_format.ParseDict({found.name: _bare(node)}, part, descriptor_pool=POOL)
    except (json_format.ParseError, ValueError) as error:
        raise node.wrong(str(error).replace("\n", " ")) from None
    message.MergeFrom(part)


def _bare(node: Node) -> Any:
    value = node.value
    if isinstance(value, dict):
        return {key: _bare(child) for key, (_, child) in value.items()}
    return [_bare(child) for child in value] if isinstance(value, list) else value


# -- back ----------------------------------------------------------------------------------------


def plain(message: Message) -> dict[str, Any]:
    """A message as mappings, lists and scalars, by the names that its `.proto` file has."""
    return {found.name: _plain_field(found, value) for found, value in message.ListFields()}


def _plain_field(found: FieldDescriptor, value: Any) -> Any:
    if is_map(found):
        assert found.message_type is not None
        has_messages = is_message(found.message_type.fields_by_name["value"])
        return {key: plain(of) if has_messages else of for key, of in sorted(value.items())}
    if is_message(found):
        return [plain(item) for item in value] if is_repeated(found) else plain(value)
    if is_repeated(found):
        return list(value)
    if found.cpp_type in _SIMPLE:
        return value
    if found.enum_type is not None:
        known = found.enum_type.values_by_number.get(value)
        return value if known is None else known.name
    if is_wrapper(found):
        return value.value
    if found.message_type is not None:
        return json.loads(json_format.MessageToJson(value, descriptor_pool=POOL))
    return value


def write(document: Mapping[str, Any], ending: str) -> str:
    """A document as text."""
    if ending == ".json":
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    import yaml

    text: str = yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True)
    return text
