"""Where flags stand beside the command line: a file of flags, and the environment.

The command line goes before the environment, the environment before the file, the file before what
a cloud's contract implies, and that before the defaults. What is wrong in the file or in the
environment is an error that names its place; an unknown flag there is never ignored.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from salver.config.cloud import Given, contract_flags
from salver.config.flags import FindFlag, Parsed, find_flag, nearest_flag, parse
from salver.config.options import FLAGS, ServerOptions
from salver.errors import InvalidArgument

__all__ = ["PREFIX", "parse_all", "source_of"]

PREFIX: Final = "SALVER_FLAG_"
"""Of the variables that are flags: `SALVER_FLAG_REST_API_PORT=9000`."""

_MOST_BYTES: Final = 1 << 20
_FILE: Final = "flagfile"
_CONTRACT: Final = "cloud_contract"


def parse_all(
    arguments: Sequence[str],
    base: ServerOptions | None = None,
    find: FindFlag = lambda _name: None,
    environment: Mapping[str, str] | None = None,
    *,
    has_variables: bool = True,
) -> Parsed:
    """Read a command line, with the environment and the file of flags that are named.

    Args:
        arguments: without the program's name.
        base: the defaults; the reference's when None.
        find: knows the flags that are not in the table.
        environment: variables that may be flags, and those that a cloud sets; None for none.
        has_variables: whether variables may be flags.

    Raises:
        InvalidArgument: a line of the file, or a variable, is no flag or has no such value.
        ServingError: the file cannot be read.
    """
    own = parse(arguments, base, find)
    environment, base = environment or {}, base or ServerOptions()
    given = list(_variables(environment, find)) if has_variables else []
    layers, sources = _applied(given, base, find)
    file = own.options.flagfile if _FILE in own.set_names else layers.flagfile
    if file:
        given = [*_lines(file), *given]
        layers, sources = _applied(given, base, find)
    is_typed = _CONTRACT in own.set_names
    contract = own.options.cloud_contract if is_typed else layers.cloud_contract
    if implied := list(contract_flags(contract, environment)):
        given = [*implied, *given]
        layers, sources = _applied(given, base, find)
    if not given:
        return own
    parsed = parse(arguments, layers, find)
    typed = {*own.set_names, *dict(own.options.backend_flags)}
    names = {*sources, *own.set_names}
    places = {name: place for name, place in sources.items() if name not in typed}
    known = {**dict(parsed.options.sources), **places}
    return replace(
        parsed,
        options=replace(parsed.options, sources=tuple(known.items())),
        set_names=tuple(flag.name for flag in FLAGS if flag.name in names),
    )


def source_of(parsed: Parsed, name: str) -> str | None:
    """What the value of a flag comes from; None for its default."""
    return dict(parsed.options.sources).get(name)


def _applied(
    given: Iterable[Given], options: ServerOptions, find: FindFlag
) -> tuple[ServerOptions, dict[str, str]]:
    """The options with some flags set, and which flag was set where; of one flag the last counts.

    Raises:
        InvalidArgument: naming the place.
    """
    sources: dict[str, str] = {}
    for argument, place in given:
        name = argument[2:].partition("=")[0]
        flag = find_flag(name, find)
        if flag is None:
            meant = nearest_flag(argument)
            hint = f"Did you mean {meant}?" if meant else "See salver serve --help-all."
            raise InvalidArgument(f"{place}: there is no flag --{name}", hint=hint)
        parsed = parse([argument], options, find)
        if parsed.bad:
            raise InvalidArgument(f"{place}: {parsed.bad[0]}")
        if parsed.leftovers:
            raise InvalidArgument(f"{place}: --{name} has no value", hint=f"Write --{name}=VALUE.")
        options = parsed.options
        sources[flag.name] = place
    return options, sources


def _variables(environment: Mapping[str, str], find: FindFlag) -> Iterator[Given]:
    """The flags of an environment.

    Raises:
        InvalidArgument: a name is not in capitals, or two names are of one flag.
    """
    seen: dict[str, str] = {}
    for variable in sorted(environment):
        if not variable.startswith(PREFIX):
            continue
        name = variable.removeprefix(PREFIX)
        if name != name.upper():
            raise InvalidArgument(
                f"{variable}: variables that are flags are written in capitals",
                hint=f"Write {PREFIX}{name.upper()}.",
            )
        flag = find_flag(name.lower(), find)
        key = name if flag is None else flag.name
        if key in seen:
            raise InvalidArgument(f"{seen[key]} and {variable} are the same flag")
        seen[key] = variable
        yield Given(f"--{name.lower()}={environment[variable]}", variable)


def _lines(path: str) -> Iterator[Given]:
    """The flags of a file.

    Raises:
        InvalidArgument: a line is no flag.
        ServingError: the file cannot be read.
    """
    from salver.config.text_format import read_whole_once  # brings what --help needs not

    content = read_whole_once(path)
    if len(content) > _MOST_BYTES:
        raise InvalidArgument(f"{path}: a file of flags has at most {_MOST_BYTES} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content.count(b"\n", 0, error.start)
        raise InvalidArgument(f"{path}:{before + 1}: this is no text in UTF-8") from None
    for number, each in enumerate(text.split("\n"), 1):
        line, place = each.strip(), f"{path}:{number}"
        if not line or line.startswith("#"):
            continue
        name = line[2:].partition("=")[0]
        if not line.startswith("--") or not name or not line.isprintable() or " " in name:
            raise InvalidArgument(
                f"{place}: this is not of the form --name=value",
                hint="One flag a line, without quotes; lines that begin with # are comments.",
            )
        if name == _FILE:
            raise InvalidArgument(f"{place}: a file of flags names no other")
        yield Given(line, place)
