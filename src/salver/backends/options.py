"""The options of a backend: a dataclass that flags, platform files and models' own options fill.

Each field is a flag `--<backend>_<field>`, unless it is filled by a setting of the server: a flag
of the one table of flags, or what is made of several.

    @dataclass(frozen=True, slots=True, kw_only=True)
    class LinearOptions:
        scale: float = option(1.0, "By which outputs are multiplied.")
"""

import types
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints

from salver.errors import InvalidArgument

__all__ = [
    "OptionFlag",
    "fill",
    "flags_of",
    "from_plain",
    "option",
    "own",
    "pick",
    "takes_others",
    "to_plain",
]

T = TypeVar("T")

_BOOLS: Final = {"true": True, "1": True, "false": False, "0": False}
_KINDS: Final = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    tuple: "a list with commas between",
}


@dataclass(frozen=True, slots=True)
class OptionFlag:
    """A flag that an option has.

    Attributes:
        name: without dashes.
        kind: of its value: bool, int, float or str.
        default: of that kind.
        help: a sentence.
    """

    name: str
    kind: type
    default: Any
    help: str


def option(default: Any, help: str = "", *, setting: str | tuple[str, ...] = ()) -> Any:
    """A field of a backend's options.

    Args:
        default: where nobody says anything.
        help: what it does, in a sentence.
        setting: what fills it in place of a flag of its own; of several the first that is not
            empty.
    """
    settings = (setting,) if isinstance(setting, str) else setting
    return field(default=default, metadata={"help": help, "settings": settings})


def own(help: str) -> Any:
    """A field that takes what a model's own options name beside the other fields: name → text."""
    return field(
        default_factory=dict, metadata={"help": help, "settings": (), "takes_others": True}
    )


def flags_of(name: str, options: type[Any]) -> tuple[OptionFlag, ...]:
    """The flags of a backend's options, but for those that stand in the table of flags.

    Args:
        name: of the backend.
        options: its dataclass.
    """
    kinds = _kinds(options)
    flags = []
    for each in fields(options):
        kind, _ = kinds[each.name]
        if each.metadata.get("settings") or kind not in _KINDS:
            continue
        default: Any = each.default
        if kind is tuple:
            kind, default = str, ",".join(default)
        elif default is None:  # has no text: an empty one stands for it
            kind, default = str, ""
        flags.append(
            OptionFlag(f"{name}_{each.name}", kind, default, each.metadata.get("help", ""))
        )
    return tuple(flags)


def pick(name: str, options: type[Any], settings: Mapping[str, object]) -> dict[str, object]:
    """What the settings of a server say of a backend's options: field → value.

    Args:
        name: of the backend.
        options: its dataclass.
        settings: by the names of flags.
    """
    picked: dict[str, object] = {}
    for each in fields(options):
        names = each.metadata.get("settings") or (f"{name}_{each.name}",)
        found = [settings[of] for of in names if of in settings]
        if found:
            picked[each.name] = next(filter(None, found), found[0])
    return picked


def fill(options: type[T], given: Mapping[str, object], *, of: str = "the model") -> T:
    """Make the options.

    Args:
        options: a dataclass.
        given: field → its text, or its value.
        of: whose options they are, for errors.

    Raises:
        InvalidArgument: there is no such option, or its value is wrong.
    """
    kinds = _kinds(options)
    others = {name: value for name, value in given.items() if name not in kinds}
    rest = takes_others(options)
    if others and not rest:
        name = next(iter(others))
        raise InvalidArgument(f"There is no option {name} of {of}", hint=_hint(name, kinds))
    values = {
        name: _value(name, value, *kinds[name], of)
        for name, value in given.items()
        if name in kinds
    }
    if others:
        values[rest] = others
    try:
        return options(**values)
    except ValueError as error:
        raise InvalidArgument(f"The options of {of} are wrong: {error}") from error


def to_plain(options: Any) -> dict[str, object]:
    """Options as JSON can say them, for another process; see `from_plain`.

    Raises:
        InvalidArgument: a value of one is not plain.
    """
    plain: dict[str, object] = {}
    for each in fields(options):
        value = getattr(options, each.name)
        if isinstance(value, bytes):
            value = {"bytes": b64encode(value).decode()}
        elif isinstance(value, tuple):
            value = list(value)
        if not isinstance(value, (str, int, float, list, dict, type(None))):
            kind = type(value).__name__
            raise InvalidArgument(f"Option {each.name} is a {kind}, which no other process is told")
        plain[each.name] = value
    return plain


def from_plain(options: type[T], plain: Mapping[str, object]) -> T:
    """The options of `to_plain` again."""
    kinds = _kinds(options)
    values: dict[str, Any] = {}
    for name, value in plain.items():
        if isinstance(value, dict) and value.keys() == {"bytes"}:
            values[name] = b64decode(value["bytes"])
        elif isinstance(value, list) and kinds[name][0] is tuple:
            values[name] = tuple(value)
        else:
            values[name] = value
    return options(**values)


def takes_others(options: Any) -> str:
    """The field made by `own`; empty where there is none."""
    return next((each.name for each in fields(options) if each.metadata.get("takes_others")), "")


def _hint(name: str, kinds: Mapping[str, object]) -> str:
    import difflib  # here: for errors alone

    meant = difflib.get_close_matches(name, kinds, n=1)
    return f"Perhaps {meant[0]} is meant." if meant else f"There are: {', '.join(kinds) or 'none'}."


def _value(name: str, value: object, kind: type, is_optional: bool, of: str) -> object:
    if not isinstance(value, str):
        return value
    try:
        return None if is_optional and not value else _READ[kind](value)
    except (KeyError, ValueError):
        wanted = _KINDS.get(kind, "given by text")
        raise InvalidArgument(f"Option {name} of {of} is not {wanted}: {value!r}") from None


_READ: Final[Mapping[type, Callable[[str], object]]] = {
    bool: lambda text: _BOOLS[text.lower()],
    int: int,
    float: float,
    str: str,
    tuple: lambda text: tuple(part.strip() for part in text.split(",") if part.strip()),
}


def _kinds(options: Any) -> dict[str, tuple[type, bool]]:
    """Field → its type, and whether it may be None."""
    kinds: dict[str, tuple[type, bool]] = _kinds_of(options)
    return kinds


@cache
def _kinds_of(options: Any) -> dict[str, tuple[type, bool]]:
    hints = get_type_hints(options)
    return {each.name: _kind(hints[each.name]) for each in fields(options)}


def _kind(hint: Any) -> tuple[type, bool]:
    if get_origin(hint) in (Union, types.UnionType):
        inner = [each for each in get_args(hint) if each is not type(None)]
        return _kind(inner[0])[0], True
    origin = get_origin(hint) or hint
    return origin, False
