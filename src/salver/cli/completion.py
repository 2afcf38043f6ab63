"""`salver completion`: a script that has a shell complete commands, flags and files.

The words stand in the script: a shell that completes starts no Python.
"""

import argparse
import shlex
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Final

from salver.cli.commands import COMMANDS, Command, Misused
from salver.config.options import FLAGS, FlagType

__all__ = ["completion", "flags_of"]

_USAGE: Final = "usage: salver completion bash|zsh|fish"
_HELP: Final = f"""\
{_USAGE}

Print a script for a shell. To have it in each new shell:

  bash   echo 'eval "$(salver completion bash)"' >> ~/.bashrc
  zsh    echo 'eval "$(salver completion zsh)"' >> ~/.zshrc
  fish   salver completion fish > ~/.config/fish/completions/salver.fish
"""
_SERVER: Final = "tensorflow_model_server"


def completion(arguments: Sequence[str]) -> int:
    """Run `salver completion ARGUMENTS`; returns its exit status.

    Raises:
        Misused: there is no such shell.
    """
    shell = arguments[0] if len(arguments) == 1 else ""
    if shell in ("--help", "-h"):
        print(_HELP, end="")
        return 0
    if shell not in _SCRIPTS:
        raise Misused(_USAGE)
    print(_SCRIPTS[shell](), end="")
    return 0


def flags_of(command: Command) -> tuple[str, ...]:
    """What a command takes that begins with dashes; with `=` where a value must follow it."""
    if command.name == "serve":
        return (*_server_flags(), "--help", "--help-all")
    if command.name == "show":
        of_keras = [flag for flag in _server_flags() if "keras" in flag or "conversion" in flag]
        return (*of_keras, "--help")
    module = import_module(f"salver.cli.{command.module}")
    make_parser: Callable[[], argparse.ArgumentParser] | None = getattr(module, "make_parser", None)
    return () if make_parser is None else tuple(sorted(set(_options(make_parser()))))


def _server_flags() -> list[str]:
    return [f"--{flag.name}" if flag.type is FlagType.BOOL else f"--{flag.name}=" for flag in FLAGS]


def _options(parser: argparse.ArgumentParser) -> list[str]:
    found: list[str] = []
    for action in parser._actions:  # there is no other way to ask it
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                found += _options(each)
        long = [option for option in action.option_strings if option.startswith("--")]
        found += long if action.nargs == 0 else [f"{option}=" for option in long]
    return found


def _words() -> dict[str, str]:
    """Command → its flags, as one text."""
    return {command.name: " ".join(flags_of(command)) for command in COMMANDS}


def _bash() -> str:
    cases = "\n".join(
        f"        {name}) words={shlex.quote(words)} ;;" for name, words in _words().items()
    )
    names = " ".join([*(command.name for command in COMMANDS), "--help", "--version"])
    server = shlex.quote(" ".join(_server_flags()))
    return f"""\
# bash completion for salver and {_SERVER}
_salver() {{
    local cur="${{COMP_WORDS[COMP_CWORD]}}" words=""
    case "${{COMP_WORDS[0]##*/}} $COMP_CWORD" in
        {_SERVER}*) words={server} ;;
        *" 1") words={shlex.quote(names)} ;;
        *) case "${{COMP_WORDS[1]}}" in
{cases}
        esac ;;
    esac
    COMPREPLY=()
    if [[ $cur == -* || $COMP_CWORD -eq 1 ]]; then
        COMPREPLY=($(compgen -W "$words" -- "$cur"))
    fi
    if [[ ${{#COMPREPLY[@]}} -eq 0 ]]; then
        [[ $cur == "=" ]] && cur=""
        COMPREPLY=($(compgen -f -- "$cur"))
        compopt -o filenames 2>/dev/null
    elif [[ ${{COMPREPLY[0]}} == *= ]]; then
        compopt -o nospace 2>/dev/null
    fi
}}
complete -F _salver salver {_SERVER}
"""


def _zsh() -> str:
    cases = "\n".join(f"        {name}) flags=({words}) ;;" for name, words in _words().items())
    commands = "\n".join(
        f"        {shlex.quote(f'{command.name}:{command.help}')}" for command in COMMANDS
    )
    return f"""\
#compdef salver {_SERVER}
# zsh completion for salver and {_SERVER}
_salver() {{
    local -a commands flags
    commands=(
{commands}
    )
    if [[ "${{words[1]:t}}" == {_SERVER} ]]; then
        flags=({" ".join(_server_flags())})
    elif (( CURRENT == 2 )); then
        _describe command commands
        return
    else
        case "${{words[2]}}" in
{cases}
        esac
    fi
    if [[ "$PREFIX" == -* ]]; then
        compadd -S '' -- ${{(M)flags:#*=}}
        compadd -- ${{flags:#*=}}
    else
        _files
    fi
}}
(( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit -u; }}
compdef _salver salver {_SERVER}
"""


def _fish() -> str:
    names = " ".join(command.name for command in COMMANDS)
    lines = [
        f"# fish completion for salver and {_SERVER}",
        *[
            f"complete -c salver -n 'not __fish_seen_subcommand_from {names}' -f "
            f"-a {command.name} -d {shlex.quote(command.help)}"
            for command in COMMANDS
        ],
        *[
            _fish_flag("salver", flag, f" -n '__fish_seen_subcommand_from {command.name}'")
            for command in COMMANDS
            for flag in flags_of(command)
        ],
        *[_fish_flag(_SERVER, flag, "") for flag in _server_flags()],
    ]
    return "\n".join(lines) + "\n"


def _fish_flag(command: str, flag: str, condition: str) -> str:
    name = flag.removeprefix("--")
    return f"complete -c {command}{condition} -l {name.rstrip('=')}" + " -r" * name.endswith("=")


_SCRIPTS: Final = {"bash": _bash, "zsh": _zsh, "fish": _fish}
