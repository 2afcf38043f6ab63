"""The syntax of the command line, over the table of `options`.

Pure: what was asked for comes back as a value; who prints and exits is `cli`. The syntax is the
reference's `--name=value`, and `--name value` besides.

Source: TensorFlow `tsl/util/command_line_flags.cc`, as TensorFlow Serving uses it.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from salver.config.options import FLAGS, Flag, FlagType, ServerOptions

__all__ = [
    "COMMAND_LINE",
    "BadValue",
    "FindFlag",
    "Parsed",
    "find_flag",
    "nearest_flag",
    "parse",
    "shown_default",
    "usage",
]

COMMAND_LINE: Final = "command line"
"""The source of what stands there."""

FindFlag = Callable[[str], Flag | None]
"""Knows the flags that are not in the table, by their names."""

_Value = bool | int | float | str

_BY_NAME = {name: flag for flag in FLAGS for name in (flag.name, flag.alias) if name}
_BOOLS = {"true": True, "1": True, "false": False, "0": False}
_BITS = {FlagType.INT32: 32, FlagType.INT64: 64}

# What scanf("%d") and scanf("%f") read, to the end: blanks before, none after.
_INTEGER = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]{1,40})", re.ASCII)
_DECIMAL = re.compile(
    r"[ \t\n\v\f\r]*([+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?|inf(?:inity)?|nan))",
    re.ASCII | re.IGNORECASE,
)
_HEXADECIMAL = re.compile(
    r"[ \t\n\v\f\r]*([+-]?0x(?:[0-9a-f]+\.?[0-9a-f]*|\.[0-9a-f]+)(?:p[+-]?[0-9]+)?)",
    re.ASCII | re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class BadValue:
    """A known flag with a value of the wrong form."""

    name: str
    value: str

    def __str__(self) -> str:
        return f"Couldn't interpret value {self.value} for flag {self.name}."


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a command line says.

    Attributes:
        options: the values, defaults where nothing was said.
        set_names: the flags that were named, in the order of the table.
        leftovers: positional arguments, unknown flags, and `--` with all behind it, in order.
        bad: what could not be read; when there is any, the server must not start.
    """

    options: ServerOptions
    set_names: tuple[str, ...]
    leftovers: tuple[str, ...]
    bad: tuple[BadValue, ...]

    @property
    def wants_help(self) -> bool:
        """Whether usage is to be printed: `--help` came before any other leftover."""
        return self.leftovers[:1] == ("--help",)


def parse(
    arguments: Sequence[str],
    base: ServerOptions | None = None,
    find: FindFlag = lambda _name: None,
) -> Parsed:
    """Read a command line; of a repeated flag the last value counts.

    Args:
        arguments: without the program's name.
        base: the defaults; the reference's when None.
        find: knows the flags that are not in the table.
    """
    base = base or ServerOptions()
    values: dict[str, _Value | tuple[tuple[str, str], ...]] = {}
    others = dict(base.backend_flags)
    leftovers: list[str] = []
    bad: list[BadValue] = []
    rest = list(reversed(arguments))
    while rest:
        argument = rest.pop()
        if argument == "--":
            leftovers += [argument, *reversed(rest)]
            break
        flag, text = _split(argument, find)
        if flag is None:
            leftovers.append(argument)
            continue
        if text is None:
            text = _value_behind(flag, rest)
        if text is None:
            leftovers.append(argument)
            continue
        value = _value(flag.type, text)
        if value is None:
            bad.append(BadValue(flag.name, text))
        elif flag.name in _BY_NAME:
            values[flag.name] = value
        else:
            others[flag.name] = text
    own = dict.fromkeys((*values, *others), COMMAND_LINE)
    values["sources"] = tuple({**dict(base.sources), **own}.items())
    if others:
        values["backend_flags"] = tuple(others.items())
    return Parsed(
        options=replace(base, **values),  # type: ignore[arg-type]
        set_names=tuple(flag.name for flag in FLAGS if flag.name in values),
        leftovers=tuple(leftovers),
        bad=tuple(bad),
    )


def find_flag(name: str, find: FindFlag) -> Flag | None:
    """The flag of a name or an alias, in the table or among those that `find` knows."""
    return _BY_NAME.get(name) or find(name)


def _split(argument: str, find: FindFlag) -> tuple[Flag | None, str | None]:
    """The flag an argument names, if any, and what stands behind its `=`, if it has one."""
    if not argument.startswith("--"):
        return None, None
    name, equals, text = argument[2:].partition("=")
    return find_flag(name, find), text if equals else None


def _value_behind(flag: Flag, rest: list[str]) -> str | None:
    """The value of a flag written without `=`; takes it from the end of `rest` if it stands there.

    A bare bool means true; only a plain `true` or `false` behind it is its value, since anything
    else may be an argument of its own.
    """
    following = rest[-1] if rest else None
    if flag.type is FlagType.BOOL:
        return rest.pop() if following is not None and following.lower() in _WORDS else "true"
    if following is None or following.startswith("--"):
        return None
    return rest.pop()


_WORDS = ("true", "false")


def _value(kind: FlagType, text: str) -> _Value | None:
    """The value a text stands for; None when it is not of the flag's form."""
    match kind:
        case FlagType.STRING:
            return text
        case FlagType.BOOL:
            return _BOOLS.get(text.lower())
        case FlagType.INT32 | FlagType.INT64:
            return _integer(text, _BITS[kind])
        case _:
            return _real(text)


def _integer(text: str, bits: int) -> int | None:
    found = _INTEGER.fullmatch(text)
    if found is None:
        return None
    number = int(found[1])
    # The reference wraps here without a word; a port of 4294975796 is a mistake, not 8500.
    return number if -(1 << bits - 1) <= number < 1 << bits - 1 else None


def _real(text: str) -> float | None:
    if found := _DECIMAL.fullmatch(text):
        return float(found[1])
    if found := _HEXADECIMAL.fullmatch(text):
        try:
            return float.fromhex(found[1])
        except OverflowError:
            return None
    return None


def nearest_flag(argument: str) -> str | None:
    """The known flag (`--name`) that an unknown one was probably meant to be."""
    name = argument.lstrip("-").partition("=")[0]
    found = difflib.get_close_matches(name.replace("-", "_"), _BY_NAME, n=1, cutoff=0.75)
    return f"--{found[0]}" if found else None


def usage(program: str, base: ServerOptions | None = None, others: Iterable[Flag] = ()) -> str:
    """The text of `--help`, with the defaults of `base`, and flags that are not in the table."""
    defaults = base or ServerOptions()
    lines = [f"usage: {program}\nFlags:\n"]
    for flag in (*FLAGS, *others):
        shown = f"--{flag.name}={shown_default(flag, defaults)}"
        lines.append(f"\t{shown:<33}\t{flag.type.value}\t{flag.help}\n")
    return "".join(lines)


def shown_default(flag: Flag, defaults: ServerOptions) -> str:
    """The default of a flag as `--help` writes it."""
    default: _Value = getattr(defaults, flag.name) if flag.name in _BY_NAME else flag.default
    match flag.type:
        case FlagType.STRING:
            return f'"{default}"'
        case FlagType.BOOL:
            return "true" if default else "false"
        case FlagType.FLOAT:
            return f"{default:f}"
        case _:
            return str(default)
